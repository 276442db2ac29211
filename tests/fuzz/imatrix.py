"""Importance matrices in both forms: the same when read twice, sums and counts finite and not negative."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import numpy as np

from localllm.quantize.imatrix import Entry, Imatrix, read_imatrix, write_imatrix
from tests.fuzz.gguf_mutator import of_gguf
from tests.fuzz.mutators import of_bytes
from tests.fuzz.target import Finding, Target, written

_of_gguf = of_gguf(
    ("general.type", "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size", "localllm.calibration"),
    ("blk.0.attn_q.weight.in_sum2", "blk.0.attn_q.weight.counts", "a.in_sum2", "a.counts"),
)


def seeds() -> Iterator[bytes]:
    path = written(b"", "new.gguf")
    sums = np.arange(12, dtype=np.float32)
    entries = {
        "blk.0.attn_q.weight": Entry(sums.reshape(1, 12), np.array([7])),
        "blk.0.ffn_down_exps.weight": Entry(sums.reshape(3, 4), np.array([1, 0, 5])),
    }
    write_imatrix(path, Imatrix(entries, ("text",), 3, 512, "x"))
    yield path.read_bytes()
    row = struct.pack("<i3sii4f", 3, b"a.w", 2, 4, 1, 2, 3, 4)
    yield struct.pack("<i", 2) + row + row.replace(b"a.w", b"b.w") + struct.pack("<ii4s", 9, 4, b"text")
    yield struct.pack("<i", 1) + row


def mutate(data: bytes, rng: random.Random) -> bytes:
    return _of_gguf(data, rng) if data[:4] == b"GGUF" else of_bytes(data, rng)


def run(data: bytes) -> None:
    path = written(data, "imatrix")
    first = _checked(read_imatrix(path))
    if _checked(read_imatrix(path)) != first:
        raise Finding("a second reading differs")


def _checked(imatrix: Imatrix) -> str:
    for name, entry in imatrix.entries.items():
        means = entry.importance()
        if not (np.isfinite(entry.sums).all() and (entry.sums >= 0).all() and (entry.counts >= 0).all()):
            raise Finding(f"{name}: sums or counts that cannot be")
        if not (np.isfinite(means).all() and (means >= 0).all()):
            raise Finding(f"{name}: importance that cannot be")
    said = [(name, entry.sums.tobytes(), entry.counts.tobytes()) for name, entry in imatrix.entries.items()]
    return repr((said, imatrix.datasets, imatrix.chunk_count, imatrix.chunk_size, imatrix.identity))


TARGET = Target(seeds, run, mutate)
