"""Constants: arrays that are not the file's, which blocks share by name."""

from dataclasses import replace

import numpy as np
import pytest

from localllm.errors import FormatError, UnsupportedError
from localllm.gguf.reader import open_gguf, open_header
from localllm.model.blocks.around import read_temperature
from localllm.model.layer_reader import LayerReader
from localllm.model.spec import configuration
from localllm.model.weights import Weights
from tests import tiny_models


@pytest.fixture
def file(tmp_path):
    with open_gguf(tiny_models.write(tmp_path / "m.gguf", "llama")) as opened:
        yield opened


def test_a_constant_of_one_name_has_one_value(file):
    weights = Weights(file)
    made = weights.constant("x", np.array([[0.1, np.nan], [2.0, -0.0]]))
    assert weights.constant("x", np.array([0.1, np.nan, 2.0, 0.0])) == made
    for other in ([0.1, np.nan, 2.0, 1.0], [0.1, np.nan, 2.0]):
        with pytest.raises(ValueError, match="'x' was made before, with other values"):
            weights.constant("x", np.array(other))


def test_layers_have_queries_of_their_own_temperatures(file):
    spec, config = configuration(file)
    factors = 0.1, 0.25, 0.1
    spec = replace(spec, temperature=lambda c, i: (1 << 20, factors[i], 0))
    weights, tables = Weights(file), []
    for i in range(3):
        read = read_temperature(LayerReader(weights, config, spec, i, 1e-6))
        assert read is not None
        tables.append(read.factors)
    assert tables[0] == tables[2]
    values = [weights._copies[f"constant {table.name}"] for table in tables]
    for factor, found in zip(factors, values, strict=True):
        np.testing.assert_allclose(found, np.log(np.arange(found.size) + 1.0) * factor + 1.0, rtol=1e-6)


@pytest.fixture
def mixed(tmp_path):
    """A file with small matrices in other formats, and its bytes."""
    import gguf

    rng = np.random.default_rng(3)
    values = rng.standard_normal((4, 64)).astype(np.float32)
    coded = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
    writer = gguf.GGUFWriter(str(tmp_path / "m.gguf"), "llama")
    writer.add_tensor("f32", values)
    writer.add_tensor("f16", values.astype(np.float16))
    writer.add_tensor("q8", coded, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("i32", np.arange(8, dtype=np.int32).reshape(2, 4))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "m.gguf", values


def test_small_matrices_of_any_format_as_numbers(mixed):
    path, values = mixed
    with open_gguf(path) as file:
        weights = Weights(file)
        assert np.array_equal(weights.dequantized("f32", 64, 4), values)
        assert np.array_equal(weights.dequantized("f16", 64, 4), values.astype(np.float16))
        assert np.abs(weights.dequantized("q8", 64, 4) - values).max() < 0.02
        with pytest.raises(UnsupportedError, match="tensor i32: a small matrix in format I32 is not supported"):
            weights.dequantized("i32", 4, 2)
        with pytest.raises(UnsupportedError, match="tensor q8: a vector in format Q8_0 is not supported"):
            weights.vector("q8", 64, 4)


def test_numbers_of_rows_are_checked_before_they_lead_anywhere(mixed):
    with open_gguf(mixed[0]) as file:
        weights = Weights(file)
        assert weights.integers("i32", 4, 2, 8).n == 2
        with pytest.raises(FormatError, match="tensor i32: has elements from 0 to 7, must be 0 to 6"):
            weights.integers("i32", 4, 2, 7)
        with pytest.raises(UnsupportedError, match="tensor f32: format F32 is not supported; supported: I32"):
            weights.integers("f32", 64, 4, 8)


def test_of_a_header_alone_vectors_hold_ones(mixed):
    content = mixed[0].read_bytes()
    file = open_header(content, len(content), "far.gguf")
    weights = Weights(file)
    assert np.array_equal(weights.values("f16", 64, 4), np.ones(256))
    assert weights.matrix("q8", 64, 4).address == file.tensors["q8"].offset
    assert weights.integers("i32", 4, 2, 1).k == 4
    many = replace(file.tensors["f32"], n_bytes=1 << 28)
    file.tensors = dict(file.tensors) | {"f32": many}
    with pytest.raises(UnsupportedError, match=r"far\.gguf: tensor f32: 268435456 bytes are too many for a vector"):
        weights.vector("f32", 64, 4)


def test_parts_of_fused_tensors_lie_within_them(mixed):
    with open_gguf(mixed[0]) as file:
        weights = Weights(file)
        whole, vector = weights.matrix("q8", 64, 4), weights.vector("f32", 64, 4)
        rows, part = whole.rows(1, 2), vector.part(64, 32)
        assert (rows.k, rows.n, rows.address - whole.address) == (64, 2, whole.row_bytes)
        assert (part.k, part.n, part.row_bytes, part.address - vector.address) == (32, 1, 128, 256)
