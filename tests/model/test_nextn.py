"""Layers for multi-token prediction: what they guess by, against float64 and against the layer as a model alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from localllm.errors import ContextFullError, LocalllmError, NotFiniteError, UnsupportedError, UsageError
from localllm.model.model import LoadedModel
from localllm.model.nextn.layer import supported
from tests.model import nextn, twin
from tests.recorded import models
from tests.tiny_models import nmse

IDS = models.ids_of(30)
GLM = twin.Case(
    "glm4moe",
    {
        "block_count": 3, "nextn_predict_layers": 1, "expert_gating_func": 2, "expert_weights_norm": True,
        "expert_weights_scale": 1.5, "expert_feed_forward_length": twin.N_FF, "expert_shared_count": 1,
    },
    ffn_norm="post_attention_norm",
    qk_norm="head",
    experts=twin.Experts(gating="sigmoid", choice_bias=True, factor=1.5, shared=48),
)  # fmt: skip


@pytest.fixture(scope="module")
def glm(tmp_path_factory):
    path = twin.write(tmp_path_factory.mktemp("glm") / "m.gguf", GLM, nextn.weights(GLM))
    with LoadedModel.load(path, n_ctx=128, n_threads=2, kv_type="f32") as model:
        yield model


def hidden_of(model: LoadedModel, ids: list[int]) -> np.ndarray:
    context = model.context(n_ctx=128)
    context.forward(ids)
    found = context.hidden.copy()
    context.close()
    return found


def logits_of(model: LoadedModel, ids: list[int], hidden: np.ndarray) -> np.ndarray:
    """Row by row."""
    predictor = model.predictor(n_ctx=128)
    out = [predictor.forward([token], row[None]) for token, row in zip(ids[1:], hidden, strict=False)]
    predictor.close()
    return np.array(out)


def test_guesses_of_glm_follow_the_paper(glm):
    """From the model's hidden states, and on from the layer's own."""
    more = [5, 40, 7]
    exact = nextn.predict(GLM, nextn.weights(GLM), IDS, more)
    hidden = hidden_of(glm, IDS)
    assert nmse(exact[: len(IDS) - 1], logits_of(glm, IDS, hidden)) < 1e-9
    predictor = glm.predictor(n_ctx=128)
    predictor.forward(IDS[1:], hidden[:-1])
    own = np.array([predictor.forward([token]) for token in more])
    predictor.close()
    assert nmse(exact[len(IDS) - 1 :], own) < 1e-9


def test_the_same_bits_for_any_batches(glm):
    hidden = hidden_of(glm, IDS)
    want = logits_of(glm, IDS, hidden)
    for size in (2, 7, 16, 29):
        predictor = glm.predictor(n_ctx=128)
        for start in range(1, len(IDS), size):
            stop = min(start + size, len(IDS))
            got = predictor.forward(IDS[start:stop], hidden[start - 1 : stop - 1])
            assert (got == want[stop - 2]).all()
        predictor.close()


def test_rows_are_taken_back(glm):
    hidden = hidden_of(glm, IDS)
    predictor = glm.predictor(n_ctx=128)
    predictor.forward(IDS[1:11], hidden[:10])
    want = predictor.forward(IDS[11:12], hidden[10:11])
    predictor.forward([3])
    predictor.forward([9])
    assert predictor.cut(10) == predictor.n_past == 10
    assert (predictor.forward(IDS[11:12], hidden[10:11]) == want).all()
    predictor.close()


def with_nextn(name: str, from_layer: int, **kv) -> models.Case:
    """A recorded model with a layer after its last that is like another one of its layers."""
    case = models.cases()[name]
    n, tensors = case.kv["block_count"], dict(case.tensors)
    size = tensors["output_norm.weight"][0]
    for full, shape in case.tensors.items():
        if full.startswith(f"blk.{from_layer}."):
            tensors[full.replace(f"blk.{from_layer}.", f"blk.{n}.")] = shape
    tensors |= {f"blk.{n}.nextn.{norm}.weight": [size] for norm in ("enorm", "hnorm", "shared_head_norm")}
    tensors[f"blk.{n}.nextn.eh_proj.weight"] = [2 * size, size]
    longer = {
        key: [*value, value[from_layer]]
        for key, value in case.kv.items()
        if isinstance(value, list) and len(value) == n
    }
    more = {"block_count": n + 1, "nextn_predict_layers": 1} | {
        key.replace("__", "."): value for key, value in kv.items()
    }
    return replace(case, kv=case.kv | longer | more, tensors=tensors)


def own_head(case: models.Case) -> models.Case:
    """The same with an embedding and a head that are the layer's own."""
    size = case.tensors["output_norm.weight"][0]
    b = f"blk.{case.kv['block_count'] - 1}.nextn."
    more = {f"{b}embed_tokens.weight": [size, models.N_VOCAB], f"{b}shared_head_head.weight": [size, models.N_VOCAB]}
    return replace(case, tensors=case.tensors | more)


CASES = {
    "glm4moe": with_nextn("glm4moe", 1),
    "glm4moe, own head": own_head(with_nextn("glm4moe", 1)),
    "deepseek2": models.cases()["deepseek2-nextn"],
    "deepseek32": models.cases()["deepseek32-nextn"],
    "glm-dsa": with_nextn("glm-dsa", 2),
    "qwen35": models.cases()["qwen35"],
    "qwen35moe": with_nextn("qwen35moe", 2),
    "qwen3next": with_nextn("qwen3next", 2),
    "hy_v3": with_nextn("hy_v3", 1),
    "bailingmoe3": models.cases()["bailingmoe3"],
    "step35": models.cases()["step35-nextn"],
    "mimo2": with_nextn("mimo2-dense", 0),
}
EVERY, ALL = {"full_attention_interval": 1}, {"attention.indexer.top_k": 64}
ALONE = {"qwen35": EVERY, "qwen35moe": EVERY, "qwen3next": EVERY, "deepseek32": ALL, "glm-dsa": ALL}
"""Metadata that makes a single layer what the layer is: attention, over all cells."""


def test_every_architecture_is_tried():
    assert {case.architecture for case in CASES.values()} == set(supported())


@pytest.mark.parametrize("name", CASES)
def test_the_layer_is_one_of_its_architecture(name, tmp_path):
    case = CASES[name]
    with LoadedModel.load(models.write(tmp_path / "m.gguf", case), n_threads=2, kv_type="f32") as model:
        hidden = hidden_of(model, IDS)
        got = logits_of(model, IDS, hidden)
        read = hidden if case.architecture in ("step35", "mimo2") else _normed(case, hidden)
    x = nextn.rows(case, IDS[1:], read[:-1])
    of = nextn.alone(case, x, **ALONE.get(name, {}))
    with LoadedModel.load(models.write(tmp_path / "alone.gguf", of), n_threads=2, kv_type="f32") as layer:
        assert nmse(layer.logits(range(len(x))), got) < 1e-9


def _normed(case: models.Case, hidden: np.ndarray) -> np.ndarray:
    x = hidden.astype(np.float64)
    x /= np.sqrt((x**2).mean(-1, keepdims=True) + case.kv["attention.layer_norm_rms_epsilon"])
    return x * nextn.values(case)["output_norm.weight"]


def test_a_model_takes_nothing_for_it_until_it_is_asked(glm):
    fresh = LoadedModel.load(glm.path, n_ctx=128)
    used = fresh.memory().need(128).weights
    names = [name for name in fresh.file.tensors if name.startswith("blk.2.")]
    assert set(names) <= set(fresh.skipped)
    fresh.predictor().close()
    assert fresh.memory().need(128).weights == used
    fresh.close()


def test_files_without_such_a_layer(tmp_path):
    error = pytest.raises(UsageError, match=r"m\.gguf: has no layer for multi-token prediction \(MTP\): take --draft")
    with LoadedModel.load(models.write(tmp_path / "m.gguf", models.cases()["glm4moe"])) as model, error:
        model.predictor()
    lost = replace(CASES["glm4moe"], tensors={n: s for n, s in CASES["glm4moe"].tensors.items() if "nextn" not in n})
    with (
        LoadedModel.load(models.write(tmp_path / "lost.gguf", lost)) as model,
        pytest.raises(UsageError, match="has no"),
    ):
        model.predictor()


def test_layers_that_are_not_known(tmp_path):
    case = models.cases()["nemotron_h_moe-nextn"]
    error = pytest.raises(UnsupportedError, match=r"is not supported in nemotron_h_moe, only in .*deepseek2.*glm4moe")
    with LoadedModel.load(models.write(tmp_path / "m.gguf", case)) as model, error:
        model.predictor()


@pytest.mark.parametrize("name", ["eh_proj", "enorm", "hnorm"])
def test_a_tensor_that_is_missing_or_of_another_shape(name, tmp_path):
    case, full = CASES["glm4moe"], f"blk.2.nextn.{name}.weight"
    wrong = replace(case, tensors=case.tensors | {full: [8]})
    error = pytest.raises(LocalllmError, match=rf"m\.gguf: tensor {full}: has shape \[8\], must be")
    with LoadedModel.load(models.write(tmp_path / "m.gguf", wrong)) as model, error:
        model.predictor()
    if name != "eh_proj":  # by which the layer is known
        lost = replace(case, tensors={key: shape for key, shape in case.tensors.items() if key != full})
        error = pytest.raises(LocalllmError, match=rf"tensor {full}: is missing")
        with LoadedModel.load(models.write(tmp_path / "lost.gguf", lost)) as model, error:
            model.predictor()


def test_what_is_refused(glm):
    predictor, hidden = glm.predictor(n_ctx=8), hidden_of(glm, IDS)
    with pytest.raises(UsageError, match="token id 96"):
        predictor.forward([96], hidden[:1])
    with pytest.raises(UsageError):
        predictor.forward([1, 2], hidden[:1])
    with pytest.raises(UsageError):
        predictor.forward([1], hidden[:1, :5])
    with pytest.raises(NotFiniteError, match="MTP layer guesses by is NaN"):
        predictor.forward([1], np.full_like(hidden[:1], np.nan))
    assert predictor.n_past == 0
    predictor.forward(IDS[1:9], hidden[:8])
    with pytest.raises(ContextFullError):
        predictor.forward([1])
    predictor.close()
    predictor.close()
    with pytest.raises(LocalllmError, match="closed"):
        predictor.forward([1], hidden[:1])
