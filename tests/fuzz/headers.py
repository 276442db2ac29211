"""Configuration, spec and tensors of every architecture, from a header alone: no weight, no kernel.

A header that is accepted gives a network whose memory is counted; the same twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np

from localllm.gguf.reader import open_header
from localllm.model.memory import estimate
from localllm.model.network import build
from localllm.model.weights import Weights
from tests.fuzz.gguf_mutator import Entry, Parsed, Tensor, built, fit, of_gguf, parsed
from tests.fuzz.target import Finding, Mutate, Target
from tests.gguf import build as b
from tests.recorded import models

_MAX_SEED = 1 << 15
_KINDS = {bool: b.BOOL, int: b.U32, float: b.F32, str: b.STR}
_I32 = 26
"""Of tensors, the only ones that are not floats here: a table of experts."""


@cache
def _headers() -> tuple[bytes, ...]:
    """Of one case an architecture."""
    found = {case.architecture: _header(case) for case in reversed(models.cases().values())}
    return tuple(header for header in found.values() if len(header) <= _MAX_SEED)


def _header(case: models.Case) -> bytes:
    """As `models.write` has it, without the data."""
    kv = {"vocab_size": models.N_VOCAB, "context_length": 256, "tokenizer.ggml.model": "no_vocab"} | case.kv
    entries = [Entry(b"general.architecture", b.STR, case.architecture)]
    for key, value in kv.items():
        full = key if key.startswith(("general.", "tokenizer.", "xielu.")) else f"{case.architecture}.{key}"
        if isinstance(value, np.ndarray):
            entries.append(Entry(full.encode(), b.ARR, value.tolist(), b.U64))
        elif isinstance(value, list):
            entries.append(
                Entry(full.encode(), b.ARR, value, _KINDS[type(value[0])] if type(value[0]) is not int else b.I32)
            )
        elif value is not None:
            entries.append(Entry(full.encode(), _KINDS[type(value)], value))
    tensors = [
        Tensor(name.encode(), list(shape), _I32 * ("tid2eid" in name), 0) for name, shape in case.tensors.items()
    ]
    file = Parsed(3, entries, tensors)
    fit(file)
    return built(replace(file, rest=b""))


def seeds() -> Iterator[bytes]:
    yield from _headers()


def run(data: bytes) -> None:
    first = _counted(data)
    if _counted(data) != first:
        raise Finding("the same header gives two networks")


def _counted(data: bytes) -> str:
    with open_header(data, 1 << 40, "model.gguf") as file:
        weights = Weights(file)
        network, left = build(file, weights)
        need = estimate(file).fit(512).need
        if min(need.weights, need.cells, need.recurrent, need.scratch) < 0:
            raise Finding(f"memory below 0: {need}")
        if weights.used_bytes > sum(info.n_bytes for info in file.tensors.values()):
            raise Finding("more is used than there is")
        return repr((network.config.n_layer, network.config.n_vocab, need, left))


def _keys() -> list[str]:
    """Of all cases; a mutation gives one architecture's to another."""
    found = set()
    for header in _headers():
        found |= {entry.key.decode() for entry in parsed(header).entries}
    return sorted(found)


@cache
def _mutator() -> Mutate:
    names = sorted({tensor.name.decode() for header in _headers() for tensor in parsed(header).tensors})
    return of_gguf(_keys(), names)


TARGET = Target(seeds, run, lambda data, rng: _mutator()(data, rng))
