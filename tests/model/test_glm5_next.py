"""GLM 5.3: what is refused by name, caches of other types, and when nothing is chosen."""

import math
from dataclasses import replace

import numpy as np
import pytest

from localllm.errors import FormatError, UnsupportedError
from localllm.model.model import LoadedModel
from tests.recorded import models
from tests.recorded.cases.glm5_next import CASES

CASE = CASES["glm5-next"]


def written(tmp_path, case=CASE, **kv):
    changed = {key.replace("__", "."): value for key, value in kv.items()}
    return models.write(tmp_path / "m.gguf", replace(case, kv=case.kv | changed))


@pytest.mark.parametrize(
    ("error", "match", "key", "value"),
    [
        (UnsupportedError, "hyper_connection.count: is 8.*supported: 4", "hyper_connection__count", 8),
        (UnsupportedError, "kpool_select_tail: is false", "attention__indexer__kpool_select_tail", False),
        (UnsupportedError, "rope.dimension_count: is 8.*supported: 0", "rope__dimension_count", 8),
        (FormatError, "top_k: is 10, must be a multiple of indexer.kpool, 4", "attention__indexer__top_k", 10),
        (FormatError, "kpool: is 1, must be 2 to", "attention__indexer__kpool", 1),
        (FormatError, "hyper_connection.epsilon: is -0.5, must be 0 or more", "hyper_connection__epsilon", -0.5),
        (FormatError, "layer_norm_epsilon: is -1.0, must be 0 or more", "attention__layer_norm_epsilon", -1.0),
        (FormatError, "types: has 2 elements, must have one a layer, 3", "attention__indexer__types", [True, True]),
        (FormatError, "types: is 2, must be 0 to 1", "attention__indexer__types", [1, 2, 1]),
        (FormatError, "types: layer 1 has no layer like it before it", "attention__indexer__types", [1, 0, 0]),
        (FormatError, "swiglu_clamp_exp: is nan, must be finite", "swiglu_clamp_exp", [0.5, math.nan, 0.5]),
        (FormatError, "swiglu_clamp_exp: is -inf, must be finite", "swiglu_clamp_exp", [0.5, 0.5, -math.inf]),
        (FormatError, "types.*layer 1", "attention__indexer__types", [True, False, True]),
    ],
)
def test_refused(tmp_path, error, match, key, value):
    with pytest.raises(error, match=match):
        LoadedModel.load(written(tmp_path, **{key: value}))


@pytest.mark.parametrize("kv_type", ["f16", "q8_0", "q4_0"])
def test_the_same_bits_in_other_types_of_cells(tmp_path, kv_type):
    ids = models.ids_of(150)
    with LoadedModel.load(written(tmp_path), n_ctx=256, kv_type=kv_type) as model:
        exact = model.logits(ids)
        context = model.context()
        parts = [context.forward(ids[i : i + 11], want_logits=[True] * len(ids[i : i + 11])) for i in range(0, 150, 11)]
        assert np.array_equal(np.concatenate(parts), exact)
        saved = context.save()
        at = context.cut(0, 130)
        assert np.array_equal(context.forward(ids[at:], want_logits=[True] * (150 - at))[-1], exact[-1])
        context.forward(ids[:30])
        context.restore(0, 150, saved)
        context.checkpoint()
        after = context.forward(ids[:5], want_logits=[True] * 5)
        assert context.cut(0, 150) == 150
        assert np.array_equal(context.forward(ids[:5], want_logits=[True] * 5), after)
        context.close()


def test_where_all_fit_nothing_is_chosen(tmp_path):
    """A choice of all that there are gives the bits of no choice."""
    ids = models.ids_of(100)
    logits = []
    for top_k in (100, 1024):
        with LoadedModel.load(written(tmp_path, attention__indexer__top_k=top_k), n_ctx=256, kv_type="f32") as model:
            context = model.context()
            kernels = {key.module for key in context.keys()}  # noqa: SIM118
            context.close()
            assert ("indexer" in kernels) == (top_k == 100)
            logits.append(model.logits(ids))
    assert np.array_equal(logits[0], logits[1])


def test_tensors_of_an_indexer_that_is_not_used_are_left_alone(tmp_path):
    case = CASES["glm5-next-shared"]
    more = {name.replace("blk.0", "blk.2"): shape for name, shape in case.tensors.items() if "blk.0.indexer" in name}
    with LoadedModel.load(written(tmp_path, replace(case, tensors=case.tensors | more)), kv_type="f32") as model:
        exact = models.recorded("glm5-next-shared")
        assert np.abs(model.logits(models.ids_of(40)) - exact).max() < 1e-4
