"""What the server counts, for Prometheus: its own figures under localllm_, and llama.cpp's under llamacpp:."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from localllm.engine.options import EngineStatus, Totals
from localllm.generate.stats import Stats

if TYPE_CHECKING:
    from localllm.server.models import Models

disable_created_metrics()  # type: ignore[no-untyped-call]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_TOKEN_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)

_TOTALS = (
    ("requests", "Requests that were taken", "requests"),
    ("refused", "Requests that were refused since too many waited", "refused"),
    ("cancelled", "Requests that were given up", "cancelled"),
    ("failed", "Requests that came to an error", "failed"),
    ("prompt_tokens", "Tokens of prompts that were evaluated", "prompt_tokens"),
    ("cached_tokens", "Tokens of prompts that were known already", "cached_tokens"),
    ("answer_tokens", "Tokens of answers", "answer_tokens"),
    ("passes", "Forward passes", "passes"),
    ("prompt_seconds", "Seconds of passes with pieces of prompts", "prompt_seconds"),
    ("answer_seconds", "Seconds of passes with tokens of answers alone", "answer_seconds"),
)
"""Name, help, field of the engine's Totals."""


class Metrics(Collector):
    """The figures of one server. Times are in seconds."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self.started = time.time()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)
        self._requests = Counter(
            "localllm_http_requests", "Answers to requests", ["path", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "localllm_http_request_seconds", "Until an answer was complete", ["path"], buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self._first = Histogram(
            "localllm_first_token_seconds", "From the submission to the first token", ["model"], buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self._token = Histogram(
            "localllm_token_seconds", "Between two tokens of an answer, on average", ["model"], buckets=_TOKEN_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self._longest = 0

    def answered(self, path: str, status: int, seconds: float) -> None:
        """An answer to a request was sent; `path` is the endpoint's."""
        self._requests.labels(path, status).inc()
        self._seconds.labels(path).observe(seconds)

    def ended(self, model: str, stats: Stats) -> None:
        """The engine has ended an answer."""
        self._longest = max(self._longest, stats.prompt_tokens + stats.answer_tokens)
        if stats.answer_tokens:
            self._first.labels(model).observe(stats.queue_seconds + stats.prompt_seconds)
        if stats.steps:
            self._token.labels(model).observe(stats.answer_seconds / stats.steps)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry) + self._llamacpp().encode()

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client's Collector."""
        found = self._status()
        for name, about, field in _TOTALS:
            counter = CounterMetricFamily(f"localllm_{name}", about, labels=["model"])
            for model, status in found.items():
                counter.add_metric([model], getattr(status.totals, field))
            yield counter
        for name, about, value in (
            ("localllm_slots", "Answers that can be computed at once", lambda s: len(s.slots)),
            ("localllm_slots_busy", "Answers that are being computed", _busy),
            ("localllm_queue", "Requests that wait", lambda s: s.queue),
            ("localllm_alive", "Whether the engine works", lambda s: int(s.alive)),
        ):
            gauge = GaugeMetricFamily(name, about, labels=["model"])
            for model, status in found.items():
                gauge.add_metric([model], value(status))
            yield gauge

    def _status(self) -> dict[str, EngineStatus]:
        return {
            loaded.served.name: loaded.served.engine.status()
            for loaded in self._models.loaded()
            if loaded.served.engine is not None
        }

    def _llamacpp(self) -> str:
        """llama.cpp's names (server_task_result_metrics::to_metrics, tools/server/server-task.cpp), of all models."""
        found = list(self._status().values())
        totals = Totals()
        for status in found:
            for field in Totals.__dataclass_fields__:
                setattr(totals, field, getattr(totals, field) + getattr(status.totals, field))
        rows: list[tuple[str, str, str, float]] = [
            ("prompt_tokens_total", "counter", "Number of prompt tokens processed", totals.prompt_tokens),
            ("prompt_tokens_cached_total", "counter", "Number of prompt tokens reused", totals.cached_tokens),
            ("prompt_seconds_total", "counter", "Prompt process time", totals.prompt_seconds),
            ("tokens_predicted_total", "counter", "Number of generation tokens processed", totals.answer_tokens),
            ("tokens_predicted_seconds_total", "counter", "Predict process time", totals.answer_seconds),
            ("n_decode_total", "counter", "Total number of forward passes", totals.passes),
            ("n_tokens_max", "counter", "Largest observed sequence length", self._longest),
            ("prompt_tokens_seconds", "gauge", "Average prompt throughput in tokens/s",
             _rate(totals.prompt_tokens, totals.prompt_seconds)),
            ("predicted_tokens_seconds", "gauge", "Average generation throughput in tokens/s",
             _rate(totals.answer_tokens, totals.answer_seconds)),
            ("requests_processing", "gauge", "Number of requests processing", sum(map(_busy, found))),
            ("requests_deferred", "gauge", "Number of requests deferred", sum(s.queue for s in found)),
        ]  # fmt: skip
        lines = (
            f"# HELP llamacpp:{n} {about}\n# TYPE llamacpp:{n} {kind}\nllamacpp:{n} {value}\n"
            for n, kind, about, value in rows
        )
        return "".join(lines)


def _busy(status: EngineStatus) -> int:
    return sum(slot.state != "idle" for slot in status.slots)


def _rate(n: float, seconds: float) -> float:
    return n / seconds if seconds else 0.0
