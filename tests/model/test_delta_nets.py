"""Numbers of delta-nets that cannot be are refused by name; layers of multi-token prediction are left out by name."""

from dataclasses import replace

import pytest

from localllm.errors import FormatError, UnsupportedError
from localllm.model.model import LoadedModel
from tests.recorded import models

REFUSED = [
    ("qwen35", {"ssm.group_count": 3}, FormatError, "time_step_rank: is 4, must be a multiple of ssm.group_count, 3"),
    ("qwen35", {"ssm.inner_size": 96}, FormatError, "ssm.inner_size: is 96, must be ssm.time_step_rank * .*, 128"),
    ("qwen35", {"ssm.conv_kernel": 65}, FormatError, "ssm.conv_kernel: is 65, must be 2 to 64"),
    ("qwen35", {"attention.value_length": 16}, FormatError, "layer 2 has gates of 32 elements a head for values of 16"),
    ("qwen35-odd", {"attention.recurrent_layers": [True]}, FormatError, "recurrent_layers: has 1 elements"),
    ("kimi-linear", {"attention.head_count": [0, 3, 3]}, FormatError, "attention.head_count: is 0 for the first layer"),
    ("bailingmoe3", {"kda.safe_gate": False}, UnsupportedError, "kda.safe_gate: is false"),
]


@pytest.mark.parametrize(("name", "changed", "error", "text"), REFUSED)
def test_refused_by_name(name, changed, error, text, tmp_path):
    case = models.cases()[name]
    path = models.write(tmp_path / "m.gguf", replace(case, kv=case.kv | changed))
    with pytest.raises(error, match=text):
        LoadedModel.load(path)


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
