"""What contexts give by `save`, `span` and `moment`, changed, and put back: it is refused and nothing has changed, or
the sequence is where it says, and what it computes is numbers or an error of localllm's.

The first byte chooses the kind of model, the second where the changed bytes go; then n_past, and the bytes.
"""

from __future__ import annotations

import atexit
import contextlib
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from localllm.errors import NotFiniteError
from localllm.model.context import Context
from localllm.model.model import LoadedModel
from localllm.model.sequences import Moment, Span
from tests.fuzz.target import Finding, Target
from tests.recorded import models

_KINDS = ("llama", "gemma3", "mamba")
_N = 5


@cache
def _contexts() -> tuple[tuple[Context, list[bytes], Span, Moment], ...]:
    folder = tempfile.TemporaryDirectory(prefix="localllm-fuzz-")
    atexit.register(folder.cleanup)
    found = []
    for kind in _KINDS:
        path = models.write(Path(folder.name) / f"{kind}.gguf", models.cases()[kind])
        context = LoadedModel.load(path, n_threads=1).context(64, 2, 16)
        context.forward([1, 2, 3, 4, 5])
        found.append((context, context.save(0), context.span(0, 0, _N), context.moment(0, _N)))
    return tuple(found)


def seeds() -> Iterator[bytes]:
    for i, (_, saved, span, moment) in enumerate(_contexts()):
        for part in range(len(saved)):
            yield bytes([i, 2 * part, _N]) + saved[part]
        yield bytes([i, 1, _N]) + span.content.tobytes()
        for part, content in enumerate(moment.parts):
            yield bytes([i, 2 * part + 3, _N]) + content


def run(data: bytes) -> None:
    head, content = data[:3].ljust(3, b"\0"), data[3:]
    context, saved, span, moment = _contexts()[head[0] % len(_KINDS)]
    context.clear()
    context.forward([7, 8], seq_ids=[1, 1])
    before, n_past = context.save(1), head[2]
    try:
        _put(context, head[1], n_past, content, saved, span, moment)
    except BaseException:
        if context.n_past(1) != 2 or context.save(1) != before:
            raise Finding("refused, and changed") from None
        raise
    if context.n_past(1) != n_past:
        raise Finding(f"goes on at {context.n_past(1)}, not {n_past}")
    with contextlib.suppress(NotFiniteError):
        logits = context.forward([9], seq_ids=[1])
        if not np.isfinite(logits).all():
            raise Finding("logits are not finite")


def _put(
    context: Context, place: int, n_past: int, content: bytes, saved: list[bytes], span: Span, moment: Moment
) -> None:
    if place % 2 == 0:
        part = place // 2 % len(saved)
        context.restore(1, n_past, [content if i == part else other for i, other in enumerate(saved)])
    elif place == 1 or not moment.parts:
        context.resume(1, n_past, [Span(0, n_past, np.frombuffer(content, np.uint8))], moment)
    else:
        part = (place // 2 - 1) % len(moment.parts)
        parts = [content if i == part else other for i, other in enumerate(moment.parts)]
        context.resume(1, n_past, [span], Moment(moment.position, moment.written, tuple(parts)))


TARGET = Target(seeds, run, max_len=1 << 17)
