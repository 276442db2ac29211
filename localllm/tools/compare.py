"""Several files of one model side by side: size, memory, speed here, distance to a base file, and what they answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from statistics import median
from typing import Any

from localllm.errors import UsageError
from localllm.generate.logprobs import log_softmax
from localllm.generate.session import Model
from localllm.gguf.reader import GGUFFile, open_gguf
from localllm.model.memory import needed
from localllm.tools import bench
from localllm.tools.divergence import Divergence, divergence
from localllm.tools.likelihood import chunks, logits_of, text_ids

Progress = Callable[[str, int, int], None]
PROMPTS = (
    "Explain in two sentences why the sky is blue.",
    "Write a Python function that tells whether a word is a palindrome.",
    "A shop sells pens at 3 for 2 euros. What do 12 pens cost?",
    "Translate into French: The train leaves at eight o'clock.",
)
"""What every file answers, greedily."""
MEMORY_N_CTX = 4096
"""Tokens of the context whose memory is counted."""


@dataclass(frozen=True)
class Plan:
    """What is measured. n_ctx: tokens of a chunk of the text; prompt, answer: tokens of the tests of speed."""

    n_ctx: int = 512
    n_chunks: int | None = None
    prompt: int = 512
    answer: int = 64
    repetitions: int = 3
    answer_tokens: int = 64
    prompts: tuple[str, ...] = PROMPTS


@dataclass(frozen=True)
class Candidate:
    """A file and what was measured. size, memory: bytes, the latter with a context of MEMORY_N_CTX tokens; prefill,
    decode: tokens a second; first_token: seconds from loading to the first token of an answer to a short prompt."""

    path: str
    description: str
    size: int
    memory: int
    bits_per_weight: float
    prefill: float
    decode: float
    first_token: float
    divergence: Divergence
    answers: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = asdict(self)
        return found | {"divergence": self.divergence.as_dict(), "answers": list(self.answers)}


def evaluation_text() -> str:
    """The text that is used where none is given: prose, code, dialogue and tables in several languages."""
    return resources.files("localllm.tools").joinpath("evaluation.txt").read_text("utf-8").removesuffix("\n")


def largest(paths: Sequence[str]) -> str:
    """The file with the most bits a weight, which stands for the exact model where no base is named."""

    def bits(path: str) -> float:
        with open_gguf(path) as file:
            return _bits(
                sum(t.n_bytes for t in file.tensors.values()), sum(t.n_elements for t in file.tensors.values())
            )

    return max(paths, key=bits)


def memory_of(path: str) -> int:
    """Bytes that a file takes with a context of MEMORY_N_CTX tokens. Raises LocalllmError."""
    with open_gguf(path) as file:
        return _memory(file)


def _memory(file: GGUFFile) -> int:
    return needed(file, MEMORY_N_CTX).total


def _bits(n_bytes: int, n_params: int) -> float:
    return 8 * n_bytes / max(1, n_params)


def compare(
    paths: Sequence[str], base: str, text: str, plan: Plan, load: Callable[[str], Model], progress: Progress
) -> list[Candidate]:
    """Measure all files, the base among them. load(path): a model, which is closed here.

    Raises UsageError where a file's vocabulary is not the base's.
    """
    every = list(dict.fromkeys([*paths, base]))
    with ExitStack() as stack:
        models = [stack.enter_context(load(path)) for path in every]
        found = _divergences(models, models[every.index(base)], text, plan, progress)
        speeds = _speeds(models, plan, progress)
        answers = [_answers(model, plan, progress) for model in models]
        first_tokens = [_first_token(path, load, plan) for path in every]  # last: all kernels are compiled by now
        return [
            Candidate(
                path, model.description, model.n_bytes, _memory(model.file),
                _bits(model.n_bytes, model.n_params), speed[0], speed[1], first, distance, answer,
            )
            for path, model, speed, first, distance, answer in zip(
                every, models, speeds, first_tokens, found, answers, strict=True
            )
        ]  # fmt: skip


def _first_token(path: str, load: Callable[[str], Model], plan: Plan) -> float:
    start = time.perf_counter()
    with load(path) as model, closing(model.context(n_ctx=256)) as context:
        context.forward(text_ids(model, plan.prompts[0] if plan.prompts else PROMPTS[0]))
        return time.perf_counter() - start


def _divergences(models: Sequence[Model], base: Model, text: str, plan: Plan, progress: Progress) -> list[Divergence]:
    """Chunk by chunk, so that of the base's predictions only one chunk's are held."""
    ids = text_ids(base, text)
    for model in models:
        if model.config.n_vocab != base.config.n_vocab or text_ids(model, text[:2000]) != text_ids(base, text[:2000]):
            raise UsageError(f"{model.path}: has another vocabulary than {base.path}: they are not files of one model")
    parts = chunks(base, ids, plan.n_ctx, plan.n_chunks)
    found: list[list[Divergence]] = [[] for _ in models]
    with ExitStack() as stack:
        contexts = [stack.enter_context(closing(model.context(n_ctx=plan.n_ctx))) for model in models]
        base_context = contexts[models.index(base)]
        for i, chunk in enumerate(parts):
            exact = logits_of(base_context, chunk)
            base_log_p = log_softmax(exact)
            for context, results in zip(contexts, found, strict=True):
                logits = exact if context is base_context else logits_of(context, chunk)
                results.append(divergence(base_log_p, logits, chunk.targets))
            progress("Text", i + 1, len(parts))
    return [Divergence.joined(results) for results in found]


def _speeds(models: Sequence[Model], plan: Plan, progress: Progress) -> list[tuple[float, float]]:
    """Tokens a second of prompts and of answers: medians of runs in which the files take turns."""
    tests = bench.combinations([plan.prompt], [plan.answer])
    runs: list[dict[str, list[float]]] = [{test.name: [] for test in tests} for _ in models]
    total = plan.repetitions * len(models)
    for repetition in range(plan.repetitions):
        for i, (model, kept) in enumerate(zip(models, runs, strict=True)):
            for test in tests:
                kept[test.name] += bench.measure(model, test, 1, warmup=repetition == 0).samples_ts
            progress("Speed", repetition * len(models) + i + 1, total)
    return [(median(kept[tests[0].name]), median(kept[tests[1].name])) for kept in runs]


def _answers(model: Model, plan: Plan, progress: Progress) -> tuple[str, ...]:
    out = []
    for i, prompt in enumerate(plan.prompts):
        messages = [{"role": "user", "content": prompt}]
        if model.template.is_fallback:
            answer = model.generate(prompt, plan.answer_tokens, temperature=0.0)
        else:
            answer = model.chat(messages, plan.answer_tokens, temperature=0.0)
        out.append("".join(answer))
        progress(f"Answers of {Path(model.path).name}", i + 1, len(plan.prompts))
    return tuple(out)
