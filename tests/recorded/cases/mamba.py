"""Mamba, FalconMamba, Mamba-2, Jamba, PLaMo 2 and Granite's hybrids: groups, heads and states of other sizes,
dense and with experts, with RoPE and without."""

from tests.recorded.models import N_VOCAB, Case

EPS = {"attention.layer_norm_rms_epsilon": 1e-5}
MOE = {"expert_count": 4, "expert_used_count": 2}


def ssm(conv, inner, state, rank, groups=None):
    keys = {"conv_kernel": conv, "inner_size": inner, "state_size": state, "time_step_rank": rank}
    keys |= {} if groups is None else {"group_count": groups}
    return {f"ssm.{key}": value for key, value in keys.items()}


def mamba(n, inner, state, rank, normed=False):
    norms = {"ssm_dt_norm.weight": [rank], "ssm_b_norm.weight": [state], "ssm_c_norm.weight": [state]}
    return {
        "attn_norm.weight": [n], "ssm_in.weight": [n, 2 * inner], "ssm_conv1d.weight": [4, inner],
        "ssm_conv1d.bias": [inner], "ssm_x.weight": [inner, rank + 2 * state], "ssm_dt.weight": [rank, inner],
        "ssm_dt.bias": [inner], "ssm_a": [state, inner], "ssm_d": [inner], "ssm_out.weight": [inner, n],
    } | (norms if normed else {})  # fmt: skip


def mamba2(n, conv, inner, state, heads, groups, normed=True, biased=True):
    channels = inner + 2 * groups * state
    return {
        "attn_norm.weight": [n], "ssm_in.weight": [n, inner + channels + heads], "ssm_conv1d.weight": [conv, channels],
        "ssm_dt.bias": [heads], "ssm_a": [1, heads], "ssm_d": [1, heads], "ssm_out.weight": [inner, n],
    } | ({"ssm_norm.weight": [inner // groups, groups]} if normed else {}) | (
        {"ssm_conv1d.bias": [channels]} if biased else {}
    )  # fmt: skip


def attention(n, heads, heads_kv, head, biased=False):
    rows = {"q": heads * head, "k": heads_kv * head, "v": heads_kv * head}
    biases = {f"attn_{part}.bias": [size] for part, size in rows.items()} | {"attn_output.bias": [n]}
    return {
        "attn_norm.weight": [n], "attn_output.weight": [heads * head, n],
    } | {f"attn_{part}.weight": [n, size] for part, size in rows.items()} | (biases if biased else {})  # fmt: skip


def ffn(n, size, suffix="", gated=True):
    gate = {f"ffn_gate{suffix}.weight": [n, size]} if gated else {}
    return gate | {f"ffn_up{suffix}.weight": [n, size], f"ffn_down{suffix}.weight": [size, n]}


def experts(n, size, count=4):
    return {
        "ffn_gate_inp.weight": [n, count], "ffn_gate_exps.weight": [n, size, count],
        "ffn_up_exps.weight": [n, size, count], "ffn_down_exps.weight": [size, n, count],
    }  # fmt: skip


def model(architecture, n, layers, kv, tied=False, more=None):
    kv = {"embedding_length": n, "block_count": len(layers)} | ({} if architecture == "nemotron_h" else EPS) | kv
    top = {"token_embd.weight": [n, N_VOCAB], "output_norm.weight": [n]} | (more or {})
    if not tied:
        top["output.weight"] = [n, N_VOCAB]
    for i, layer in enumerate(layers):
        top |= {f"blk.{i}.{name}": shape for name, shape in layer.items()}
    return Case(architecture, kv, top)


NO_HEADS = {"attention.head_count": 0, "feed_forward_length": 0}
"""As conversion writes it."""
UNUSED = NO_HEADS | {"feed_forward_length": 100}


def jamba(layers, **kv):
    heads = {"attention.head_count": 4, "attention.head_count_kv": [2 * ("attn_q.weight" in x) for x in layers]}
    return model("jamba", 64, layers, heads | ssm(4, 128, 16, 4) | {"feed_forward_length": 96} | kv)


NORM = {"ffn_norm.weight": [64]}
JAMBA_MAMBA, JAMBA_ATTENTION = mamba(64, 128, 16, 4, normed=True) | NORM, attention(64, 4, 2, 16) | NORM

GRANITE = {
    "attention.head_count": 4, "attention.head_count_kv": [0, 2, 0], "rope.dimension_count": 16,
    "feed_forward_length": 96, "embedding_scale": 0.4, "residual_scale": 0.7, "attention.scale": 0.1,
    "logit_scale": 1.5,
}  # fmt: skip


def granite(feed_forward, kv, groups=1, biased=False, more=None):
    mixers = [mamba2(64, 4, 128, 32, 4, groups), attention(64, 4, 2, 16, biased), mamba2(64, 4, 128, 32, 4, groups)]
    layers = [mixer | NORM | feed_forward for mixer in mixers]
    return model("granitehybrid", 64, layers, GRANITE | ssm(4, 128, 32, 4, groups) | kv, tied=True, more=more)


def plamo2(n, heads, head, state, conv=4, value=0):
    """A head's size, of attention and of Mamba; suffixes are left out as conversion leaves them out."""
    inner, rank, value = heads * head, max(64, n // 16), value or head
    mamba_ = {
        "ssm_in.weight": [n, 2 * inner], "ssm_conv1d.weight": [conv, inner],
        "ssm_x.weight": [inner, rank + 2 * state], "ssm_dt.weight": [rank, heads], "ssm_dt.bias": [heads],
        "ssm_a": [heads], "ssm_d": [heads], "ssm_out.weight": [inner, n], "ssm_dt_norm": [rank],
        "ssm_b_norm": [state], "ssm_c_norm": [state],
    }  # fmt: skip
    attention_ = {
        "attn_qkv.weight": [n, (4 + 2) * head + 2 * value], "attn_q_norm.weight": [head, 4],
        "attn_k_norm.weight": [head, 2], "attn_output.weight": [4 * value, n],
    }  # fmt: skip
    norms = {"attn_norm.weight": [n], "post_attention_norm": [n], "ffn_norm.weight": [n], "post_ffw_norm": [n]}
    # llama.cpp finds no RoPE, and does not come to an end, where the first layer has no heads, as in the real models.
    mixers = attention_, mamba_, mamba_
    layers = [norms | mixer | {"ffn_up.weight": [n, 192], "ffn_down.weight": [96, n]} for mixer in mixers]
    kv = {
        "attention.head_count": [4, 0, 0], "attention.head_count_kv": [2, 0, 0], "attention.key_length": head,
        "attention.value_length": value, "feed_forward_length": 96, "rope.freq_base": 1e4,
    }  # fmt: skip
    return model("plamo2", n, layers, kv | ssm(conv, inner, state, heads, 0))


FFN_BIASES = {"ffn_gate.bias": [96], "ffn_up.bias": [96], "ffn_down.bias": [64]}

CASES = {
    "mamba": model("mamba", 64, [mamba(64, 128, 16, 4)] * 3, NO_HEADS | ssm(4, 128, 16, 4), tied=True),
    "mamba-odd": model("mamba", 70, [mamba(70, 140, 19, 7)] * 2, UNUSED | ssm(4, 140, 19, 7)),
    "falcon-mamba": model(
        "mamba", 128, [mamba(128, 256, 16, 32)] * 2, NO_HEADS | ssm(4, 256, 16, 32) | {"ssm.dt_b_c_rms": True}
    ),
    "mamba2": model("mamba2", 64, [mamba2(64, 4, 128, 64, 2, 1)] * 3, NO_HEADS | ssm(4, 128, 64, 2, 1), tied=True),
    "mamba2-groups": model("mamba2", 96, [mamba2(96, 4, 384, 16, 12, 4)] * 2, NO_HEADS | ssm(4, 384, 16, 12, 4)),
    "mamba2-odd": model("mamba2", 60, [mamba2(60, 3, 132, 21, 6, 3)] * 2, UNUSED | ssm(3, 132, 21, 6, 3)),
    "jamba": jamba(
        [JAMBA_MAMBA | ffn(64, 96), JAMBA_ATTENTION | ffn(64, 96), JAMBA_MAMBA | ffn(64, 96)],
        **{"attention.scale": 0.3},  # which means nothing here
    ),
    "jamba-moe": jamba(
        [JAMBA_MAMBA | ffn(64, 96), JAMBA_ATTENTION | experts(64, 96), JAMBA_MAMBA | experts(64, 96)], **MOE
    ),
    "plamo2": plamo2(64, 4, 32, 16),
    "plamo2-odd": plamo2(96, 5, 20, 23, conv=3, value=12),
    "granitehybrid": granite(ffn(64, 96), {"rope.scaling.finetuned": False}),
    "granitehybrid-rope": granite(
        ffn(64, 96) | FFN_BIASES, {"rope.scaling.finetuned": True}, 2, True, {"rope_freqs.weight": [8]}
    ),
    "granitehybrid-moe": granite(
        experts(64, 96) | ffn(64, 48, "_shexp"), MOE | {"expert_shared_feed_forward_length": 48}
    ),
    "granitehybrid-experts": granite(experts(64, 96), MOE | {"rope.scaling.finetuned": False}),
}
