"""Models whose mixtures were recorded from llama.cpp: metadata and shapes in GGML's order, no data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from localllm.kernels.formats.table import Format
from localllm.quantize.source import Source, SourceTensor, Typed, typed

Shapes = dict[str, tuple[int, ...]]


class Described(Source):
    """A source without data."""

    path = "described.gguf"
    metadata: Mapping[str, Typed] = {}
    tensors: Mapping[str, SourceTensor] = {}

    def __init__(self, metadata: Mapping[str, Typed], tensors: Mapping[str, SourceTensor]) -> None:
        self.metadata, self.tensors = metadata, tensors

    def read(self, name: str) -> np.ndarray:
        raise AssertionError(f"{name}: formats are chosen without reading weights")

    def encoded(self, name: str, format: Format) -> None:
        return None

    def close(self) -> None:
        return None


def model(architecture: str, kv: dict[str, Any], top: Shapes, *layers: Shapes) -> Described:
    keys = {f"{architecture}.{key}": typed(value) for key, value in (kv | {"block_count": len(layers)}).items()}
    shapes = {f"{name}.weight": shape for name, shape in top.items()}
    for i, layer in enumerate(layers):
        shapes |= {f"blk.{i}.{name}.weight": shape for name, shape in layer.items()}
    tensors = {name: SourceTensor(name, shape, "F32" if len(shape) == 1 else "F16") for name, shape in shapes.items()}
    return Described({"general.architecture": typed(architecture)} | keys, tensors)


def attention(n: int, kv: int, q: int = 0) -> Shapes:
    q = q or n
    return {"attn_norm": (n,), "attn_q": (n, q), "attn_k": (n, kv), "attn_v": (n, kv), "attn_output": (q, n)}


def dense(n: int, ff: int) -> Shapes:
    return {"ffn_norm": (n,), "ffn_gate": (n, ff), "ffn_up": (n, ff), "ffn_down": (ff, n)}


def experts(n: int, ff: int, n_expert: int) -> Shapes:
    inner = (n, ff, n_expert)
    return {
        "ffn_norm": (n,), "ffn_gate_inp": (n, n_expert), "ffn_gate_exps": inner, "ffn_up_exps": inner,
        "ffn_down_exps": (ff, n, n_expert),
    }  # fmt: skip


def ends(n: int, vocabulary: int, tied: bool = False) -> Shapes:
    top: Shapes = {"token_embd": (n, vocabulary), "output_norm": (n,)}
    return top if tied else top | {"output": (n, vocabulary)}


def _kv(n: int, heads: int, kv_heads: int, **more: Any) -> dict[str, Any]:
    return {
        "context_length": 4096, "embedding_length": n, "feed_forward_length": 4 * n, "attention.head_count": heads,
        "attention.head_count_kv": kv_heads, "attention.layer_norm_rms_epsilon": 1e-5,
    } | more  # fmt: skip


_8_EXPERTS = {"expert_count": 8, "expert_used_count": 2}
_MLA = {
    "expert_count": 64, "expert_used_count": 6, "leading_dense_block_count": 1, "expert_feed_forward_length": 1408,
    "attention.kv_lora_rank": 512, "expert_shared_count": 2, "rope.dimension_count": 64, "attention.key_length": 576,
    "attention.value_length": 512, "attention.key_length_mla": 192, "attention.value_length_mla": 128,
    "expert_weights_scale": 1.0, "expert_gating_func": 1, "vocab_size": 102400,
}  # fmt: skip
_MLA_ATTENTION: Shapes = {
    "attn_norm": (2048,), "attn_q": (2048, 3072), "attn_kv_a_mqa": (2048, 576), "attn_kv_a_norm": (512,),
    "attn_k_b": (128, 512, 16), "attn_v_b": (512, 128, 16), "attn_output": (2048, 2048),
}  # fmt: skip
_JOINT_MLA = {k: v for k, v in _MLA_ATTENTION.items() if k not in ("attn_k_b", "attn_v_b")} | {"attn_kv_b": (512, 4096)}
_SHARED: Shapes = {"ffn_gate_shexp": (2048, 2816), "ffn_up_shexp": (2048, 2816), "ffn_down_shexp": (2816, 2048)}
_FALCON: Shapes = {
    "attn_norm": (4544,), "attn_qkv": (4544, 4672), "attn_output": (4544, 4544), "ffn_up": (4544, 18176),
    "ffn_down": (18176, 4544),
}  # fmt: skip
_FALCON_40B: Shapes = {
    "attn_norm": (8192,), "attn_qkv": (8192, 9216), "attn_output": (8192, 8192), "ffn_up": (8192, 32768),
    "ffn_down": (32768, 8192),
}  # fmt: skip
_GPT2: Shapes = {
    "attn_norm": (768,), "attn_qkv": (768, 2304), "attn_output": (768, 768), "ffn_up": (768, 3072),
    "ffn_down": (3072, 768),
}  # fmt: skip
_SSM: Shapes = {
    "attn_norm": (2048,), "attn_qkv": (2048, 8192), "attn_gate": (2048, 4096), "ssm_conv1d": (4, 8192),
    "ssm_beta_alpha": (2048, 64), "ssm_norm": (128,), "ssm_out": (4096, 2048), "post_attention_norm": (2048,),
}  # fmt: skip
_QWEN_NEXT = {
    "expert_count": 512, "expert_used_count": 10, "expert_feed_forward_length": 512, "ssm.conv_kernel": 4,
    "ssm.inner_size": 4096, "ssm.state_size": 128, "ssm.time_step_rank": 32, "ssm.group_count": 16,
    "expert_shared_feed_forward_length": 512, "attention.key_length": 256, "attention.value_length": 256,
    "rope.dimension_count": 64,
}  # fmt: skip
_MAMBA: Shapes = {
    "attn_norm": (768,), "ssm_in": (768, 3072), "ssm_conv1d": (4, 1536), "ssm_x": (1536, 80), "ssm_dt": (48, 1536),
    "ssm_out": (1536, 768),
}  # fmt: skip
_GEMMA3N = {
    "embedding_length_per_layer_input": 256, "altup.num_inputs": 4, "altup.active_idx": 0,
    "attention.sliding_window": 512, "attention.key_length": 256, "attention.value_length": 256,
    "attention.sliding_window_pattern": [True, True, True, True, False] * 6, "attention.shared_kv_layers": 10,
}  # fmt: skip
_GEMMA3N_TOP: Shapes = {
    "per_layer_token_embd": (7680, 262144), "per_layer_model_proj": (2048, 7680), "per_layer_proj_norm": (256,),
    "altup_proj": (2048, 2048, 3),
}  # fmt: skip
_GEMMA3N_LAYER: Shapes = {
    "altup_router": (2048, 4), "altup_predict_coef": (4, 16), "laurel_l": (2048, 64), "laurel_r": (64, 2048),
    "inp_gate": (2048, 256), "proj": (256, 2048), "laurel_post_norm": (2048,),
}  # fmt: skip
_ODD = attention(100, 100) | dense(100, 300)

MODELS: dict[str, Described] = {
    "dense, grouped queries (Llama 3 8B)": model(
        "llama", _kv(4096, 32, 8), ends(4096, 128256), *[attention(4096, 1024) | dense(4096, 14336)] * 32
    ),
    "dense, one head of keys a query (Llama 2 13B)": model(
        "llama", _kv(5120, 40, 40), ends(5120, 32000), *[attention(5120, 5120) | dense(5120, 13824)] * 40
    ),
    "70B (Llama 3)": model(
        "llama", _kv(8192, 64, 8), ends(8192, 128256), *[attention(8192, 1024) | dense(8192, 28672)] * 80
    ),
    "70B by its layers (Qwen2 72B)": model(
        "qwen2", _kv(8192, 64, 32), ends(8192, 152064), *[attention(8192, 4096) | dense(8192, 29568)] * 80
    ),
    "8 experts (Mixtral 8x7B)": model(
        "llama", _kv(4096, 32, 8, **_8_EXPERTS), ends(4096, 32000),
        *[attention(4096, 1024) | experts(4096, 14336, 8)] * 32,
    ),
    "128 experts (Qwen3 30B A3B)": model(
        "qwen3moe",
        _kv(2048, 32, 4, expert_count=128, expert_used_count=8, expert_feed_forward_length=768), ends(2048, 151936),
        *[attention(2048, 512, 4096) | experts(2048, 768, 128)] * 48,
    ),
    "tied, rows of 896 (Qwen2.5 0.5B)": model(
        "qwen2", _kv(896, 14, 2), ends(896, 151936, tied=True), *[attention(896, 128) | dense(896, 4864)] * 24
    ),
    "Falcon 7B": model(
        "falcon", _kv(4544, 71, 1, **{"attention.layer_norm_epsilon": 1e-5}), ends(4544, 65024), *[_FALCON] * 32
    ),
    "Falcon 40B": model(
        "falcon", _kv(8192, 128, 8, **{"attention.layer_norm_epsilon": 1e-5}), ends(8192, 65024), *[_FALCON_40B] * 60
    ),
    "positions in a table (GPT-2)": model(
        "gpt2", _kv(768, 12, 12, **{"attention.layer_norm_epsilon": 1e-5}),
        ends(768, 50257) | {"position_embd": (768, 1024)}, *[_GPT2] * 12,
    ),
    "latent attention, heads apart (DeepSeek V2 Lite)": model(
        "deepseek2", _kv(2048, 16, 1, **_MLA), ends(2048, 102400), _MLA_ATTENTION | dense(2048, 10944),
        *[_MLA_ATTENTION | experts(2048, 1408, 64) | _SHARED] * 26,
    ),
    "latent attention, heads joined": model(
        "deepseek2", _kv(2048, 16, 16, **_MLA), ends(2048, 102400), _JOINT_MLA | dense(2048, 10944),
        *[_JOINT_MLA | experts(2048, 1408, 64) | _SHARED] * 26,
    ),
    "hybrid (Qwen3 Next)": model(
        "qwen3next", _kv(2048, 16, 2, **_QWEN_NEXT), ends(2048, 151936),
        *[_SSM | experts(2048, 512, 512), _SSM | experts(2048, 512, 512), _SSM | experts(2048, 512, 512),
          attention(2048, 512, 8192) | experts(2048, 512, 512)] * 12,
    ),
    "no attention (Mamba)": model(
        "mamba", {
            "context_length": 4096, "embedding_length": 768, "feed_forward_length": 0, "attention.head_count": 0,
            "attention.layer_norm_rms_epsilon": 1e-5, "ssm.conv_kernel": 4, "ssm.inner_size": 1536,
            "ssm.state_size": 16, "ssm.time_step_rank": 48,
        }, ends(768, 50280, tied=True), *[_MAMBA] * 24,
    ),
    "layers that run three times (Nanbeige)": model(
        "nanbeige", _kv(2048, 16, 8, num_loops=3), ends(2048, 151936), *[attention(2048, 1024) | dense(2048, 6144)] * 20
    ),
    "small matrices beside large ones (Gemma 3n)": model(
        "gemma3n", _kv(2048, 8, 2, **_GEMMA3N), ends(2048, 262144, tied=True) | _GEMMA3N_TOP,
        *[attention(2048, 512) | dense(2048, 8192) | _GEMMA3N_LAYER] * 30,
    ),
    "rows of no whole blocks": model("llama", _kv(100, 4, 4), ends(100, 500), *[_ODD] * 8),
}  # fmt: skip
"""What is special of it (model with such shapes) -> its description."""
