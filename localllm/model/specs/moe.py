"""Mixtures of experts that are otherwise like Llama. (arXiv 2401.06066, 2412.19437, 2411.02265, 2507.20984, 2502.11089
and model cards.)

Arctic's experts read the layer's input, beside both blocks. DBRX bounds queries, keys and values. Grok averages its
experts with a dense block, bounds the scores, and norms after each block. SmallThinker's router reads the layer's input
as it is. AFMoE and Laguna multiply the attention's result by a gate. In files of Hunyuan 3 and MiMo 2 a layer may hold
dense weights beside its experts, which are not used.
"""

from dataclasses import replace

from localllm.gguf.config import Config, Keys, Window
from localllm.model.spec import ExpertsSpec, NextnSpec, Spec, not_every, sliding, sliding_in_all

_ADJACENT = Spec("", rope="adjacent")
_HALVES = Spec("", rope="halves")
_RAW = ExpertsSpec(normed=False)
_SIGMOID = ExpertsSpec(gating="sigmoid", normed=False)
_BIASES_OF_QKV = r"blk\.\d+\.attn_(q|k|v|qkv)\.bias"


def _smallthinker_window(keys: Keys, n_layer: int) -> Window | None:
    """The size that a file gives is ignored (llama.cpp, smallthinker.cpp)."""
    return Window(4096, 4, dense_first=True) if keys.integer("attention.sliding_window", 0) else None


def _smallthinker_has_rope(c: Config, i: int) -> bool:
    return c.window is None or i % 4 != 0


SPECS = {
    "deepseek": replace(_ADJACENT, about="DeepSeek MoE 16B", experts=_RAW),
    "deepseek2-ocr": replace(_HALVES, about="DeepSeek OCR, text", rope_scaling=False, experts=_RAW),
    "dots1": replace(_HALVES, about="dots.llm1", experts=_RAW),
    "ernie4_5-moe": replace(_ADJACENT, about="ERNIE 4.5 21B and 300B", unused=(r"blk\.\d+\.attn_output\.bias",)),
    "hunyuan-moe": replace(_HALVES, about="Hunyuan A13B", qk_norm_after_rope=True),
    "bailingmoe": replace(_ADJACENT, about="Ling Lite and Plus", experts=_RAW),
    "bailingmoe2": replace(_HALVES, about="Ling 2, Ring", experts=_RAW),
    "minimax-m2": replace(_HALVES, about="MiniMax M2"),
    "afmoe": replace(
        _HALVES,
        about="Trinity",
        embedding_factor=lambda c: float(c.n_embd) ** 0.5,
        window=sliding(4),
        rope_layers=not_every(4),
        experts=_SIGMOID,
    ),
    "arctic": replace(
        _ADJACENT, about="Snowflake Arctic", n_ff=lambda c, i: c.n_embd, experts=ExpertsSpec(dense="alone")
    ),
    "dbrx": replace(_HALVES, about="DBRX", norm="layer", ffn_norm="attn_output_norm"),
    "grok": replace(
        _HALVES,
        about="Grok 1 and 2",
        post_attention_norm="attn_output_norm",
        post_ffw_norm="layer_output_norm",
        activation="gelu",
        embedding_factor=lambda c: c.keys.real("embedding_scale", 78.38367176906169),
        logit_factor=lambda c: c.keys.real("logit_scale", 0.5773502691896257),
        attention_scale=lambda c, i: c.keys.real("attention.output_scale", 0.08838834764831845),
        attention_softcap=lambda c: c.keys.real("attn_logit_softcapping", 30.0),
        final_softcap=lambda c: c.keys.number("final_logit_softcapping", 0.0),
        yarn_keys=("ext_factor", "attn_factor", "beta_fast", "beta_slow"),
        yarn_beta_fast=8.0,
        experts=ExpertsSpec(activation="gelu", factor=0.5**0.5),
    ),
    "grovemoe": replace(_HALVES, about="GroveMoE"),
    "hy_v3": replace(_HALVES, about="Hunyuan 3", experts=replace(_SIGMOID, dense="ignored"), nextn=NextnSpec()),
    "laguna": replace(
        _HALVES,
        about="Laguna",
        window=sliding(4, dense_first=True),
        local_scaling="none",
        gate="softplus",
        experts=_SIGMOID,
    ),
    "llada-moe": replace(_HALVES, about="LLaDA MoE", causal=False, experts=_RAW),
    "maple": replace(
        _HALVES,
        about="Maple",
        window=sliding_in_all,
        rope_layers=lambda c, i: c.swa_layers[i],
        experts=ExpertsSpec(activation="silu_clamped"),
    ),
    "mellum": replace(_HALVES, about="Mellum 2", window=sliding(4), local_base="same", local_scaling="none"),
    "mimo2": replace(
        _HALVES,
        about="MiMo V2",
        window=sliding_in_all,
        local_base="own or 10000",
        local_scaling="magnitude",
        unused=(_BIASES_OF_QKV,),
        experts=ExpertsSpec(gating="sigmoid", dense="ignored"),
        nextn=NextnSpec(normed=False),
    ),
    "smallthinker": replace(
        _HALVES,
        about="SmallThinker",
        window=_smallthinker_window,
        rope_layers=_smallthinker_has_rope,
        experts=ExpertsSpec(activation="relu", router_input="layer"),
    ),
}
