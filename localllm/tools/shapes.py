"""Shapes of real models, by which `random_model` writes files that cost what those cost: metadata and tensors.

A row of SHAPES names a model of a hub, cut in depth where it would not fit (said in `about`). Tensor shapes are in
GGML's order, (k, n): the contiguous dimension first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Tensors = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Shape:
    """One model. kv: metadata without the architecture's prefix; layer(i): the tensors of layer i by short names."""

    about: str
    architecture: str
    n_vocab: int
    kv: dict[str, Any]
    layer: Callable[[int], Tensors]
    is_tied: bool = True
    """The embedding is the output's matrix, too."""
    output_norm: str = "output_norm"
    top: Tensors = field(default_factory=dict)
    """Further tensors that are no layer's."""

    def tensors(self) -> Tensors:
        n = self.kv["embedding_length"]
        out: Tensors = {"token_embd.weight": (n, self.n_vocab), f"{self.output_norm}.weight": (n,)}
        if not self.is_tied:
            out["output.weight"] = (n, self.n_vocab)
        out |= self.top
        for i in range(self.kv["block_count"]):
            out |= {f"blk.{i}.{name}": shape for name, shape in self.layer(i).items()}
        return out


def _kv(n_embd: int, n_layer: int, n_ff: int, heads: int, heads_kv: Any, head: int, **more: Any) -> dict[str, Any]:
    """The keys that all have; more: others, two underscores for a dot."""
    return {
        "embedding_length": n_embd, "block_count": n_layer, "feed_forward_length": n_ff,
        "attention.head_count": heads, "attention.head_count_kv": heads_kv, "attention.key_length": head,
        "attention.value_length": head, "attention.layer_norm_rms_epsilon": 1e-6, "context_length": 32768,
    } | {name.replace("__", "."): value for name, value in more.items()}  # fmt: skip


def _attention(n: int, heads: int, heads_kv: int, head: int, gated: bool = False) -> Tensors:
    return {
        "attn_norm.weight": (n,), "attn_q.weight": (n, heads * head * (2 if gated else 1)),
        "attn_k.weight": (n, heads_kv * head), "attn_v.weight": (n, heads_kv * head),
        "attn_output.weight": (heads * head, n),
    }  # fmt: skip


def _qk_norms(head: int) -> Tensors:
    return {"attn_q_norm.weight": (head,), "attn_k_norm.weight": (head,)}


def _ffn(n: int, n_ff: int, suffix: str = "") -> Tensors:
    entries: Tensors = {f"ffn_{part}{suffix}.weight": (n, n_ff) for part in ("gate", "up")}
    return entries | {f"ffn_down{suffix}.weight": (n_ff, n)}


def _experts(n: int, n_ff: int, count: int) -> Tensors:
    return {
        "ffn_gate_inp.weight": (n, count), "ffn_gate_exps.weight": (n, n_ff, count),
        "ffn_up_exps.weight": (n, n_ff, count), "ffn_down_exps.weight": (n_ff, n, count),
    }  # fmt: skip


def _mamba2(n: int, inner: int, state: int, heads: int, groups: int = 1, norm: bool = True) -> Tensors:
    channels = inner + 2 * groups * state
    return {
        "attn_norm.weight": (n,), "ssm_in.weight": (n, inner + channels + heads), "ssm_conv1d.weight": (4, channels),
        "ssm_conv1d.bias": (channels,), "ssm_dt.bias": (heads,), "ssm_a": (1, heads), "ssm_d": (1, heads),
        "ssm_out.weight": (inner, n),
    } | ({"ssm_norm.weight": (inner // groups, groups)} if norm else {})  # fmt: skip


# --- Qwen3.5 0.8B: three gated delta-nets for one gated attention


def _qwen35_layer(i: int) -> Tensors:
    n, heads, head, inner = 1024, 16, 128, 2048
    norms = {"attn_norm.weight": (n,), "post_attention_norm.weight": (n,)}
    if (i + 1) % 4 == 0:
        return _attention(n, 8, 2, 256, gated=True) | norms | _qk_norms(256) | _ffn(n, 3584)
    mixer: Tensors = {
        "attn_qkv.weight": (n, 3 * inner), "attn_gate.weight": (n, inner), "ssm_conv1d.weight": (4, 3 * inner),
        "ssm_dt.bias": (heads,), "ssm_a": (heads,), "ssm_alpha.weight": (n, heads), "ssm_beta.weight": (n, heads),
        "ssm_norm.weight": (head,), "ssm_out.weight": (inner, n),
    }  # fmt: skip
    return norms | mixer | _ffn(n, 3584)


_QWEN35 = _kv(
    1024, 24, 3584, 8, 2, 256, rope__dimension_count=64, rope__freq_base=1e7, rope__dimension_sections=[11, 11, 10, 0],
    ssm__conv_kernel=4, ssm__inner_size=2048, ssm__state_size=128, ssm__time_step_rank=16, ssm__group_count=16,
    full_attention_interval=4,
)  # fmt: skip

# --- Granite 4.0 H 1B: four layers of attention, the others Mamba-2

_GRANITE_ATTENTION = (5, 15, 25, 35)


def _granite_layer(i: int) -> Tensors:
    n = 1536
    mixer = _attention(n, 12, 4, 128) if i in _GRANITE_ATTENTION else _mamba2(n, 3072, 128, 48)
    return mixer | {"ffn_norm.weight": (n,)} | _ffn(n, 4096)


_GRANITE = _kv(
    1536, 40, 4096, 12, [4 if i in _GRANITE_ATTENTION else 0 for i in range(40)], 128,
    rope__dimension_count=128, ssm__conv_kernel=4, ssm__inner_size=3072, ssm__state_size=128,
    ssm__time_step_rank=48, ssm__group_count=1, rope__scaling__finetuned=False,
    embedding_scale=12.0, residual_scale=0.22, attention__scale=0.0078125, logit_scale=6.0,
)  # fmt: skip

# --- LFM2 1.2B: short convolutions between layers of attention

_LFM2_ATTENTION = (2, 5, 8, 10, 12, 14)


def _lfm2_layer(i: int) -> Tensors:
    n = 2048
    norms = {"attn_norm.weight": (n,), "ffn_norm.weight": (n,)}
    if i in _LFM2_ATTENTION:
        return _attention(n, 32, 8, 64) | norms | _qk_norms(64) | _ffn(n, 8192)
    mixer: Tensors = {
        "shortconv.in_proj.weight": (n, 3 * n), "shortconv.conv.weight": (3, n), "shortconv.out_proj.weight": (n, n),
    }  # fmt: skip
    return norms | mixer | _ffn(n, 8192)


_LFM2 = _kv(
    2048, 16, 8192, 32, [8 if i in _LFM2_ATTENTION else 0 for i in range(16)], 64, rope__freq_base=1e6,
    shortconv__l_cache=3,
)  # fmt: skip

# --- Mamba-2 1.3B

_MAMBA2 = _kv(
    2048, 48, 0, 0, 0, 64, ssm__conv_kernel=4, ssm__inner_size=4096, ssm__state_size=128, ssm__time_step_rank=64,
    ssm__group_count=1,
)  # fmt: skip

# --- RWKV-7 1.5B


def _rwkv7_layer(i: int) -> Tensors:
    n, n_ff = 2048, 8192
    ranks = {"w": 96, "a": 96, "v": 64 if i else 96, "g": 256}
    whole = {f"time_mix_{name}.weight": (n, n) for name in ("receptance", "key", "value", "output")}
    down = {f"time_mix_{use}1.weight": (n, rank) for use, rank in ranks.items()}
    up = {f"time_mix_{use}2.weight": (rank, n) for use, rank in ranks.items()}
    vectors = ("time_mix_w0", "time_mix_a0", "time_mix_v0", "time_mix_k_k", "time_mix_k_a", "time_mix_r_k")
    norms = [f"{name}.{part}" for name in ("attn_norm", "attn_norm_2", "time_mix_ln") for part in ("weight", "bias")]
    return {
        "time_mix_lerp_fused.weight": (n, 1, 1, 6), "channel_mix_lerp_k.weight": (n, 1, 1),
        "channel_mix_key.weight": (n, n_ff), "channel_mix_value.weight": (n_ff, n),
        **whole, **down, **up, **{f"{name}.weight": (n,) for name in vectors}, **dict.fromkeys(norms, (n,)),
    }  # fmt: skip


_RWKV7 = _kv(
    2048, 24, 8192, 0, 0, 64, wkv__head_size=64, attention__decay_lora_rank=96, attention__iclr_lora_rank=96,
    attention__value_residual_mix_lora_rank=64, attention__gate_lora_rank=256, attention__layer_norm_epsilon=1e-5,
)  # fmt: skip
_RWKV7_TOP: Tensors = {
    "token_embd_norm.weight": (2048,), "token_embd_norm.bias": (2048,), "output_norm.bias": (2048,)
}  # fmt: skip

# --- A small mixture: Granite 3.1 1B-A400M


def _granitemoe_layer(i: int) -> Tensors:
    n = 1024
    return _attention(n, 16, 8, 64) | {"ffn_norm.weight": (n,)} | _experts(n, 512, 32)


_GRANITEMOE = _kv(
    1024, 24, 512, 16, 8, 64, expert_count=32, expert_used_count=8, embedding_scale=12.0, residual_scale=0.22,
    attention__scale=0.015625, logit_scale=6.0, rope__dimension_count=64,
)  # fmt: skip

# --- DeepSeek-V2-Lite, four layers of 27


def _deepseek_layer(i: int) -> Tensors:
    n, heads, latent, nope, rope, value = 2048, 16, 512, 128, 64, 128
    attention: Tensors = {
        "attn_norm.weight": (n,), "attn_q.weight": (n, heads * (nope + rope)),
        "attn_kv_a_mqa.weight": (n, latent + rope), "attn_kv_a_norm.weight": (latent,),
        "attn_k_b.weight": (nope, latent, heads), "attn_v_b.weight": (latent, value, heads),
        "attn_output.weight": (heads * value, n), "ffn_norm.weight": (n,),
    }  # fmt: skip
    if i == 0:
        return attention | _ffn(n, 10944)
    return attention | _experts(n, 1408, 64) | _ffn(n, 2 * 1408, "_shexp")


_DEEPSEEK = _kv(
    2048, 4, 10944, 16, 1, 576, rope__dimension_count=64, attention__q_lora_rank=0,
    attention__kv_lora_rank=512, attention__key_length_mla=192,
    attention__value_length_mla=128, leading_dense_block_count=1, expert_count=64, expert_used_count=6,
    expert_shared_count=2, expert_feed_forward_length=1408, expert_weights_scale=1.0, expert_gating_func=1,
    vocab_size=102400,
) | {"attention.value_length": 512}  # fmt: skip

# --- gpt-oss 20B, four layers of 24


def _gpt_oss_layer(i: int) -> Tensors:
    n, experts, heads, head = 2880, 32, 64, 64
    biases: Tensors = {
        "attn_q.bias": (heads * head,), "attn_k.bias": (8 * head,), "attn_v.bias": (8 * head,),
        "attn_output.bias": (n,), "attn_sinks.weight": (heads,), "ffn_gate_inp.bias": (experts,),
        "ffn_gate_exps.bias": (n, experts), "ffn_up_exps.bias": (n, experts), "ffn_down_exps.bias": (n, experts),
    }  # fmt: skip
    norms = {"post_attention_norm.weight": (n,)}
    return _attention(n, heads, 8, head) | norms | biases | _experts(n, n, experts)


_GPT_OSS = _kv(
    2880, 4, 2880, 64, 8, 64, rope__dimension_count=64, rope__freq_base=150000.0, attention__sliding_window=128,
    expert_count=32, expert_used_count=4, expert_feed_forward_length=2880,
)  # fmt: skip

# --- Qwen3 30B-A3B, four layers of 48


def _qwen3moe_layer(i: int) -> Tensors:
    n = 2048
    return _attention(n, 32, 4, 128) | {"ffn_norm.weight": (n,)} | _qk_norms(128) | _experts(n, 768, 128)


_QWEN3MOE = _kv(
    2048, 4, 6144, 32, 4, 128, rope__freq_base=1e6, expert_count=128, expert_used_count=8,
    expert_feed_forward_length=768,
)  # fmt: skip

# --- Qwen2.5 1.5B


def _qwen2_layer(i: int) -> Tensors:
    n, heads_kv, head = 1536, 2, 128
    biases: Tensors = {"attn_q.bias": (n,), "attn_k.bias": (heads_kv * head,), "attn_v.bias": (heads_kv * head,)}
    return _attention(n, 12, heads_kv, head) | biases | {"ffn_norm.weight": (n,)} | _ffn(n, 8960)


_QWEN2 = _kv(1536, 28, 8960, 12, 2, 128, rope__freq_base=1e6)

# --- Gemma 3n E2B, Gemma 4 E2B: an embedding for each layer, the last layers use the keys and values of others


def _gemma_layer(n: int, heads: int, heads_kv: int, head: int, n_ff: int) -> Tensors:
    norms = ("post_attention_norm", "ffn_norm", "post_ffw_norm")
    return _attention(n, heads, heads_kv, head) | _qk_norms(head) | _ffn(n, n_ff) | {f"{x}.weight": (n,) for x in norms}


def _per_layer(n: int, n_layer: int, n_vocab: int) -> Tensors:
    return {
        "per_layer_token_embd.weight": (256 * n_layer, n_vocab), "per_layer_model_proj.weight": (n, 256 * n_layer),
        "per_layer_proj_norm.weight": (256,),
    }  # fmt: skip


def _inputs_of_a_layer(n: int) -> Tensors:
    return {"inp_gate.weight": (n, 256), "proj.weight": (256, n), "post_norm.weight": (n,)}


def _gemma3n_layer(i: int) -> Tensors:
    n = 2048
    return _gemma_layer(n, 8, 2, 256, 8192) | _inputs_of_a_layer(n) | {
        "altup_correct_coef.weight": (4, 4), "altup_correct_scale.weight": (n,), "altup_predict_coef.weight": (4, 16),
        "altup_router.weight": (n, 4), "altup_router_norm.weight": (n,), "laurel_l.weight": (n, 64),
        "laurel_r.weight": (64, n), "laurel_post_norm.weight": (n,),
    }  # fmt: skip


_GEMMA3N_TOP = _per_layer(2048, 30, 262400) | {
    "altup_proj.weight": (2048, 2048, 3), "altup_unembd_proj.weight": (2048, 2048, 3),
}  # fmt: skip
_GEMMA3N = _kv(
    2048, 30, 8192, 8, 2, 256, rope__freq_base=1e6, attention__sliding_window=512, attention__shared_kv_layers=10,
)  # fmt: skip


def _gemma4_layer(i: int) -> Tensors:
    n = 1536
    layer = _gemma_layer(n, 8, 1, 256 if _GEMMA4_SWA[i] else 512, 6144 if i < 15 else 12288)
    return layer | _inputs_of_a_layer(n) | {"layer_output_scale.weight": (1,)}


_GEMMA4_SWA = [(i + 1) % 5 != 0 for i in range(35)]
_GEMMA4_TOP = _per_layer(1536, 35, 262144) | {"rope_freqs.weight": (256,)}
_GEMMA4 = _kv(
    1536, 35, 6144, 8, 1, 512, attention__key_length_swa=256, attention__value_length_swa=256, rope__freq_base=1e6,
    attention__sliding_window=512, attention__sliding_window_pattern=_GEMMA4_SWA, attention__shared_kv_layers=20,
    embedding_length_per_layer_input=256,
) | {"feed_forward_length": [6144] * 15 + [12288] * 20}  # fmt: skip

SHAPES: dict[str, Shape] = {
    "qwen2.5-1.5b": Shape("Qwen2.5 1.5B", "qwen2", 151936, _QWEN2, _qwen2_layer),
    "qwen35-0.8b": Shape("Qwen3.5 0.8B", "qwen35", 248320, _QWEN35, _qwen35_layer),
    "granite4-h-1b": Shape("Granite 4.0 H 1B", "granitehybrid", 100352, _GRANITE, _granite_layer),
    "lfm2-1.2b": Shape("LFM2 1.2B", "lfm2", 65536, _LFM2, _lfm2_layer, output_norm="token_embd_norm"),
    "mamba2-1.3b": Shape("Mamba-2 1.3B", "mamba2", 50288, _MAMBA2, lambda i: _mamba2(2048, 4096, 128, 64)),
    "rwkv7-1.5b": Shape("RWKV-7 1.5B", "rwkv7", 65536, _RWKV7, _rwkv7_layer, is_tied=False, top=_RWKV7_TOP),
    "granitemoe-1b": Shape("Granite 3.1 1B-A400M", "granitemoe", 49160, _GRANITEMOE, _granitemoe_layer),
    "gemma3n-e2b": Shape("Gemma 3n E2B", "gemma3n", 262400, _GEMMA3N, _gemma3n_layer, top=_GEMMA3N_TOP),
    "gemma4-e2b": Shape("Gemma 4 E2B", "gemma4", 262144, _GEMMA4, _gemma4_layer, top=_GEMMA4_TOP),
    "deepseek-v2-lite": Shape(
        "DeepSeek-V2-Lite, 4 of 27 layers", "deepseek2", 102400, _DEEPSEEK, _deepseek_layer, is_tied=False
    ),
    "gpt-oss-20b": Shape("gpt-oss 20B, 4 of 24 layers", "gpt-oss", 201088, _GPT_OSS, _gpt_oss_layer, is_tied=False),
    "qwen3-30b-a3b": Shape(
        "Qwen3 30B-A3B, 4 of 48 layers", "qwen3moe", 151936, _QWEN3MOE, _qwen3moe_layer, is_tied=False
    ),
}
