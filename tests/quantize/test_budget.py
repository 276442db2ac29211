"""Mixtures within a size: never above it, and bits where they matter."""

from __future__ import annotations

import numpy as np
import pytest

from localllm.errors import UsageError
from localllm.kernels.formats.table import FORMATS
from localllm.quantize.budget import allowed_bytes, candidates, find, quantizable, table
from localllm.quantize.calibration import Calibration
from localllm.quantize.encode import Encoder
from localllm.quantize.imatrix import Imatrix
from localllm.quantize.source import Source, SourceTensor, Typed

N_LAYERS = 3


class Random(Source):
    """A model of random matrices."""

    path = "random"

    @property
    def metadata(self):
        return {"general.architecture": Typed("llama", "str"), "llama.block_count": Typed(N_LAYERS, "u32")}

    def __init__(self):
        shapes = {"token_embd.weight": (64, 96), "output_norm.weight": (64,), "output.weight": (64, 96)}
        for i in range(N_LAYERS):
            shapes |= {f"blk.{i}.ffn_up.weight": (64, 256), f"blk.{i}.ffn_down.weight": (256, 64)}
        self._tensors = {
            name: SourceTensor(name, shape, "F32" if len(shape) == 1 else "F16") for name, shape in shapes.items()
        }

    @property
    def files(self):
        return []

    @property
    def tensors(self):
        return self._tensors

    def read(self, name):
        shape = self._tensors[name].shape[::-1]
        return np.random.default_rng(len(name)).normal(size=shape).astype(np.float32)

    def encoded(self, name, format):
        return None

    def close(self):
        pass


@pytest.fixture(scope="module")
def encoder():
    with Encoder(2) as encoder:
        yield encoder


def search(encoder, bits, divergence):
    source = Random()
    limit = allowed_bytes(source, bits, None, 0)
    return find(source, Calibration(Imatrix({})), encoder, divergence, lambda _: True, limit)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [4.8, 5.5, 6.3, 9.0])
def test_a_mixture_stays_within_its_size_and_uses_most_of_it(bits, encoder):
    budget = search(encoder, bits, lambda name, format: 1e-3)
    sizes = [
        FORMATS[f.name].row_bytes(t.k) * t.n_rows
        for f, t in zip(budget.formats.values(), Random().tensors.values(), strict=True)
    ]
    assert sum(sizes) == budget.n_bytes <= budget.limit
    largest = all(choice.format.name == "Q8_0" for choice in budget.choices)
    assert largest or budget.n_bytes > 0.97 * budget.limit
    assert budget.formats["output_norm.weight"].name == "F32"


def test_bits_go_where_predictions_suffer(encoder):
    budget = search(encoder, 5.0, lambda name, format: 1.0 if "blk.1.ffn_up" in name else 1e-4)
    bits = {choice.tensor.name: choice.format.bits_per_weight for choice in budget.choices}
    assert bits["blk.1.ffn_up.weight"] == max(bits.values())
    assert bits["blk.1.ffn_up.weight"] > bits["blk.0.ffn_up.weight"]


def test_too_few_bits_are_refused_with_the_least_possible(encoder):
    with pytest.raises(UsageError, match=r"smallest mixture has .* bits per weight"):
        search(encoder, 2.0, lambda name, format: 1e-3)


def test_what_cannot_be_measured_is_like_the_others(encoder):
    source = Random()
    limit = allowed_bytes(source, 5.0, None, 0)
    budget = find(
        source, Calibration(Imatrix({})), encoder, lambda *_: 1e-3, lambda name: "ffn_up" in name, limit
    )  # fmt: skip
    measured = {choice.tensor.name for choice in budget.choices if choice.measured}
    assert measured == {f"blk.{i}.ffn_up.weight" for i in range(N_LAYERS)}
    assert all(choice.at_anchor > 0 for choice in budget.choices)


def test_the_smaller_of_two_limits_counts():
    source = Random()
    tensors = sum(FORMATS[t.format].row_bytes(t.k) * t.n_rows for t in source.tensors.values())
    assert allowed_bytes(source, 4.0, 10**9, tensors) == allowed_bytes(source, 4.0, None, 0)
    assert allowed_bytes(source, 16.0, 50_000, tensors + 1000) == 50_000 - 1000 - 32 * len(source.tensors) - 2048


def test_the_table_has_a_row_for_each_matrix(encoder):
    budget = search(encoder, 5.0, lambda name, format: 1e-3)
    lines = table(budget)
    rows = [line for line in lines if line.startswith("| ") and "weight |" in line]
    assert len(rows) == len(quantizable(Random())) == len(budget.choices)
    assert {format.block for format in candidates(Random().tensors["blk.0.ffn_up.weight"])} == {32}
