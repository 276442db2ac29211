"""Attention over latents (arXiv 2405.04434): DeepSeek-V2, V3 and R1, GLM 4.7 Flash, Kimi K2, GigaChat, Kanana, Youtu,
Mistral 4; MiniCPM3 and PLM (arXiv 2412.19437, 2404.06395, 2503.12167; model cards).

A DeepSeek file's multiplier of YaRN's logarithm is a tenth of what it stands for. It counts in the scale of the scores,
twice; DeepSeek-V2 itself has it in the gain of cosines and sines, too, where it cancels (llama.cpp, deepseek2.cpp and
llama-context.cpp).
"""

from dataclasses import replace

from localllm.gguf.config import Config
from localllm.model.rope import gain
from localllm.model.spec import ExpertsSpec, Spec

_LAYERS_OF_GLM, _VOCABULARY_OF_GLM = (47, 48), 154880


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
    factor, of_cosines = c.scaling.factor, gain(c.scaling.factor)
    if c.scaling.kind == "yarn":
        of_cosines = gain(max(1.0, factor), weight) / gain(max(1.0, factor), divisor)
    magnitude = c.scaling.attn_factor * of_cosines * gain(factor, divisor)
    return magnitude**2 * float(c.n_embd_head_k[i]) ** -0.5


def _temperature(c: Config, i: int) -> tuple[int, float, int] | None:
    factor = c.keys.number("attention.temperature_scale", 0.0)
    return (c.keys.integer("attention.temperature_length", 1, 1 << 31), factor, 0) if factor else None


def _with_gating(spec: Spec, c: Config) -> Spec:
    """Files of GLM 4.7 Flash do not say that scores go through a sigmoid."""
    is_glm = c.n_block in _LAYERS_OF_GLM and c.n_vocab == _VOCABULARY_OF_GLM
    return replace(spec, experts=replace(spec.experts, gating="sigmoid")) if is_glm else spec


_DEEPSEEK2 = Spec(
    "DeepSeek V2, V3 and R1, GLM 4.7 Flash, Kimi K2, GigaChat, Kanana, Youtu",
    rope="adjacent",
    mixers=lambda c, i: ("latent_attention",),
    attention_scale=_scale_of_v2,
    yarn_gains=_gains_of_v2,
    temperature=_temperature,
    experts=ExpertsSpec(normed=False),
    adapt=_with_gating,
)

SPECS = {
    "deepseek2": _DEEPSEEK2,
    "mistral4": replace(_DEEPSEEK2, about="Mistral 4", attention_scale=_scale_of_one, yarn_gains=_gains),
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
