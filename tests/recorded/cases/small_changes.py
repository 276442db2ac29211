"""Llama's shape with a few changes: BitNet, Chameleon, Step 3.5."""

from tests.recorded.models import N_VOCAB, Case

N, FF = 96, 160


def kv(n_head, n_head_kv, **more):
    return {
        "embedding_length": N, "block_count": 2, "feed_forward_length": FF, "attention.head_count": n_head,
        "attention.head_count_kv": n_head_kv, "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000.0,
    } | {key.replace("__", "."): value for key, value in more.items()}  # fmt: skip


def tensors(*layers, n_vocab=N_VOCAB, tied=False):
    out = {"token_embd.weight": [N, n_vocab], "output_norm.weight": [N]}
    if not tied:
        out["output.weight"] = [N, n_vocab]
    return out | {f"blk.{i}.{name}": shape for i, layer in enumerate(layers) for name, shape in layer.items()}


def attention(n_head, n_head_kv, dim):
    rows = {"q": n_head * dim, "k": n_head_kv * dim, "v": n_head_kv * dim}
    return {f"attn_{name}.weight": [N, n] for name, n in rows.items()} | {"attn_output.weight": [n_head * dim, N]}


NORMS = {"attn_norm.weight": [N], "ffn_norm.weight": [N]}
DENSE = {"ffn_gate.weight": [N, FF], "ffn_up.weight": [N, FF], "ffn_down.weight": [FF, N]}

BITNET = NORMS | attention(4, 2, 24) | DENSE | {"attn_sub_norm.weight": [N], "ffn_sub_norm.weight": [FF]}
SCALES = {f"{name}.scale": [1] for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_down")}

CHAMELEON = NORMS | attention(4, 2, 24) | DENSE | {"attn_q_norm.weight": [24, 4], "attn_k_norm.weight": [24, 2]}
BIASES = {"attn_q_norm.bias": [24, 4], "attn_k_norm.bias": [24, 2]}
OF_IMAGES = 8196

LOCAL, GLOBAL = (6, 2), (4, 1)
HEAD_NORMS = {"attn_q_norm.weight": [32], "attn_k_norm.weight": [32]}
STEP = {
    heads: NORMS | attention(*heads, 32) | HEAD_NORMS | {"attn_gate.weight": [N, heads[0]]} for heads in (LOCAL, GLOBAL)
}  # fmt: skip
EXPERTS = {
    "ffn_gate_inp.weight": [N, 4], "exp_probs_b.bias": [4], "ffn_gate_exps.weight": [N, 48, 4],
    "ffn_up_exps.weight": [N, 48, 4], "ffn_down_exps.weight": [48, N, 4], "ffn_gate_shexp.weight": [N, 64],
    "ffn_up_shexp.weight": [N, 64], "ffn_down_shexp.weight": [64, N],
}  # fmt: skip
MTP = {
    "nextn.eh_proj.weight": [2 * N, N], "nextn.enorm.weight": [N], "nextn.hnorm.weight": [N],
    "nextn.shared_head_norm.weight": [N],
}  # fmt: skip
STEP_KV = {
    "attention.key_length": 32, "attention.value_length": 32, "rope.dimension_count": 32, "expert_count": 4,
    "attention.sliding_window": 12, "expert_used_count": 2, "expert_feed_forward_length": 48,
    "expert_shared_feed_forward_length": 64, "rope.freq_base": 500000.0,
}  # fmt: skip

CASES = {
    "bitnet": Case("bitnet", kv(4, 2), tensors(BITNET, BITNET | SCALES, tied=True)),
    "chameleon": Case(
        "chameleon", kv(4, 2, vocab_size=OF_IMAGES + N_VOCAB),
        tensors(CHAMELEON, CHAMELEON | BIASES, n_vocab=OF_IMAGES + N_VOCAB), first_logit=OF_IMAGES,
    ),
    "step35": Case(
        "step35",
        kv([4, 6, 6], [1, 2, 2], **STEP_KV, block_count=3, attention__sliding_window_pattern=[False, True, True],
           expert_weights_scale=2.0, expert_weights_norm=True, rope__freq_base_swa=7000.0,
           swiglu_clamp_exp=[0.0, 0.3, 0.0], swiglu_clamp_shexp=[0.2, 0.0, 0.4]),
        tensors(STEP[GLOBAL] | DENSE, STEP[LOCAL] | EXPERTS, STEP[LOCAL] | EXPERTS) | {"rope_freqs.weight": [16]},
    ),
    # A layer that predicts a further token, no norms of heads, no gate.
    "step35-nextn": Case(
        "step35",
        kv([6, 4, 6], [2, 1, 2], **STEP_KV, block_count=3, attention__sliding_window_pattern=[1, 0, 1],
           nextn_predict_layers=1, expert_gating_func=1, rope__scaling__type="linear", rope__scaling__factor=4.0),
        tensors(
            NORMS | attention(*LOCAL, 32) | EXPERTS, NORMS | attention(*GLOBAL, 32) | DENSE,
            STEP[LOCAL] | EXPERTS | MTP,
        ),
    ),
}  # fmt: skip
