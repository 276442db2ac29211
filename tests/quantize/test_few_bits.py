"""Whether weights were trained for a format of one or two bits is seen, and said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from localllm.kernels.formats.table import FORMATS as TABLE
from localllm.quantize.encode import Encoder
from localllm.quantize.methods.few_bits import FORMATS, FewBits
from localllm.quantize.methods.keep_grid import KeepGrid
from localllm.quantize.methods.plain import Plain
from localllm.quantize.source import SourceTensor

K, N = 512, 40
LEVELS = {"TQ1_0": (-1, 0, 1), "TQ2_0": (-1, 0, 1), "Q1_0": (-1, 1), "Q2_0": (-1, 0, 1, 2)}


@pytest.fixture(scope="module")
def encoder():
    with Encoder(1) as made:
        yield made


def notes(encoder, format, *matrices):
    method = FewBits(Plain(encoder), encoder)
    for i, x in enumerate(matrices):
        raw = method.encode(SourceTensor(f"blk.{i}.ffn_up.weight", (K, len(x)), "F32"), x, TABLE[format])
        assert np.array_equal(raw, encoder.encode(TABLE[format], x))
    return method.notes()


@pytest.mark.parametrize("format", FORMATS)
def test_trained_weights_are_exact_and_others_lose(encoder, format):
    rng = np.random.default_rng(0)
    trained = rng.choice(LEVELS[format], (N, K)).astype(np.float32) * np.float32(0.0123)
    assert notes(encoder, format, trained, np.zeros((N, K), np.float32)) == []
    (note,) = notes(encoder, format, trained, rng.standard_normal((N, K)).astype(np.float32))
    assert note.startswith(f"1 of 2 tensors in {format} were not trained for it and lost ")
    assert 5 < int(note.split("%")[0].split()[-1]) < 60


def test_other_formats_are_not_looked_at(encoder):
    assert notes(encoder, "Q4_0", np.random.default_rng(0).standard_normal((N, K)).astype(np.float32)) == []


def test_a_method_behind_others_prepares_the_source(encoder):
    seen: list[object] = []

    class Prepares(Plain):
        def prepare(self, source, formats):
            seen.append(source)
            return source

    source: Any = object()
    assert FewBits(KeepGrid(Prepares(encoder)), encoder).prepare(source, {}) is source
    assert seen == [source]
