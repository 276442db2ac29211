"""What Gemma 3n and 4 have of their own, beside the recorded cases: whose keys and values a layer uses, and per-layer
embeddings in the formats of real files."""

from dataclasses import replace

import gguf
import numpy as np
import pytest

from localllm.errors import FormatError
from localllm.model.model import Model
from tests.recorded import models
from tests.recorded.models import IDS

CASES = models.cases()


def load(path, case):
    return Model.load(models.write(path, case), n_ctx=512, n_threads=2, kv_type="f32")


def test_keys_and_values_are_those_of_the_last_layer_alike_before_the_sharing(tmp_path):
    """And only layers that have them take memory."""
    with load(tmp_path / "m.gguf", CASES["gemma4-small"]) as model:
        blocks = [layer.mixers[0] for layer in model.network.layers]
        assert [blocks.index(b.source) if b.source else None for b in blocks] == [None] * 5 + [3, 3, 4]
        context = model.context()
        own = [len(context._sequences.states[id(b)]) for b in blocks]
        assert own == [1] * 5 + [0] * 3
        context.close()


REFUSED = {
    "no layer alike": ({"attention.shared_kv_layers": 6}, "shared_kv_layers.*no layer like it"),
    "another size": ({"attention.head_count_kv": [2, 2, 1, 2, 1, 2, 2, 2]}, "layer 7 uses .* of layer 4"),
    "no pattern": ({"attention.sliding_window_pattern": None}, "sliding_window_pattern"),
    "too many": ({"attention.shared_kv_layers": 8}, "shared_kv_layers.*is 8, must be 0 to 7"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path, name):
    change, match = REFUSED[name]
    case = CASES["gemma4-small"]
    kv = {key: value for key, value in (case.kv | change).items() if value is not None}
    with pytest.raises(FormatError, match=match):
        load(tmp_path / "m.gguf", replace(case, kv=kv))


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q5_1"])
def test_embeddings_a_layer_in_any_format(tmp_path, kind):
    """The same bits as those of a file that holds in F32 what the format stands for."""
    case, name, type_ = CASES["gemma4-small"], "per_layer_token_embd.weight", gguf.GGMLQuantizationType[kind]
    quantized = gguf.quants.quantize(models.tensor(name, case.tensors[name]), type_)
    exact = replace(case, values=case.values | {name: gguf.quants.dequantize(quantized, type_)})
    paths = (
        models.write(tmp_path / "a.gguf", case, lambda n, x: (quantized, type_) if n == name else None),
        models.write(tmp_path / "b.gguf", exact),
    )
    logits = []
    for path in paths:
        with Model.load(path, n_ctx=512, n_threads=2, kv_type="f32") as model:
            assert model.network.stack.inputs.token_embd.format.name == (kind if path is paths[0] else "F32")
            logits.append(model.logits(IDS))
    np.testing.assert_array_equal(*logits)
