"""Files of Mamba's kinds that are refused, and what recordings of llama.cpp cannot hold."""

from dataclasses import replace

import numpy as np
import pytest

from localllm.errors import FormatError, UnsupportedError
from localllm.model.model import LoadedModel
from tests.recorded import models

CASES = models.cases()


def load(tmp_path, case, quantize=lambda name, x: None):
    return LoadedModel.load(models.write(tmp_path / "m.gguf", case, quantize), n_ctx=64, n_threads=1, kv_type="f32")


@pytest.mark.parametrize(
    ("name", "key", "value", "error", "message"),
    [
        ("mamba2", "ssm.group_count", 3, FormatError, "is 3, must divide time_step_rank, 2, and inner_size, 128"),
        ("mamba2", "ssm.group_count", 0, FormatError, "is 0, must divide"),
        ("mamba2", "ssm.time_step_rank", 3, FormatError, "is 3, must divide inner_size, 128"),
        ("plamo2", "ssm.time_step_rank", 3, FormatError, "is 3, must divide inner_size, 128"),
        ("mamba", "ssm.conv_kernel", 1, FormatError, "is 1, must be 2 to 64"),
        ("mamba", "ssm.state_size", 1 << 20, FormatError, "is 1048576, must be 1 to 16384"),
        ("falcon-h1", "ssm.has_mup", True, UnsupportedError, "is True, which is not supported yet"),
        ("falcon-h1", "mlp_down_multiplier", 0.5, UnsupportedError, "is 0.5, which is not supported yet"),
    ],
)  # fmt: skip
def test_numbers_that_are_refused(tmp_path, name, key, value, error, message):
    case = CASES[name]
    with pytest.raises(error, match=f"metadata key {case.architecture}.{key}: {message}"):
        load(tmp_path, replace(case, kv=case.kv | {key: value}))


@pytest.mark.parametrize("name", ["mamba", "mamba2", "plamo2"])
def test_a_state_that_grows_is_refused(tmp_path, name):
    """The kernel's powers are those of numbers up to 0."""
    with pytest.raises(FormatError, match=r"tensor blk\.\d\.ssm_a: has elements above 0: a state that grows"):
        load(tmp_path, replace(CASES[name], scales={"ssm_a": -1.0}))


def test_layers_that_predict_further_tokens_are_counted_and_left_out(tmp_path):
    with load(tmp_path, CASES["nemotron_h_moe-nextn"]) as model:
        assert (model.config.n_layer, model.config.n_nextn) == (3, 1)


def test_plamo2_turns_also_where_its_first_layer_has_no_heads(tmp_path):
    """So do all its files; llama.cpp takes the first layer's heads for the number of elements with RoPE."""
    case = CASES["plamo2"]
    order = [1, 0, 2]
    tensors = {
        f"blk.{order[int(name.split('.')[1])]}.{name.split('.', 2)[2]}" if name.startswith("blk.") else name: shape
        for name, shape in case.tensors.items()
    }
    kv = case.kv | {f"attention.head_count{kv}": [0, n, 0] for kv, n in (("", 4), ("_kv", 2))}
    with load(tmp_path, replace(case, kv=kv, tensors=tensors)) as model:
        rope = model.network.ropes(64)[1]
        assert rope is not None
        np.testing.assert_allclose(rope.frequencies, 1e4 ** -(np.arange(0, 32, 2) / 32))
