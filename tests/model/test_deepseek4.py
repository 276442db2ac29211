"""DeepSeek-V4: what is refused by name, and caches of other types beside the recorded cases."""

from dataclasses import replace

import gguf
import numpy as np
import pytest

from localllm.errors import FormatError, UnsupportedError
from localllm.model.model import LoadedModel
from tests.recorded import models
from tests.recorded.cases.deepseek4 import CASES
from tests.recorded.models import N_VOCAB

CASE = CASES["deepseek4"]
REFUSED = {
    "another ratio": (UnsupportedError, r"compress_ratios, layer 1: is 8; supported: 0, 4, 128", [0, 8, 4]),
    "too few ratios": (FormatError, "compress_ratios.*one a layer, 3", [0, 4]),
}


def written(tmp_path, **kv):
    changed = {key.replace("__", "."): value for key, value in kv.items()}
    return models.write(tmp_path / "m.gguf", replace(CASE, kv=CASE.kv | changed))


@pytest.mark.parametrize("name", REFUSED)
def test_ratios_are_refused(tmp_path, name):
    error, match, ratios = REFUSED[name]
    with pytest.raises(error, match=match):
        LoadedModel.load(written(tmp_path, attention__compress_ratios=ratios))


@pytest.mark.parametrize(
    ("error", "match", "key", "value"),
    [
        (UnsupportedError, "hyper_connection.count: is 2.*supported: 4", "hyper_connection.count", 2),
        (FormatError, "sinkhorn_iterations.*is 0", "hyper_connection.sinkhorn_iterations", 0),
        (FormatError, "output_group_count: is 3, must divide head_count, 4", "attention.output_group_count", 3),
        (FormatError, "value_length: is 16, must be that of keys, 32", "attention.value_length", 16),
        (FormatError, "blk.1.ffn_gate_tid2eid.weight: is missing", "hash_layer_count", 2),
        (UnsupportedError, "nextn_predict_layers.*blk.2.nextn.eh_proj.*: is 1", "nextn_predict_layers", 1),
    ],
)
def test_numbers_are_refused(tmp_path, error, match, key, value):
    with pytest.raises(error, match=match):
        LoadedModel.load(written(tmp_path, **{key.replace(".", "__"): value}))


@pytest.mark.parametrize("value", [6, -1])
def test_a_table_that_names_no_expert(tmp_path, value):
    def other(name, x):
        if "tid2eid" not in name:
            return None
        x = x.copy()
        x[N_VOCAB // 2, 1] = value
        return x, gguf.GGMLQuantizationType.I32

    with pytest.raises(FormatError, match=r"ffn_gate_tid2eid.*must be 0 to 5"):
        LoadedModel.load(models.write(tmp_path / "m.gguf", CASE, other))


def test_a_table_of_floats(tmp_path):
    def other(name, x):
        return (x.astype(np.float32), gguf.GGMLQuantizationType.F32) if "tid2eid" in name else None

    with pytest.raises(UnsupportedError, match=r"ffn_gate_tid2eid.*F32"):
        LoadedModel.load(models.write(tmp_path / "m.gguf", CASE, other))


@pytest.mark.parametrize("kv_type", ["f16", "q8_0", "q4_0"])
def test_the_same_bits_in_other_types_of_cells(tmp_path, kv_type):
    ids = models.ids_of(150)
    with LoadedModel.load(
        models.write(tmp_path / "m.gguf", CASES["deepseek4-long"]), n_ctx=256, kv_type=kv_type
    ) as model:
        exact = model.logits(ids)
        context = model.context()
        parts = [context.forward(ids[i : i + 11], want_logits=[True] * len(ids[i : i + 11])) for i in range(0, 150, 11)]
        assert np.array_equal(np.concatenate(parts), exact)
        saved = context.save()
        context.forward(ids[:30])
        context.restore(0, 150, saved)
        assert context.cut(0, 100) == 100
        again = context.forward(ids[100:], want_logits=[True] * 50)
        assert np.array_equal(again, exact[100:])
        context.close()
