"""Kimi Linear and Ling 3: delta-nets with a decay a channel, of both kinds, between attention over latents."""

from tests.recorded.models import N_VOCAB, Case

N, FF, FF_EXP, N_HEAD = 96, 160, 48, 3
RANK, NOPE, ROT, V_DIM, Q_RANK = 32, 24, 8, 20, 40


def kv(dim, width, **more):
    return {
        "embedding_length": N, "block_count": 3, "feed_forward_length": FF, "attention.head_count": N_HEAD,
        "attention.head_count_kv": [0, 1, 0], "attention.key_length": RANK + ROT, "attention.value_length": RANK,
        "attention.key_length_mla": NOPE + ROT, "attention.value_length_mla": V_DIM, "attention.kv_lora_rank": RANK,
        "rope.dimension_count": ROT, "rope.freq_base": 10000.0, "attention.layer_norm_rms_epsilon": 1e-5,
        "ssm.conv_kernel": width, "kda.head_dim": dim, "leading_dense_block_count": 1, "expert_count": 4,
        "expert_used_count": 2, "expert_feed_forward_length": FF_EXP, "expert_shared_count": 1,
        "expert_gating_func": 2,
    } | more  # fmt: skip


NORMS = {"attn_norm.weight": [N], "ffn_norm.weight": [N]}
DENSE = {"ffn_gate.weight": [N, FF], "ffn_up.weight": [N, FF], "ffn_down.weight": [FF, N]}
EXPERTS = {
    "ffn_gate_inp.weight": [N, 4], "exp_probs_b.bias": [4], "ffn_gate_exps.weight": [N, FF_EXP, 4],
    "ffn_up_exps.weight": [N, FF_EXP, 4], "ffn_down_exps.weight": [FF_EXP, N, 4],
    "ffn_gate_shexp.weight": [N, FF_EXP], "ffn_up_shexp.weight": [N, FF_EXP], "ffn_down_shexp.weight": [FF_EXP, N],
}  # fmt: skip
LATENTS = {
    "attn_q.weight": [N, N_HEAD * (NOPE + ROT)], "attn_kv_a_mqa.weight": [N, RANK + ROT],
    "attn_kv_a_norm.weight": [RANK], "attn_k_b.weight": [NOPE, RANK, N_HEAD], "attn_v_b.weight": [RANK, V_DIM, N_HEAD],
    "attn_output.weight": [N_HEAD * V_DIM, N],
}  # fmt: skip
GATED_LATENTS = LATENTS | {"attn_gate.weight": [N, N_HEAD]}
LATENTS_OF_Q = {name: shape for name, shape in GATED_LATENTS.items() if name != "attn_q.weight"} | {
    "attn_q_a.weight": [N, Q_RANK], "attn_q_a_norm.weight": [Q_RANK],
    "attn_q_b.weight": [Q_RANK, N_HEAD * (NOPE + ROT)],
}  # fmt: skip
MTP = {
    "nextn.eh_proj.weight": [2 * N, N], "nextn.enorm.weight": [N], "nextn.hnorm.weight": [N],
    "layer_output_norm.weight": [N],
}  # fmt: skip


def kda(dim, width, *, fused=False, thin=True, ones=(1,), biases=False):
    n = N_HEAD * dim
    qkv = {"attn_qkv": [N, 3 * n]} if fused else {f"attn_{part}": [N, n] for part in "qkv"}
    gates = {"ssm_f_a": [N, n], "ssm_g_a": [N, n]}
    if thin:
        gates = {"ssm_f_a": [N, dim], "ssm_f_b": [dim, n], "ssm_g_a": [N, dim], "ssm_g_b": [dim, n]}
    convs = {f"ssm_conv1d_{part}": [width, 1, n, *ones] for part in "qkv"}
    matrices = qkv | gates | convs | {"ssm_beta": [N, N_HEAD], "ssm_norm": [dim], "attn_output": [n, N]}
    more = {f"attn_{part}.bias": [n] for part in "qkv"} if biases else {}
    return {f"{name}.weight": shape for name, shape in matrices.items()} | more | {
        "ssm_a": [1, N_HEAD, *ones, *ones], "ssm_dt.bias": [n]
    }  # fmt: skip


def model(*layers):
    top = {"token_embd.weight": [N, N_VOCAB], "output_norm.weight": [N], "output.weight": [N, N_VOCAB]}
    return top | {f"blk.{i}.{name}": shape for i, layer in enumerate(layers) for name, shape in layer.items()}


def hybrid(mixer, latents):
    return [NORMS | mixer | DENSE, NORMS | latents | EXPERTS, NORMS | mixer | EXPERTS]


LING = {"kda.gate_lower_bound": -5.0, "expert_weights_norm": True, "expert_weights_scale": 2.5}

CASES = {
    "kimi-linear": Case("kimi-linear", kv(32, 4, expert_weights_scale=2.446), model(*hybrid(kda(32, 4), LATENTS))),
    # Matrices in one tensor, shapes without 1s behind, biases that are not used, sizes that are no multiples of 16.
    "kimi-linear-odd": Case(
        "kimi-linear", kv(20, 3), model(*hybrid(kda(20, 3, ones=(), biases=True), LATENTS)),
    ),
    "kimi-linear-fused": Case("kimi-linear", kv(16, 4), model(*hybrid(kda(16, 4, fused=True), LATENTS))),
    "bailingmoe3": Case(
        "bailingmoe3",
        kv(24, 4, **LING) | {"block_count": 4, "attention.head_count_kv": [0, 1, 0, 1], "nextn_predict_layers": 1}
        | {"attention.q_lora_rank": Q_RANK, "swiglu_clamp_exp": [0.0, 0.1, 0.2, 0.0]}
        | {"swiglu_clamp_shexp": [0.3, 0.1, 0.0, 0.0]},
        model(*hybrid(kda(24, 4, thin=False), LATENTS_OF_Q), NORMS | LATENTS_OF_Q | EXPERTS | MTP),
    ),
    "bailingmoe3-sections": Case(
        "bailingmoe3",
        kv(32, 4, **LING) | {"rope.dimension_sections": [2, 1, 1, 0], "expert_weights_norm": False},
        model(*hybrid(kda(32, 4, thin=False, biases=True), GATED_LATENTS)),
        scales={"ssm_a": -1.0},
    ),
}  # fmt: skip
