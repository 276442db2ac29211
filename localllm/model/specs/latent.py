"""Multi-head latent attention (arXiv 2405.04434): DeepSeek-V2, V3 and R1, GLM 4.7 Flash, Kimi K2, GigaChat, Kanana,
Youtu, Mistral 4; MiniCPM3 and PLM (arXiv 2412.19437, 2404.06395, 2503.12167; model cards). In DeepSeek-V3.2, GLM 5 and
dots 3 an indexer chooses the cells; GLM 5.2 has one in every fourth layer, for the next three, too; most layers of dots
3 have a window in its place, and latents of another size.

A DeepSeek file's multiplier of YaRN's logarithm is a tenth of what it stands for. It counts in the scale of the scores,
twice; DeepSeek-V2 itself has it in the gain of cosines and sines, too, where it cancels (llama.cpp, deepseek2.cpp and
llama-context.cpp).
"""

from dataclasses import replace

from localllm.gate import numbers
from localllm.gguf.config import Config, Keys, Window
from localllm.model.spec import ExpertsSpec, IndexerSpec, NextnSpec, Spec, yarn_gain

_LAYERS_OF_GLM, _VOCABULARY_OF_GLM = (47, 48), 154880
_CONTEXT_OF_GLM_5_2 = 1 << 20


def _multiplier(c: Config) -> float:
    return c.keys.number("rope.scaling.yarn_log_multiplier", 0.0) / 0.1


def _gains_of_v2(c: Config) -> tuple[float, float]:
    return _multiplier(c) or 1.0, _multiplier(c)


def _gains(c: Config) -> tuple[float, float]:
    return 1.0, _multiplier(c)


def _scale_of_v2(c: Config, i: int) -> float:
    return _scale(c, i, *_gains_of_v2(c))


def _scale_of_one(c: Config, i: int) -> float:
    return _scale(c, i, *_gains(c))


def _scale(c: Config, i: int, weight: float, divisor: float) -> float:
    """Without YaRN llama.cpp takes a scaling's logarithm, too."""
    factor, of_cosines = c.scaling.factor, yarn_gain(c.scaling.factor)
    if c.scaling.kind == "yarn":
        of_cosines = yarn_gain(max(1.0, factor), weight) / yarn_gain(max(1.0, factor), divisor)
    magnitude = c.scaling.attn_factor * of_cosines * yarn_gain(factor, divisor)
    return magnitude**2 * float(c.n_embd_head_k[i] ** -0.5)


def _temperature(c: Config, i: int) -> tuple[int, float, int] | None:
    factor = c.keys.number("attention.temperature_scale", 0.0)
    return (c.keys.integer("attention.temperature_length"), factor, 0) if factor else None


def _with_gating(spec: Spec, c: Config) -> Spec:
    """Files of GLM 4.7 Flash do not say that scores go through a sigmoid."""
    is_glm = c.n_block in _LAYERS_OF_GLM and c.n_vocab == _VOCABULARY_OF_GLM
    return replace(spec, experts=replace(spec.experts, gating="sigmoid")) if is_glm else spec


def _choice_source(c: Config, i: int) -> int | None:
    """The file says which layers have an indexer. Before GLM 5.2, whose contexts are longer, all had one; after that,
    the first three, and then every fourth (llama.cpp, glm-dsa.cpp)."""
    has_own = c.keys.flags("attention.indexer.types", c.n_block)
    if has_own is None and c.keys.has("attention.indexer.types"):
        has_own = (bool(c.keys.integer("attention.indexer.types")),) * c.n_block
    if has_own is None:
        has_own = tuple(c.n_ctx_train < _CONTEXT_OF_GLM_5_2 or j < 3 or j % 4 == 2 for j in range(c.n_block))
    numbers.has_source(c.keys.place("attention.indexer.types"), 0, has_own[0])
    return None if has_own[i] else max(j for j in range(i) if has_own[j])


def _window(keys: Keys, n_layer: int) -> Window | None:
    """The file names the layers that have one."""
    key = "attention.sliding_window_pattern"
    numbers.is_list(keys.place(key), keys.flags(key, n_layer) is not None)
    return Window(keys.integer("attention.sliding_window", low=1), period=1)


def _sees_all(spec: Spec) -> Spec:
    """The layer that predicts further tokens attends to all cells (llama.cpp, deepseek32.cpp and glm-dsa.cpp)."""
    return replace(spec, indexer=lambda c, i: None, choice_source=lambda c, i: None)


_LATENT = Spec(
    "", rope="adjacent", mixers=lambda c, i: ("latent_attention",), experts=ExpertsSpec(normed=False)
)  # fmt: skip
_DEEPSEEK2 = replace(
    _LATENT,
    about="DeepSeek V2, V3 and R1, GLM 4.7 Flash, Kimi K2, GigaChat, Kanana, Youtu",
    attention_scale=_scale_of_v2,
    yarn_gains=_gains_of_v2,
    temperature=_temperature,
    adapt=_with_gating,
    nextn=NextnSpec(),
)

SPECS = {
    "deepseek2": _DEEPSEEK2,
    "mistral4": replace(_DEEPSEEK2, about="Mistral 4", attention_scale=_scale_of_one, yarn_gains=_gains, nextn=None),
    "deepseek32": replace(
        _LATENT,
        about="DeepSeek V3.2",
        attention_scale=_scale_of_one,
        yarn_gains=_gains,
        indexer=lambda c, i: IndexerSpec("halves"),
        nextn=NextnSpec(adapt=_sees_all),
    ),
    "glm-dsa": replace(
        _LATENT,
        about="GLM 5",
        attention_scale=lambda c, i: _scale(c, i, 1.0, 0.0),
        indexer=lambda c, i: IndexerSpec("adjacent"),
        choice_source=_choice_source,
        experts=ExpertsSpec(gating="sigmoid", normed=False),
        nextn=NextnSpec(adapt=_sees_all),
    ),
    "dots3note": Spec(
        "dots 3 Note",
        rope="adjacent",
        mixers=lambda c, i: ("latent_attention",),
        window=_window,
        indexer=lambda c, i: None if c.swa_layers[i] else IndexerSpec("halves"),
        experts=ExpertsSpec(normed=False),
    ),
    "minicpm3": Spec(
        "MiniCPM3",
        rope="halves",
        mixers=lambda c, i: ("latent_attention",),
        embedding_factor=lambda c: 12.0,
        residual_factor=lambda c: 1.4 * float(c.n_layer) ** -0.5,
        logit_factor=lambda c: 256.0 / c.n_embd,
    ),
    "plm": Spec("PLM", rope="adjacent", mixers=lambda c, i: ("latent_attention",), activation="relu2"),
}
