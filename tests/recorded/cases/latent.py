"""Attention over latents: DeepSeek-V2's shape (with and without a query's latent, older files with one matrix for keys
and values, every kind of RoPE scaling, layers that predict further tokens), Mistral 4, MiniCPM3, PLM. Sizes are odd."""

from tests.recorded.models import N_VOCAB, Case

N, HEADS, NOPE, ROT, RANK, Q_RANK, V, FF = 96, 3, 24, 8, 40, 56, 20, 160
K = NOPE + ROT

KV = {
    "embedding_length": N, "block_count": 3, "attention.head_count": HEADS, "attention.head_count_kv": 1,
    "attention.layer_norm_rms_epsilon": 1e-6, "rope.dimension_count": ROT, "rope.freq_base": 10000.0,
    "attention.q_lora_rank": Q_RANK, "attention.kv_lora_rank": RANK, "attention.key_length": RANK + ROT,
    "attention.value_length": RANK, "attention.key_length_mla": K, "attention.value_length_mla": V,
    "feed_forward_length": FF, "leading_dense_block_count": 1, "expert_count": 6, "expert_used_count": 2,
    "expert_feed_forward_length": 48, "expert_shared_count": 2, "expert_weights_scale": 1.5, "expert_gating_func": 2,
}  # fmt: skip
HEADS_ALONE = {
    "attention.head_count_kv": HEADS, "attention.key_length": K, "attention.value_length": V,
}  # fmt: skip
"""Without the sizes of keys and values beside the latents."""
TOP = {"token_embd.weight": [N, N_VOCAB], "output_norm.weight": [N], "output.weight": [N, N_VOCAB]}
NORMS = {"attn_norm.weight": [N], "ffn_norm.weight": [N]}
LATENT = {
    "attn_kv_a_mqa.weight": [N, RANK + ROT], "attn_kv_a_norm.weight": [RANK], "attn_output.weight": [HEADS * V, N],
}  # fmt: skip
QUERY = {
    "attn_q_a.weight": [N, Q_RANK], "attn_q_a_norm.weight": [Q_RANK], "attn_q_b.weight": [Q_RANK, HEADS * K],
}  # fmt: skip
QUERY_ALONE = {"attn_q.weight": [N, HEADS * K]}
APART = {"attn_k_b.weight": [NOPE, RANK, HEADS], "attn_v_b.weight": [RANK, V, HEADS]}
TOGETHER = {"attn_kv_b.weight": [RANK, HEADS * (NOPE + V)]}
DENSE = {"ffn_gate.weight": [N, FF], "ffn_up.weight": [N, FF], "ffn_down.weight": [FF, N]}
ROUTER = {
    "ffn_gate_inp.weight": [N, 6], "exp_probs_b.bias": [6], "ffn_gate_shexp.weight": [N, 96],
    "ffn_up_shexp.weight": [N, 96], "ffn_down_shexp.weight": [96, N], "ffn_down_exps.weight": [48, N, 6],
}  # fmt: skip
EXPERTS = ROUTER | {"ffn_gate_exps.weight": [N, 48, 6], "ffn_up_exps.weight": [N, 48, 6]}
FUSED = ROUTER | {"ffn_gate_up_exps.weight": [N, 96, 6]}
THREE = ROUTER | {
    "ffn_gate_exps.weight": [N, 96, 6], "ffn_up_exps.weight": [N, 96, 6], "ffn_down_exps.weight": [96, N, 6],
}  # fmt: skip
"""Hidden elements of three experts together are no multiple of 64."""
NEXTN = {"nextn.eh_proj.weight": [2 * N, N], "nextn.enorm.weight": [N], "nextn.hnorm.weight": [N]}
YARN = {
    "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 64,
    "leading_dense_block_count": 2, "ffns": (DENSE, DENSE, EXPERTS),
}  # fmt: skip
"""With experts in the last layer alone: where a router flips for want of bits, no other row sees it."""


def layers(attention, *ffns):
    """Layers of this attention, with these feed-forward blocks."""
    return {
        f"blk.{i}.{name}": shape
        for i, ffn in enumerate(ffns)
        for name, shape in (NORMS | LATENT | attention | ffn).items()
    }


def case(attention=QUERY | APART, ffns=(DENSE, EXPERTS, FUSED), architecture="deepseek2", top=TOP, **more):
    kv = {key.replace("__", "."): value for key, value in more.items()}
    return Case(architecture, KV | kv, top | layers(attention, *ffns))


WIDE = {
    "attn_q_a.weight": [N, 64], "attn_q_a_norm.weight": [64], "attn_q_b.weight": [64, 20 * 96],
    "attn_kv_a_mqa.weight": [N, 128], "attn_kv_a_norm.weight": [96], "attn_k_b.weight": [64, 96, 20],
    "attn_v_b.weight": [96, 32, 20], "attn_output.weight": [20 * 32, N],
}  # fmt: skip
"""Of 20 heads, all of whose matrices can be quantized."""
OWN = {key: value for key, value in KV.items() if not key.endswith("_mla")} | HEADS_ALONE
PLAIN = {key: value for key, value in OWN.items() if not key.startswith(("expert", "leading"))}
LONG = {"rope_factors_long.weight": [ROT // 2], "rope_factors_short.weight": [ROT // 2]}
TIED = {name: shape for name, shape in TOP.items() if name != "output.weight"}

CASES = {
    "deepseek2": case(),
    "deepseek2-lite": case(QUERY_ALONE | APART, attention__q_lora_rank=0, expert_gating_func=1),
    "deepseek2-old": Case("deepseek2", OWN, TOP | layers(QUERY | TOGETHER, DENSE, EXPERTS, FUSED)),
    "deepseek2-old-lite": Case(
        "deepseek2", OWN | {"attention.q_lora_rank": 0}, TOP | layers(QUERY_ALONE | TOGETHER, DENSE, EXPERTS, FUSED)
    ),
    "deepseek2-groups": case(expert_group_count=3, expert_group_used_count=2, expert_weights_norm=True),
    "deepseek2-yarn": case(**YARN, **{"rope.scaling.yarn_log_multiplier": 0.0707}),
    "deepseek2-yarn-alone": case(**YARN),
    "deepseek2-linear": case(**{"rope.scaling.type": "linear", "rope.scaling.factor": 2.5}),
    "deepseek2-temperature": case(attention__temperature_scale=0.3, attention__temperature_length=7),
    "deepseek2-nextn": case(
        ffns=(DENSE, EXPERTS, FUSED, EXPERTS | NEXTN), block_count=4, nextn_predict_layers=1
    ),
    "deepseek2-wide": Case(
        "deepseek2",
        KV
        | {"block_count": 2, "attention.head_count": 20, "leading_dense_block_count": 2, "rope.dimension_count": 32}
        | {"attention.q_lora_rank": 64, "attention.kv_lora_rank": 96, "attention.key_length": 128}
        | {"attention.value_length": 96, "attention.key_length_mla": 96, "attention.value_length_mla": 32},
        TOP | layers(WIDE, DENSE, DENSE),
    ),
    "deepseek2-three-experts": case(
        ffns=(DENSE, THREE, THREE), expert_used_count=3, expert_feed_forward_length=96, expert_shared_count=1
    ),
    "mistral4": case(architecture="mistral4", **YARN, **{"rope.scaling.yarn_log_multiplier": 0.05}),
    "mistral4-temperature": case(
        architecture="mistral4", attention__temperature_scale=0.1, attention__temperature_length=4
    ),
    "minicpm3": Case("minicpm3", PLAIN, TOP | layers(QUERY | TOGETHER, DENSE, DENSE, DENSE)),
    "minicpm3-long": Case("minicpm3", PLAIN, TOP | LONG | layers(QUERY | TOGETHER, DENSE, DENSE, DENSE)),
    "plm": Case(
        "plm", PLAIN, TIED | layers(QUERY_ALONE | TOGETHER, *[{n: s for n, s in DENSE.items() if "gate" not in n}] * 3)
    ),
}  # fmt: skip
