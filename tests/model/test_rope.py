"""How far a layer's pairs are rotated, and how large cosines and sines are: against the formulas, number by number."""

import math

import numpy as np
import pytest

from localllm.errors import FormatError
from localllm.model.model import LoadedModel
from tests.model import twin
from tests.model.test_architectures import EXPONENTS, yarn
from tests.model.twin import Case

WINDOW: dict[str, object] = {"attention.sliding_window": 24, "attention.sliding_window_pattern": [True, False]}
YARN: dict[str, object] = {
    "rope.scaling.type": "yarn", "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 64,
}  # fmt: skip
GAIN = 0.1 * math.log(8) + 1
PLAIN = 10000.0**-EXPONENTS


def of(base: float) -> np.ndarray:
    return base**-EXPONENTS


CASES: dict[str, tuple[str, dict[str, object], list[tuple[np.ndarray, float] | None]]] = {
    "attn_factor in every layer": ("gemma3", WINDOW | {"rope.scaling.attn_factor": 1.5}, [(PLAIN, 1.5)] * 2),
    "linear for the layers that see everything": (
        "gemma3", WINDOW | {"rope.scaling.type": "linear", "rope.scaling.factor": 8.0, "rope.freq_base": 1e6},
        [(PLAIN, 1.0), (of(1e6) / 8, 1.0)],
    ),
    "a base of their own": (
        "gemma2", WINDOW | {"rope.freq_base_swa": 500.0}, [(of(500.0), 1.0), (PLAIN, 1.0)],
    ),
    "no base of their own": (
        "cohere2", WINDOW | {"logit_scale": 1.0, "rope.freq_base_swa": 500.0}, [(PLAIN, 1.0), None],
    ),
    "YaRN in all": ("gemma2", WINDOW | YARN, [(yarn(8.0, 64), GAIN)] * 2),
    "YaRN, local layers untouched": (
        "mellum", WINDOW | YARN | {"rope.scaling.attn_factor": 1.5}, [(PLAIN, 1.0), (yarn(8.0, 64), 1.5 * GAIN)],
    ),
    "YaRN's bounds": (
        "mistral3", YARN | {"rope.scaling.yarn_beta_fast": 8.0, "rope.scaling.yarn_beta_slow": 2.0},
        [(yarn(8.0, 64, 8.0, 2.0), GAIN)] * 2,
    ),
    "YaRN's gain divided": (
        "mistral3", YARN | {"rope.scaling.yarn_log_multiplier": 0.5},
        [(yarn(8.0, 64), GAIN / (0.05 * math.log(8) + 1))] * 2,
    ),
    "bounds that llama.cpp ignores": (
        "llama", YARN | {"rope.scaling.yarn_beta_fast": 8.0}, [(yarn(8.0, 64), GAIN)] * 2,
    ),
    "a scaling that is ignored": ("cogvlm", YARN | {"rope.freq_base": 500.0}, [(PLAIN, 1.0)] * 2),
    "a factor under its old name": ("llama", {"rope.scale_linear": 4.0}, [(PLAIN / 4, 1.0)] * 2),
    "part of a head": ("gptneox", {"rope.dimension_count": 16}, [(10000.0 ** (-np.arange(0, 16, 2) / 16), 1.0)] * 2),
    "NTK-aware": ("hunyuan-dense", {"rope.scaling.alpha": 4.0}, [(of(10000.0 * 4 ** (32 / 30)), 1.0)] * 2),
    "pairs of a fourth position": (
        "qwen2vl", {"rope.dimension_sections": [4, 4, 4, 4]}, [(PLAIN * (np.arange(16) < 12), 1.0)] * 2,
    ),
    "sections without a meaning": (
        "hunyuan-dense", {"rope.dimension_sections": [4, 4, 4, 4]}, [(PLAIN, 1.0)] * 2,
    ),
    "sections in turn": (
        "qwen3vl", {"rope.dimension_sections": [6, 5, 5, 0]}, [(PLAIN, 1.0)] * 2,
    ),
}  # fmt: skip


def load(tmp_path, architecture, meta):
    layer_norm = architecture in ("cohere2", "gptneox")
    case = Case(architecture, meta, layer_norm=layer_norm, plain=twin.gelu if architecture == "gptneox" else None)
    return LoadedModel.load(twin.write(tmp_path / "m.gguf", case, twin.weights(case)), n_ctx=64)


@pytest.mark.parametrize("name", CASES)
def test_frequencies(tmp_path, name):
    architecture, meta, expected = CASES[name]
    with load(tmp_path, architecture, meta) as model:
        found = model.network.ropes(64)
    assert [rope is None for rope in found] == [one is None for one in expected]
    for rope, one in zip(found, expected, strict=True):
        if rope and one:
            np.testing.assert_allclose(rope.frequencies, one[0], rtol=1e-12)
            assert rope.scale == pytest.approx(one[1], rel=1e-6)


@pytest.mark.parametrize("kept", ["long", "short"])
def test_factors_for_some_lengths_alone(tmp_path, kept):
    factors = np.linspace(1, 4, 16, dtype=np.float32)
    case = Case("phi3", {"rope.scaling.original_context_length": 64}, fused=True)
    tensors = twin.weights(case) | {f"rope_factors_{kept}.weight": factors}
    with LoadedModel.load(twin.write(tmp_path / "m.gguf", case, tensors), n_ctx=64) as model:
        for n_ctx, divided in ((64, kept == "short"), (65, kept == "long")):
            rope = model.network.ropes(n_ctx)[0]
            assert rope is not None
            np.testing.assert_allclose(rope.frequencies, PLAIN / factors if divided else PLAIN, rtol=1e-6)


def test_factors_that_are_no_numbers(tmp_path):
    case = Case("phi3", fused=True)
    tensors = twin.weights(case) | {"rope_factors_long.weight": np.zeros(16, np.float32)}
    with pytest.raises(FormatError, match=r"rope_factors_long\.weight"):
        LoadedModel.load(twin.write(tmp_path / "m.gguf", case, tensors))


def test_bounds_that_are_none(tmp_path):
    with pytest.raises(FormatError, match=r"yarn_beta_fast: is 0\.0"):
        load(tmp_path, "mistral3", YARN | {"rope.scaling.yarn_beta_fast": 0.0})
