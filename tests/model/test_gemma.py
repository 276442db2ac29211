"""What Gemma 3n and 4 have of their own, beside the recorded cases: whose keys and values a layer uses, and per-layer
embeddings in the formats of real files."""

from dataclasses import replace
from typing import Any

import gguf
import numpy as np
import pytest

from localllm.errors import FormatError
from localllm.model.model import LoadedModel
from localllm.model.stacks.gemma4 import Gemma4
from tests.recorded import models
from tests.recorded.cases import gemma3n
from tests.recorded.models import IDS

CASES = models.cases()


def load(path, case):
    return LoadedModel.load(models.write(path, case), n_ctx=512, n_threads=2, kv_type="f32")


def test_keys_and_values_are_those_of_the_last_layer_alike_before_the_sharing(tmp_path):
    """And only layers that have them take memory."""
    with load(tmp_path / "m.gguf", CASES["gemma4-small"]) as model:
        blocks = [layer.mixers[0] for layer in model.network.layers]
        assert [blocks.index(b.source) if b.source else None for b in blocks] == [None] * 5 + [3, 3, 4]
        context = model.context()
        own = [len(context._sequences.states[id(b)]) for b in blocks]
        assert own == [1] * 5 + [0] * 3
        context.close()


@pytest.mark.parametrize("name", ["gemma4-small", "gemma3n-shared"])
def test_a_window_that_several_layers_look_through_forgets_nothing_too_early(tmp_path, name):
    """The ring of cells has wrapped around; with swa_full there is none."""
    ids, logits = [(7 * i * i + i) % models.N_VOCAB for i in range(1000)], []
    with load(tmp_path / "m.gguf", CASES[name]) as model:
        for whole, chunk in ((True, 500), (False, 500), (False, 137)):
            context = model.context(n_ctx=1024, swa_full=whole)
            parts = [ids[i : i + chunk] for i in range(0, len(ids), chunk)]
            logits.append(np.concatenate([context.forward(p, want_logits=[True] * len(p)) for p in parts]))
            n_cells = [s.n_cells for states in context._sequences.states.values() for s in states]
            assert max(n_cells) == 1024
            assert min(n_cells) == (1024 if whole else 768)
            context.close()
    np.testing.assert_array_equal(logits[0], logits[1])
    np.testing.assert_array_equal(logits[0], logits[2])


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no layer alike": ("gemma4-small", {"attention.shared_kv_layers": 6}, "shared_kv_layers.*no layer like it"),
    "another size": (
        "gemma4-small", {"attention.head_count_kv": [2, 2, 1, 2, 1, 2, 2, 2]}, "layer 7: uses .* of layer 4",
    ),
    "no pattern": ("gemma4-small", {"attention.sliding_window_pattern": None}, "sliding_window_pattern"),
    "rotates more than a head": (
        "gemma4-small", {"rope.dimension_count_swa": 26}, "dimension_count_swa: is 26, must be at most .* 24",
    ),
    "rotates more by default": (
        "gemma4-small", {"rope.dimension_count_swa": None}, "dimension_count: is 40, must be at most .* 24",
    ),
    "all share": ("gemma4-small", {"attention.shared_kv_layers": 8}, "shared_kv_layers.*is 8, must be 0 to 7"),
    "one stream": ("gemma3n", {"altup.num_inputs": 1}, "altup.num_inputs.*is 1, must be 2 to 4"),
    "no such stream": ("gemma3n", {"altup.active_idx": 4}, "altup.active_idx.*is 4, must be 0 to 3"),
    "no inputs a layer": ("gemma3n", {"embedding_length_per_layer_input": 0}, "per_layer_input.*is 0"),
    "other inputs": ("gemma3n", {"embedding_length_per_layer_input": 128}, "per_layer_proj_norm.*256.*128"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path, name):
    base, change, match = REFUSED[name]
    case = CASES[base]
    kv = {key: value for key, value in (case.kv | change).items() if value is not None}
    with pytest.raises(FormatError, match=match):
        load(tmp_path / "m.gguf", replace(case, kv=kv))


def test_one_activation_has_no_deviation(tmp_path):
    """llama.cpp divides by 0 there."""
    thin = gemma3n.case(1, 72, 3, 1, 24, 1, scales={})
    with pytest.raises(FormatError, match=r"gemma3n\.feed_forward_length: is 1, must be 2 or more"):
        load(tmp_path / "m.gguf", thin)


def test_the_file_says_how_sparse_a_layer_is(tmp_path):
    """As converters write it: deviations, or minus infinity where all activations are kept."""
    case, key, usual = CASES["gemma3n"], "activation_sparsity_scale", 1.6448533535003662
    logits = []
    for i, values in enumerate((None, [usual] * 4, [float("-inf")] * 4, [usual] * 3 + [float("-inf")])):
        kv = case.kv | ({} if values is None else {key: values})
        with load(tmp_path / f"{i}.gguf", replace(case, kv=kv)) as model:
            logits.append(model.logits(IDS))
    np.testing.assert_array_equal(logits[0], logits[1])
    assert all(not np.array_equal(a, b) for a, b in ((logits[0], logits[2]), (logits[2], logits[3])))


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
        with LoadedModel.load(path, n_ctx=512, n_threads=2, kv_type="f32") as model:
            stack = model.network.stack
            assert isinstance(stack, Gemma4)
            assert stack.inputs is not None
            assert stack.inputs.token_embd.format.name == (kind if path is paths[0] else "F32")
            logits.append(model.logits(IDS))
    np.testing.assert_array_equal(logits[0], logits[1])
