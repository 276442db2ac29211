"""Numbers of delta-nets that cannot be are refused by name; layers of multi-token prediction are left out by name."""

from dataclasses import replace

import numpy as np
import pytest

from localllm.errors import FormatError, UnsupportedError
from localllm.model.model import LoadedModel
from tests.recorded import models

REFUSED = [
    ("qwen35", {"ssm.group_count": 3}, FormatError, "time_step_rank: is 4, must be a multiple of ssm.group_count, 3"),
    ("qwen35", {"ssm.inner_size": 96}, FormatError, "ssm.inner_size: is 96, must be ssm.time_step_rank * .*, 128"),
    ("qwen35", {"ssm.conv_kernel": 65}, FormatError, "ssm.conv_kernel: is 65, must be 2 to 64"),
    ("qwen35", {"attention.value_length": 16}, FormatError, "value_length: is 16"),
    ("qwen35-odd", {"attention.recurrent_layers": [True]}, FormatError, "recurrent_layers: has 1 elements"),
    ("kimi-linear", {"attention.head_count": [0, 3, 3]}, FormatError, "attention.head_count: is 0.*layer 0"),
    ("glm5-next", {"kda.gate_lower_bound": 0.0}, FormatError, "kda.gate_lower_bound: is 0.0, must be below 0"),
    ("bailingmoe3", {"kda.gate_lower_bound": 2.5}, FormatError, "kda.gate_lower_bound: is 2.5, must be below 0"),
    ("bailingmoe3", {"kda.safe_gate": False}, UnsupportedError, "kda.safe_gate: is false"),
]


@pytest.mark.parametrize(("name", "changed", "error", "text"), REFUSED)
def test_refused_by_name(name, changed, error, text, tmp_path):
    case = models.cases()[name]
    path = models.write(tmp_path / "m.gguf", replace(case, kv=case.kv | changed))
    with pytest.raises(error, match=text):
        LoadedModel.load(path)


@pytest.mark.parametrize("name", ["qwen35", "kimi-linear", "glm5-next"])
def test_a_state_that_grows_is_refused(name, tmp_path):
    case = models.cases()[name]
    path = models.write(tmp_path / "m.gguf", replace(case, scales=case.scales | {"ssm_a": -1.0}))
    with pytest.raises(FormatError, match=r"tensor blk\.0\.ssm_a: has elements above 0: a state that grows"):
        LoadedModel.load(path)


def test_rates_of_either_sign_are_read_where_the_file_holds_exp_a_log(tmp_path):
    """Real files of bailingmoe3 have them above 0, llama.cpp's random ones below; there the bound makes it a decay."""
    case = models.cases()["bailingmoe3"]
    path = models.write(tmp_path / "m.gguf", replace(case, scales=case.scales | {"ssm_a": -1.0}))
    with LoadedModel.load(path, n_ctx=64, n_threads=1) as model:
        assert np.isfinite(model.logits(models.ids_of(20))).all()


@pytest.mark.parametrize("name", ["qwen35", "bailingmoe3"])
def test_prediction_layers_are_left_out_by_name(name, tmp_path):
    case = models.cases()[name]
    with LoadedModel.load(models.write(tmp_path / "m.gguf", case)) as model:
        assert sorted(model.skipped) == sorted(t for t in case.tensors if t.startswith("blk.3."))


def test_a_gate_of_its_own_beside_that_of_queries_is_refused(tmp_path):
    case = models.cases()["qwen35"]
    changed = replace(case, tensors=case.tensors | {"blk.2.attn_gate.weight": [96, 128]})
    with pytest.raises(UnsupportedError, match=r"blk\.2\.attn_gate"):
        LoadedModel.load(models.write(tmp_path / "m.gguf", changed))
