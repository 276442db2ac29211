"""What llama.cpp's server tells about itself: /health, /props, /slots, /metrics."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec
from starlette.responses import Response

from localllm import __version__
from localllm.generate.params import Sampling, defaults_of
from localllm.server.call import Call
from localllm.server.endpoint import ApiError, Endpoint
from localllm.server.metrics import CONTENT_TYPE


class Health(msgspec.Struct):
    status: str


async def health(call: Call) -> Health:
    """Ready: the model is loaded, and the passes of every engine come to their end."""
    models = call.server.models
    if models.is_starting:
        raise ApiError(503, "Loading model", retry_after=1.0)
    for loaded in models.loaded():
        if loaded.served.engine is not None and not loaded.served.engine.status().alive:
            raise ApiError(503, f"the engine of {loaded.served.name} does not go on", retry_after=10.0)
    return Health("ok")


class DefaultSettings(msgspec.Struct):
    params: dict[str, Any]
    n_ctx: int


class Props(msgspec.Struct):
    default_generation_settings: DefaultSettings
    total_slots: int
    model_alias: str
    model_path: str
    """The model's name: paths of the disk are nobody's business."""
    chat_template: str
    chat_template_caps: dict[str, Any]
    modalities: dict[str, bool]
    bos_token: str
    eos_token: str
    build_info: str
    endpoint_slots: bool
    endpoint_metrics: bool
    endpoint_props: bool = False
    is_sleeping: bool = False


async def props(call: Call) -> Props:
    options = call.server.options
    async with call.model(call.request.query_params.get("model")) as served:
        tokenizer, engine = served.model.tokenizer, served.engine

        def shown(token: int | None) -> str:
            return "" if tokenizer is None or token is None else tokenizer.token_text(token)

        return Props(
            DefaultSettings(settings(defaults_of(served.model.metadata)), served.n_ctx),
            total_slots=engine.options.n_seq if engine is not None else 0,
            model_alias=served.name,
            model_path=served.name,
            chat_template=getattr(served.model.template, "source", ""),
            chat_template_caps={},
            modalities={"vision": False, "audio": False, "video": False},
            bos_token=shown(tokenizer and tokenizer.bos_id),
            eos_token=shown(tokenizer and tokenizer.eos_id),
            build_info=f"localllm-{__version__}",
            endpoint_slots=options.slots,
            endpoint_metrics=options.metrics,
        )


def settings(sampling: Sampling) -> dict[str, Any]:
    """Sampling under llama.cpp's names (task_params::to_json, server-task.cpp)."""
    told = asdict(sampling)
    told["logit_bias"] = [{"id": token, "bias": bias} for token, bias in sampling.biases]
    told["seed"] = -1 if sampling.seed is None else sampling.seed
    del told["bans"]
    return told


class Slot(msgspec.Struct):
    id: int
    n_ctx: int
    is_processing: bool
    n_past: int
    """Tokens that it holds."""
    n_prompt_tokens: int
    next_token: list[dict[str, Any]]
    speculative: bool = False


async def slots(call: Call) -> list[Slot]:
    """Of the model that is meant, if it is loaded: asking is no reason to load it."""
    if not call.server.options.slots:
        raise ApiError(501, "the server was started with --no-slots")
    models = call.server.models
    name = models.name(call.request.query_params.get("model"))
    _, found = models.state(name)
    told = []
    if found and found.engine is not None:
        status = found.engine.status()
        for slot in status.slots:
            busy = slot.state != "idle"
            following = {"has_next_token": busy, "n_decoded": slot.n_answer, "n_remain": -1}
            told.append(Slot(slot.id, status.n_ctx, busy, slot.n_past, slot.n_prompt, [following]))
    if call.request.query_params.get("fail_on_no_slot") and all(slot.is_processing for slot in told):
        raise ApiError(503, "no slot available", retry_after=1.0)
    return told


async def metrics(call: Call) -> Response:
    if not call.server.options.metrics:
        raise ApiError(501, "the server was started with --no-metrics")
    counted = call.server.metrics
    headers = {"process-start-time-unix": str(int(counted.started))}
    return Response(counted.text(), media_type=CONTENT_TYPE, headers=headers)


ENDPOINTS = (
    Endpoint("GET", "/health", health, answer=Health, summary="Whether the server is ready", open=True),
    Endpoint("GET", "/v1/health", health, answer=Health, summary="Whether the server is ready", open=True),
    Endpoint("GET", "/props", props, answer=Props, summary="What the server and its model are"),
    Endpoint("GET", "/slots", slots, answer=list[Slot], summary="What each slot does"),
    Endpoint("GET", "/metrics", metrics, answer=str, summary="Figures for Prometheus"),
)
