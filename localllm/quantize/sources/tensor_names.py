"""Names of tensors: those of transformers' classes -> those of GGUF, with the shapes that they must have.

A shape is written in letters, rows first: E hidden_size, F intermediate_size, V vocab_size, Q elements of all query
heads, K of all key heads, D of one head, X experts, M moe_intermediate_size; S of the
shared expert; of fused matrices, G is 2 F, A is Q + 2 K.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

Row = tuple[str, str]
"""(GGUF name within the layer, shape)."""

EXPERT = re.compile(r"(?P<before>.*\.experts\.)(?P<expert>\d{1,4})(?P<after>\..*)")
"""One expert's matrix; those of all experts of a layer become one tensor."""

EMBEDDING = "model.embed_tokens.weight"
AFTER = 1 << 20
"""Stands for a layer, in what follows the layers."""
TOP: dict[str, Row] = {
    EMBEDDING: ("token_embd.weight", "VE"),
    "model.norm.weight": ("output_norm.weight", "E"),
    "lm_head.weight": ("output.weight", "VE"),
}
LAYER = re.compile(r"model\.layers\.(?P<layer>\d{1,4})\.(?P<rest>.*)")

_ATTENTION: dict[str, Row] = {
    "self_attn.q_proj.weight": ("attn_q.weight", "QE"),
    "self_attn.k_proj.weight": ("attn_k.weight", "KE"),
    "self_attn.v_proj.weight": ("attn_v.weight", "KE"),
    "self_attn.o_proj.weight": ("attn_output.weight", "EQ"),
}
_BIASES: dict[str, Row] = {
    "self_attn.q_proj.bias": ("attn_q.bias", "Q"),
    "self_attn.k_proj.bias": ("attn_k.bias", "K"),
    "self_attn.v_proj.bias": ("attn_v.bias", "K"),
    "self_attn.o_proj.bias": ("attn_output.bias", "E"),
}
_MLP: dict[str, Row] = {
    "mlp.gate_proj.weight": ("ffn_gate.weight", "FE"),
    "mlp.up_proj.weight": ("ffn_up.weight", "FE"),
    "mlp.down_proj.weight": ("ffn_down.weight", "EF"),
}
_MLP_BIASES: dict[str, Row] = {
    "mlp.gate_proj.bias": ("ffn_gate.bias", "F"),
    "mlp.up_proj.bias": ("ffn_up.bias", "F"),
    "mlp.down_proj.bias": ("ffn_down.bias", "E"),
}
_NORMS: dict[str, Row] = {
    "input_layernorm.weight": ("attn_norm.weight", "E"),
    "post_attention_layernorm.weight": ("ffn_norm.weight", "E"),
}
_HEAD_NORMS: dict[str, Row] = {
    "self_attn.q_norm.weight": ("attn_q_norm.weight", "D"),
    "self_attn.k_norm.weight": ("attn_k_norm.weight", "D"),
}

LLAMA = _ATTENTION | _BIASES | _MLP | _MLP_BIASES | _NORMS
QWEN = LLAMA | _HEAD_NORMS
QWEN_MOE = QWEN | {
    "mlp.gate.weight": ("ffn_gate_inp.weight", "XE"),
    "mlp.experts.gate_proj.weight": ("ffn_gate_exps.weight", "ME"),
    "mlp.experts.up_proj.weight": ("ffn_up_exps.weight", "ME"),
    "mlp.experts.down_proj.weight": ("ffn_down_exps.weight", "EM"),
}
QWEN2_MOE = QWEN_MOE | {
    "mlp.shared_expert_gate.weight": ("ffn_gate_inp_shexp.weight", "1E"),
    "mlp.shared_expert.gate_proj.weight": ("ffn_gate_shexp.weight", "SE"),
    "mlp.shared_expert.up_proj.weight": ("ffn_up_shexp.weight", "SE"),
    "mlp.shared_expert.down_proj.weight": ("ffn_down_shexp.weight", "ES"),
}
OLMOE = (
    _ATTENTION
    | _NORMS
    | {
        "self_attn.q_norm.weight": ("attn_q_norm.weight", "Q"),
        "self_attn.k_norm.weight": ("attn_k_norm.weight", "K"),
        "mlp.gate.weight": ("ffn_gate_inp.weight", "XE"),
        "mlp.experts.gate_proj.weight": ("ffn_gate_exps.weight", "FE"),
        "mlp.experts.up_proj.weight": ("ffn_up_exps.weight", "FE"),
        "mlp.experts.down_proj.weight": ("ffn_down_exps.weight", "EF"),
    }
)
MIXTRAL = (
    _ATTENTION
    | _NORMS
    | {
        "block_sparse_moe.gate.weight": ("ffn_gate_inp.weight", "XE"),
        "block_sparse_moe.experts.w1.weight": ("ffn_gate_exps.weight", "FE"),
        "block_sparse_moe.experts.w3.weight": ("ffn_up_exps.weight", "FE"),
        "block_sparse_moe.experts.w2.weight": ("ffn_down_exps.weight", "EF"),
    }
)
GEMMA2 = (
    _ATTENTION
    | _MLP
    | {
        "input_layernorm.weight": ("attn_norm.weight", "E"),
        "post_attention_layernorm.weight": ("post_attention_norm.weight", "E"),
        "pre_feedforward_layernorm.weight": ("ffn_norm.weight", "E"),
        "post_feedforward_layernorm.weight": ("post_ffw_norm.weight", "E"),
    }
)
GEMMA3 = GEMMA2 | _HEAD_NORMS
PHI3 = _NORMS | {
    "self_attn.qkv_proj.weight": ("attn_qkv.weight", "AE"),
    "self_attn.o_proj.weight": ("attn_output.weight", "EQ"),
    "mlp.gate_up_proj.weight": ("ffn_up.weight", "GE"),
    "mlp.down_proj.weight": ("ffn_down.weight", "EF"),
}
BITNET = LLAMA | {
    "self_attn.inner_attn_ln.weight": ("attn_sub_norm.weight", "E"),
    "mlp.ffn_layernorm.weight": ("ffn_sub_norm.weight", "F"),
}
OLMO2 = (
    _ATTENTION
    | _MLP
    | {
        "self_attn.q_norm.weight": ("attn_q_norm.weight", "Q"),
        "self_attn.k_norm.weight": ("attn_k_norm.weight", "K"),
        "post_attention_layernorm.weight": ("post_attention_norm.weight", "E"),
        "post_feedforward_layernorm.weight": ("post_ffw_norm.weight", "E"),
    }
)

_IGNORED = (".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq", ".k_scale", ".v_scale")
"""Endings of names: masks, and scales for caches of 8 bits."""
_OTHER_SENSES = ("vision_tower.", "multi_modal_projector.", "audio_tower.", "visual.", "vision_model.")


def text_name(name: str) -> str | None:
    """The name within the text model, or None for what belongs to other parts of a model, or to none."""
    if name.endswith(_IGNORED) or name.removeprefix("model.").startswith(_OTHER_SENSES):
        return None
    return name.replace("language_model.", "")


@dataclass(frozen=True)
class Place:
    """A tensor's place in the GGUF file. layer: -1 before the layers, AFTER them; row: where its table has it."""

    name: str
    shape: str
    layer: int = -1
    expert: int = 0
    row: int = 0


def gguf_name(name: str, layer: Mapping[str, Row]) -> Place | None:
    """The place of a tensor of the text model; None where no row has it."""
    if name in TOP:
        return Place(*TOP[name], layer=-1 if name == EMBEDDING else AFTER, row=list(TOP).index(name))
    found = LAYER.fullmatch(name)
    if found is None:
        return None
    rest, expert = found["rest"], 0
    if (one := EXPERT.fullmatch(rest)) is not None:
        rest, expert = one["before"].removesuffix(".") + one["after"], int(one["expert"])
    if rest not in layer:
        return None
    suffix, shape = layer[rest]
    i = int(found["layer"])
    return Place(f"blk.{i}.{suffix}", shape, i, expert, list(layer).index(rest))
