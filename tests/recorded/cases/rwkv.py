"""RWKV 6 and 7, and the models of Qwen's that have their time mix: heads of several sizes, with and without what files
may lack, and older layouts.

llama.cpp's kernel of version 7 goes 64 elements of a head at a time (32 without AVX-512), and past its end where that
does not divide it (ggml-cpu/ops.cpp): heads of 32 were recorded with a library built without AVX-512.
"""

from tests.recorded.models import N_VOCAB, Case

N, FF, N_LAYER = 128, 224, 3


def heads_of(size, n=N):
    return {
        "embedding_length": n, "block_count": N_LAYER, "feed_forward_length": FF, "attention.head_count": 0,
        "wkv.head_size": size,
    }  # fmt: skip


LAYER_NORM, RMS_NORM = {"attention.layer_norm_epsilon": 1e-5}, {"attention.layer_norm_rms_epsilon": 1e-6}
SIX = {"time_mix_extra_dim": 32, "time_decay_extra_dim": 64}
SEVEN = {
    "attention.decay_lora_rank": 32, "attention.iclr_lora_rank": 24, "attention.value_residual_mix_lora_rank": 16,
    "attention.gate_lora_rank": 40,
}  # fmt: skip
SCALES = {
    "lerp": 8.0, "time_mix_first": 8.0, "time_mix_decay": 4.0, "time_mix_w": 4.0, "time_mix_a": 4.0, "time_mix_v": 4.0,
    "time_mix_value": 0.25, "0.weight": 4.0, "_k_a": 8.0, "_r_k": 8.0, "time_mix_output": 4.0,
}  # fmt: skip
"""Factors under which each tensor shows in the logits."""


def both(name, n):
    return {f"{name}.weight": [n], f"{name}.bias": [n]}


def top(n, is_rwkv):
    out = {"token_embd.weight": [n, N_VOCAB], "output.weight": [n, N_VOCAB]}
    return out | (both("token_embd_norm", n) | both("output_norm", n) if is_rwkv else {"output_norm.weight": [n]})


def six(n, kv, n_kv, fused=True, first=True, biased=False):
    mix, decay = kv["time_mix_extra_dim"], kv["time_decay_extra_dim"]
    out = {
        "time_mix_w1.weight": [n, 5 * mix], "time_mix_w2.weight": [mix, n, 5], "time_mix_lerp_x.weight": [n, 1, 1],
        "time_mix_decay.weight": [n], "time_mix_decay_w1.weight": [n, decay], "time_mix_decay_w2.weight": [decay, n],
        "time_mix_key.weight": [n, n_kv], "time_mix_value.weight": [n, n_kv], "time_mix_receptance.weight": [n, n],
        "time_mix_gate.weight": [n, n], "time_mix_output.weight": [n, n],
    }  # fmt: skip
    if fused:
        out["time_mix_lerp_fused.weight"] = [n, 1, 1, 5]
    else:
        out |= {f"time_mix_lerp_{use}.weight": [n, 1, 1] for use in "wkvrg"}
    if first:
        out |= {"time_mix_first.weight": [kv["wkv.head_size"], n // kv["wkv.head_size"]]} | both("time_mix_ln", n)
    if biased:
        out |= {f"time_mix_{name}.bias": [size] for name, size in (("key", n_kv), ("value", n_kv), ("receptance", n))}
    return out


def seven(i, n, kv, gate=True, norm=True):
    ranks = {"w": "decay", "a": "iclr", "v": "value_residual_mix" if i else "iclr"} | ({"g": "gate"} if gate else {})
    out = {f"time_mix_{use}0.weight": [n] for use in "wav"}
    for use, key in ranks.items():
        rank = kv[f"attention.{key}_lora_rank"]
        out |= {f"time_mix_{use}1.weight": [n, rank], f"time_mix_{use}2.weight": [rank, n]}
    out |= {f"time_mix_{name}.weight": [n] for name in ("k_k", "k_a", "r_k")}
    out |= {f"time_mix_{name}.weight": [n, n] for name in ("key", "value", "receptance", "output")}
    out["time_mix_lerp_fused.weight"] = [n, 1, 1, 6 if gate else 5]
    return out | (both("time_mix_ln", n) if norm else {})


def channel(n, receptance):
    out = {"channel_mix_key.weight": [n, FF], "channel_mix_value.weight": [FF, n]}
    out |= {f"channel_mix_lerp_{use}.weight": [n, 1, 1] for use in ("kr" if receptance else "k")}
    if receptance:
        out["channel_mix_receptance.weight"] = [n, n]
    return both("attn_norm", n) | both("attn_norm_2", n) | out


def dense(n):
    norms = {"attn_norm.weight": [n], "ffn_norm.weight": [n]}
    return norms | {"ffn_gate.weight": [n, FF], "ffn_up.weight": [n, FF], "ffn_down.weight": [FF, n]}


def rwkv6(size, n=N, ranks=SIX, fused=True, **more):
    kv = heads_of(size, n) | LAYER_NORM | ranks | more
    return _case("rwkv6", kv, lambda i: channel(n, True) | six(n, kv, n, fused))


def rwkv7(size, n=N, ranks=SEVEN, **more):
    kv = heads_of(size, n) | LAYER_NORM | ranks | more
    return _case("rwkv7", kv, lambda i: channel(n, False) | seven(i, n, kv))


def rwkv6qwen2(size, n_head_kv, biased=True, n=N):
    kv = heads_of(size, n) | RMS_NORM | SIX | {"attention.head_count_kv": n_head_kv, "token_shift_count": 1}
    n_kv = n_head_kv * size or n
    return _case("rwkv6qwen2", kv, lambda i: dense(n) | six(n, kv, n_kv, first=False, biased=biased))


def arwkv7(size, gate=True, norm=True, n=N):
    kv = heads_of(size, n) | RMS_NORM | SEVEN | {"token_shift_count": 1}
    if not gate:
        kv["attention.gate_lora_rank"] = 0
    return _case("arwkv7", kv, lambda i: dense(n) | seven(i, n, kv, gate, norm))


def _case(architecture, kv, layer):
    tensors = top(kv["embedding_length"], architecture.startswith("rwkv") and "qwen" not in architecture)
    for i in range(N_LAYER):
        tensors |= {f"blk.{i}.{name}": shape for name, shape in layer(i).items()}
    return Case(architecture, kv, tensors, scales=SCALES)


CASES = {
    "rwkv6": rwkv6(64, rescale_every_n_layers=2),
    "rwkv6-32": rwkv6(32, fused=False),
    "rwkv6-odd": rwkv6(20, n=100, ranks={"time_mix_extra_dim": 7, "time_decay_extra_dim": 13}, token_shift_count=2),
    "rwkv6qwen2": rwkv6qwen2(32, 2),
    "rwkv6qwen2-64": rwkv6qwen2(64, 0, biased=False),
    "rwkv7": rwkv7(64),
    "rwkv7-128": rwkv7(128, n=256, rescale_every_n_layers=2),
    "rwkv7-32": rwkv7(32, token_shift_count=2),
    "arwkv7": arwkv7(64),
    "arwkv7-bare": arwkv7(64, gate=False, norm=False),
    "arwkv7-32": arwkv7(32, gate=False),
}
