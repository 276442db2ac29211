"""Attention over latents, beside the recorded cases: what is refused by name, caches of other types and rings of cells,
whether threads share out the cells of few rows, and when an indexer is needed."""

from dataclasses import replace

import numpy as np
import pytest

from localllm import kernels
from localllm.errors import FormatError, UnsupportedError
from localllm.model.blocks import latent_attention
from localllm.model.model import LoadedModel
from tests.recorded import models
from tests.tiny_models import nmse

CASES = models.cases()


def load(tmp_path, name, change=(), n_ctx=512, kv_type="f32"):
    case = CASES[name]
    kv = {key: value for key, value in (case.kv | dict(change)).items() if value is not None}
    path = models.write(tmp_path / f"{kv_type}.gguf", replace(case, kv=kv))
    return LoadedModel.load(path, n_ctx=n_ctx, n_threads=2, kv_type=kv_type)


def feed(context, ids, chunk):
    parts = [ids[i : i + chunk] for i in range(0, len(ids), chunk)]
    return np.concatenate([context.forward(part, want_logits=[True] * len(part)) for part in parts])


REFUSED = {
    "no values": ("deepseek2", {"attention.value_length_mla": None}, FormatError, "value_length_mla.*missing"),
    "another latent": ("deepseek2", {"attention.kv_lora_rank": 41}, FormatError, "attn_kv_a_mqa.*must be .96, 49"),
    "no latent": ("deepseek2", {"attention.kv_lora_rank": None}, FormatError, "kv_lora_rank.*missing"),
    "both ways": ("deepseek2", {"attention.causal": False}, UnsupportedError, "in both directions"),
    "no length": (
        "deepseek2-temperature", {"attention.temperature_length": None}, FormatError, "temperature_length.*missing",
    ),
    "no first indexer": (
        "glm-dsa-shared", {"attention.indexer.types": [0, 0, 0, 1, 0]}, FormatError, "types: layer 0 has no layer",
    ),
    "small indexer": ("deepseek32", {"attention.indexer.key_length": 6}, FormatError, "key_length.*is 6, must be 8 to"),
    "nothing chosen": ("deepseek32", {"attention.indexer.top_k": 0}, FormatError, "top_k.*is 0, must be 1 to"),
    "no pattern": ("dots3note", {"attention.sliding_window_pattern": 2}, FormatError, "sliding_window_pattern"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path, name):
    base, change, error, match = REFUSED[name]
    with pytest.raises(error, match=match):
        load(tmp_path, base, change)


def test_a_choice_of_a_layer_that_makes_none_is_refused(tmp_path):
    """Layer 0's matrices of keys and values are one tensor: its heads attend to all cells."""
    case = CASES["glm-dsa-shared"]
    (_, k_b, n_head), (rank, v_dim, _) = (case.tensors[f"blk.0.attn_{name}_b.weight"] for name in "kv")
    assert k_b == rank
    nope = case.tensors["blk.0.attn_k_b.weight"][0]
    kv_b = {"blk.0.attn_kv_b.weight": [rank, n_head * (nope + v_dim)]}
    path = models.write(tmp_path / "m.gguf", replace(case, tensors=case.tensors | kv_b))
    with pytest.raises(UnsupportedError, match="uses the choice of layer 0, which has no indexer over latents"):
        LoadedModel.load(path)


def test_latents_that_scratch_cannot_hold_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels.latent_attention, "max_together", lambda dim, n_rot: 0)
    with pytest.raises(UnsupportedError, match="latents of 40 and keys of 8 elements are more than scratch can hold"):
        load(tmp_path, "deepseek2")


@pytest.mark.parametrize(
    ("name", "kv_type", "bound"),
    [("deepseek2", "f16", 1e-5), ("deepseek2-wide", "q8_0", 1e-3), ("deepseek2-wide", "q4_0", 0.3)],
)
def test_caches_of_other_types(tmp_path, name, kv_type, bound):
    """Near those of f32, and the same bits however they are fed."""
    ids = models.ids_of(40)
    with load(tmp_path, name) as model:
        exact = model.logits(ids)
    with load(tmp_path, name, kv_type=kv_type) as model:
        logits, context = model.logits(ids), model.context()
        assert 0 < nmse(exact, logits) < bound
        for chunk in (1, 7):
            np.testing.assert_array_equal(feed(context, ids, chunk), logits)
            context.clear()
        context.close()


@pytest.mark.parametrize("name", ["deepseek2", "deepseek32"])
def test_threads_share_out_cells_or_do_not(tmp_path, monkeypatch, name):
    """Parts of results are merged where they do not take too much memory: the same bits in both ways."""
    ids, logits = [(7 * i * i + i) % models.N_VOCAB for i in range(700)], []
    for n_bytes in (1 << 30, 0):
        monkeypatch.setattr(latent_attention, "_PARTS_BYTES", n_bytes)
        with load(tmp_path, name, n_ctx=1024) as model:
            context = model.context(n_batch=16)
            logits.append(feed(context, ids, 5))
            context.close()
    np.testing.assert_array_equal(*logits)


def test_rings_of_latents(tmp_path):
    """Layers with a window keep few cells, which are used again and again; with swa_full there is no ring."""
    ids, logits = [(7 * i * i + i) % models.N_VOCAB for i in range(1000)], []
    with load(tmp_path, "dots3note", n_ctx=1024) as model:
        for whole, chunk in ((True, 500), (False, 500), (False, 137)):
            context = model.context(swa_full=whole)
            logits.append(feed(context, ids, chunk))
            rings = [states[0].n_cells for states in context._sequences.states.values()]
            assert rings == ([1024] * 4 if whole else [1024, 768, 768, 1024])
            context.close()
    np.testing.assert_array_equal(logits[0], logits[1])
    np.testing.assert_array_equal(logits[0], logits[2])


@pytest.mark.parametrize(("n_ctx", "n_states"), [(8, [1] * 5), (9, [2, 1, 1, 2, 1])])
def test_an_indexer_keeps_keys_where_there_are_more_cells_than_it_chooses(tmp_path, n_ctx, n_states):
    """And layers that use another's choice keep none."""
    with load(tmp_path, "glm-dsa-shared", n_ctx=n_ctx) as model:
        context = model.context()
        assert [len(states) for states in context._sequences.states.values()] == n_states
        assert [layer.mixers[0].source is not None for layer in model.network.layers] == [
            False,
            True,
            True,
            False,
            True,
        ]
        few = context.forward(models.ids_of(8), want_logits=[True] * 8)
        context.close()
    with load(tmp_path, "glm-dsa-shared", {"attention.indexer.top_k": 4096}) as model:
        np.testing.assert_array_equal(model.logits(models.ids_of(8)), few)
