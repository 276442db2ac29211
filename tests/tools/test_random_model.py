"""Random models of real shapes: the right formats, rows of unit length, a file that runs, and nothing half-written."""

import math

import gguf
import numpy as np
import pytest
from click.testing import CliRunner

from localllm.gguf.reader import open_gguf
from localllm.kernels.formats.table import FORMATS
from localllm.model.model import LoadedModel
from localllm.model.spec import architectures
from localllm.tools import random_model
from localllm.tools.random_model import MIXES, format_of, tensor
from localllm.tools.shapes import SHAPES, Shape, _attention, _ffn, _kv

N = 256


def layer(i):
    return _attention(N, 4, 2, 64) | {"ffn_norm.weight": (N,)} | _ffn(N, 512)


SMALL = Shape("a small llama", "llama", 300, _kv(N, 8, 512, 4, 2, 64), layer, is_tied=False)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_of_architectures_that_run(name):
    shape = SHAPES[name]
    assert shape.architecture in architectures()
    for mix in MIXES:
        for tensor_name, dims in shape.tensors().items():
            fmt = FORMATS[format_of(shape, mix, tensor_name, dims[0])]
            assert fmt.supported
            assert dims[0] % fmt.block == 0


@pytest.mark.parametrize("name", SHAPES)
def test_sizes_fit_a_small_machine(name):
    """A file of a few GB at most, and of the parameters that the name says where no layers were left out."""
    shape = SHAPES[name]
    n_params = sum(math.prod(dims) for dims in shape.tensors().values())
    assert n_params < 6e9
    said = {"qwen35-0.8b": 0.75e9, "granite4-h-1b": 1.46e9, "lfm2-1.2b": 1.17e9, "mamba2-1.3b": 1.34e9}
    said |= {"gemma3n-e2b": 4.46e9, "gemma4-e2b": 4.65e9}
    said |= {"rwkv7-1.5b": 1.53e9}
    if name in said:
        assert n_params == pytest.approx(said[name], rel=0.03)


def test_formats_of_the_mix():
    formats = {name: format_of(SMALL, "Q4_K_M", name, dims[0]) for name, dims in SMALL.tensors().items()}
    assert formats["output.weight"] == "Q6_K"
    assert formats["token_embd.weight"] == "Q4_K"
    assert formats["blk.3.attn_norm.weight"] == "F32"
    assert formats["blk.3.attn_q.weight"] == "Q4_K"
    more = [i for i in range(8) if formats[f"blk.{i}.ffn_down.weight"] == "Q6_K"]
    assert more == [i for i in range(8) if formats[f"blk.{i}.attn_v.weight"] == "Q6_K"] == [0, 3, 6, 7]
    others = {format_of(SMALL, "IQ2_XS", name, dims[0]) for name, dims in SMALL.tensors().items() if "norm" not in name}
    assert others == {"IQ2_XS", "Q6_K"}
    assert format_of(SMALL, "IQ2_XS", "output.weight", 512) == "Q6_K"
    oss = SHAPES["gpt-oss-20b"]
    assert format_of(oss, "Q4_K_M", "blk.0.ffn_up_exps.weight", 2880) == "MXFP4"
    assert format_of(oss, "Q4_K_M", "blk.0.attn_q.weight", 2880) == "Q8_0"


@pytest.mark.parametrize("fmt", ["F32", "F16", "Q8_0", "Q4_0", "Q4_K", "Q6_K", "MXFP4"])
def test_rows_have_unit_length(fmt):
    raw = tensor("blk.0.ffn_up.weight", (512, 64), fmt)
    values = gguf.quants.dequantize(raw.reshape(64, -1), gguf.GGMLQuantizationType[fmt])
    assert np.sqrt((values.astype(np.float64) ** 2).sum(-1)).mean() == pytest.approx(1, rel=0.2)
    assert np.array_equal(raw, tensor("blk.0.ffn_up.weight", (512, 64), fmt))


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(SHAPES, "lfm2-1.2b", SMALL)


def test_the_command_writes_a_model_that_runs(tmp_path, small):
    path = tmp_path / "m.gguf"
    result = CliRunner().invoke(random_model.main, ["lfm2-1.2b", str(path)])
    assert result.exit_code == 0, result.output
    with open_gguf(str(path)) as file:
        assert file.tensors["blk.0.attn_q.weight"].format.name == "Q4_K"
    with LoadedModel.load(path, n_ctx=64) as model:
        logits = model.logits([1, 2, 3])
        assert np.isfinite(logits).all()
        assert 0.1 < logits.std() < 10
        assert model.tokenizer is not None
        assert model.tokenizer.decode(model.tokenizer.encode("Hello, you")) == "Hello, you"
    assert [p.name for p in tmp_path.iterdir()] == ["m.gguf"]


def test_nothing_is_left_of_a_file_that_was_interrupted(tmp_path, small, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(random_model, "tensor", interrupted)
    with pytest.raises(KeyboardInterrupt):
        random_model.write(tmp_path / "m.gguf", SMALL, "Q4_K_M")
    assert list(tmp_path.iterdir()) == []
