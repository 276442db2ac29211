"""Nemotron-H, dense and with experts (latent ones, layers of different sizes, a layer that predicts further tokens),
and Falcon-H1."""

from tests.recorded.cases.mamba import attention, experts, ffn, mamba2, model, ssm

N = 64
MAMBA, ATTENTION = mamba2(N, 4, 160, 16, 10, 2), attention(N, 4, 2, 24, biased=True)
SSM = ssm(4, 160, 16, 10, 2) | {"attention.key_length": 24, "attention.value_length": 24}


def alone(tensors):
    return {"attn_norm.weight": [N]} | tensors


def nemotron(architecture, layers, n_ff, kv):
    heads = {
        "attention.head_count": 4, "feed_forward_length": n_ff, "attention.layer_norm_epsilon": 1e-5,
        "attention.head_count_kv": [2 if "attn_q.weight" in layer else 0 for layer in layers],
    }  # fmt: skip
    return model(architecture, N, layers, SSM | heads | kv)


def moe(size, length=N, shared=96):
    """Plain experts on rows of `length`, with a shared one."""
    routed = {name: shape for name, shape in experts(length, size).items() if "gate" not in name}
    return alone(
        routed | ffn(N, shared, "_shexp", gated=False) | {"ffn_gate_inp.weight": [N, 4], "exp_probs_b.bias": [4]}
        | ({} if length == N else {"ffn_latent_down.weight": [N, length], "ffn_latent_up.weight": [length, N]})
    )  # fmt: skip


MOE = {
    "expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 64,
    "expert_shared_feed_forward_length": 96, "expert_shared_count": 1, "expert_weights_norm": True,
    "expert_weights_scale": 2.5, "expert_group_count": 1,
}  # fmt: skip
DENSE = alone(ffn(N, 96, gated=False))
NEXTN = ATTENTION | moe(64) | {
    "nextn.enorm.weight": [N], "nextn.hnorm.weight": [N], "nextn.eh_proj.weight": [2 * N, N],
    "nextn.shared_head_norm.weight": [N], "post_attention_norm.weight": [N],
}  # fmt: skip


def falcon(kv_heads, groups, normed):
    n_ff, inner, heads = 96, 192, 12
    mixer = attention(N, 4, kv_heads, 24) | mamba2(N, 4, inner, 24, heads, groups, normed)
    layer = mixer | {"ffn_norm": [N]} | ffn(N, n_ff) | ({} if normed else {"attn_output.bias": [N]})
    kv = {
        "attention.head_count": 4, "attention.head_count_kv": kv_heads, "feed_forward_length": n_ff,
        "attention.key_length": 24, "attention.value_length": 24, "rope.freq_base": 1e6,
    }  # fmt: skip
    return model("falcon-h1", N, [layer] * 2, kv | ssm(4, inner, 24, heads, groups))


CASES = {
    "nemotron_h": nemotron("nemotron_h", [MAMBA, DENSE, ATTENTION, MAMBA], [0, 96, 0, 0], {}),
    "nemotron_h-biases": nemotron(
        "nemotron_h", [MAMBA, ATTENTION, DENSE | {"ffn_up.bias": [96], "ffn_down.bias": [N]}], [0, 0, 96],
        {"attention.scale": 0.3},
    ),
    "nemotron_h_moe": nemotron("nemotron_h_moe", [MAMBA, moe(64), ATTENTION, moe(64)], [0, 64, 0, 64], MOE),
    "nemotron_h_moe-latent": nemotron(
        "nemotron_h_moe", [MAMBA, moe(64, 32), ATTENTION, moe(64, 32)], [0, 64, 0, 64], MOE | {"moe_latent_size": 32},
    ),
    "nemotron_h_moe-puzzle": nemotron(
        "nemotron_h_moe", [moe(64, 48), MAMBA, moe(96, 48), ATTENTION], [64, 0, 96, 0],
        MOE | {
            "moe_latent_size": 48, "expert_feed_forward_length": [64, 0, 96, 0], "expert_used_count": [1, 0, 3, 0],
            "expert_weights_norm": False,
        },
    ),
    "nemotron_h_moe-nextn": nemotron(
        "nemotron_h_moe", [MAMBA, moe(64), ATTENTION, NEXTN], [0, 64, 0, 64], MOE | {"nextn_predict_layers": 1}
    ),
    "falcon-h1": falcon(2, 1, True),
    "falcon-h1-no-norm": falcon(4, 2, False),
}  # fmt: skip
