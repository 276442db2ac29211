"""Kimi Linear (arXiv 2510.26692) and Ling 3 (model cards): some layers of Kimi Delta Attention, then one of multi-head
latent attention. Layers without key-value heads are the former. Kimi Linear's attention has no RoPE (NoPE); Ling's has
a gate, and its decays a lower bound.

Kimi K3 (model card): the same layers, with a gate on both; a block reads a mixture of the residual stream at some
earlier layers; routed experts work on rows of another length; SiTU in the place of SwiGLU.
"""

from localllm.gguf.config import Config
from localllm.model.spec import ExpertsSpec, KdaSpec, NextnSpec, Spec, with_sections

_BIASES_OF_QKV = r"blk\.\d+\.attn_(q|k|v|qkv)\.bias"


def _mixers(c: Config, i: int) -> tuple[str, ...]:
    return ("latent_attention",) if c.n_head_kv[i] else ("kda",)


def _situ(c: Config, i: int) -> tuple[float, ...]:
    return c.keys.real("activation.situ_beta"), max(0.0, c.keys.number("activation.situ_linear_beta"))


SPECS = {
    "kimi-k3": Spec(
        "Kimi K3",
        rope="none",
        mixers=_mixers,
        stack="attention_residuals",
        unused=(_BIASES_OF_QKV,),
        activation="situ",
        activation_numbers=_situ,
        experts=ExpertsSpec(gating="sigmoid", normed=False, activation="situ"),
    ),
    "kimi-linear": Spec(
        "Kimi Linear 48B-A3B",
        rope="none",
        mixers=_mixers,
        unused=(_BIASES_OF_QKV,),
        experts=ExpertsSpec(gating="sigmoid"),
    ),
    "bailingmoe3": Spec(
        "Ling 3, text",
        rope="adjacent",
        sections="blocks",
        adapt=with_sections,
        mixers=_mixers,
        unused=(_BIASES_OF_QKV,),
        experts=ExpertsSpec(gating="sigmoid", normed=False),
        kda=KdaSpec(negative_a=False),
        nextn=NextnSpec(),
    ),
}
