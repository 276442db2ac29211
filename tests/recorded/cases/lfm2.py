"""LFM2: attention, short convolution; dense and with experts."""

from typing import Any

from tests.recorded.models import N_VOCAB, Case

N, FF, HEAD = 128, 192, 32

KV: dict[str, Any] = {
    "embedding_length": N, "block_count": 3, "feed_forward_length": FF, "attention.head_count": 4,
    "attention.head_count_kv": [0, 2, 0], "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000.0,
    "shortconv.l_cache": 3,
}  # fmt: skip
TOP = {"token_embd.weight": [N, N_VOCAB], "token_embd_norm.weight": [N]}
DENSE = {"ffn_gate.weight": [N, FF], "ffn_up.weight": [N, FF], "ffn_down.weight": [FF, N]}
EXPERTS = {
    "ffn_gate_inp.weight": [N, 4], "ffn_gate_exps.weight": [N, 96, 4], "ffn_up_exps.weight": [N, 96, 4],
    "ffn_down_exps.weight": [96, N, 4], "exp_probs_b.bias": [4],
}  # fmt: skip
ATTENTION = {
    "attn_q.weight": [N, N], "attn_k.weight": [N, 2 * HEAD], "attn_v.weight": [N, 2 * HEAD],
    "attn_output.weight": [N, N], "attn_q_norm.weight": [HEAD], "attn_k_norm.weight": [HEAD],
}  # fmt: skip
CONVOLUTION = {
    "shortconv.conv.weight": [3, N], "shortconv.in_proj.weight": [N, 3 * N], "shortconv.out_proj.weight": [N, N],
}  # fmt: skip


def layers(*ffns):
    out: dict[str, list[int]] = {}
    for i, ffn in enumerate(ffns):
        mixer = ATTENTION if KV["attention.head_count_kv"][i] else CONVOLUTION
        norms = {"attn_norm.weight": [N], "ffn_norm.weight": [N]}
        out |= {f"blk.{i}.{name}": shape for name, shape in (norms | mixer | ffn).items()}
    return out


WINDOW = {"attention.sliding_window": 8}

CASES = {
    "lfm2": Case("lfm2", KV, TOP | layers(DENSE, DENSE, DENSE)),
    "lfm2-window": Case("lfm2", KV | WINDOW, TOP | layers(DENSE, DENSE, DENSE)),
    "lfm2moe": Case(
        "lfm2moe",
        KV
        | {"leading_dense_block_count": 1, "expert_feed_forward_length": 96, "expert_count": 4, "expert_used_count": 2}
        | {"expert_gating_func": 2},
        TOP | layers(DENSE, EXPERTS, EXPERTS),
    ),
}
