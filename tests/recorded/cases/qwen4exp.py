"""Qwen 3.8 Flash Next: streams with gates, n-grams, attention that is sparse by groups, delta-nets.

llama.cpp fills the budget of cells up with some of the next group: where the choice binds, rows one before the end of a
group alone have nothing left to fill, and only in the last layer are their logits those of this choice.
"""

import numpy as np

from tests.recorded.models import N_VOCAB, Case

N, COUNT, RANK, HEADS, HEADS_KV, DIM, I_HEADS, I_DIM = 96, 4, 8, 4, 2, 32, 3, 40
K_HEADS, V_HEADS, STATE = 2, 4, 16
KEYS, VALUES = K_HEADS * STATE, V_HEADS * STATE
GRAM, PER_GRAM, TABLE = 3, 2, [70, 90, 50, 110]
KV = {
    "embedding_length": N, "block_count": 4, "feed_forward_length": 64, "expert_feed_forward_length": 48,
    "expert_shared_feed_forward_length": 64, "expert_count": 4, "expert_used_count": 2, "attention.head_count": HEADS,
    "attention.head_count_kv": HEADS_KV, "attention.key_length": DIM, "attention.value_length": DIM,
    "attention.layer_norm_rms_epsilon": 1e-6, "rope.dimension_count": 16, "rope.freq_base": 10000.0,
    "rope.dimension_sections": [3, 3, 2, 0], "ssm.conv_kernel": 4, "ssm.inner_size": VALUES, "ssm.state_size": STATE,
    "ssm.time_step_rank": V_HEADS, "ssm.group_count": K_HEADS, "hyper_connection.count": COUNT,
    "hyper_connection.low_rank": RANK, "full_attention_interval": 4, "attention.indexer.head_count": I_HEADS,
    "attention.indexer.key_length": I_DIM, "attention.indexer.top_k": 2048,
    "attention.compress_ratios": [0, 0, 0, 4],
}  # fmt: skip
NGRAMS = {
    "ple.layers": [1], "ple.ngram_size": GRAM, "ple.heads_per_ngram": PER_GRAM, "ple.conv_kernel": 4,
    "ple.eos_token_id": 0, "embedding_length_per_layer_input": N // len(TABLE),
    "ple.layer_multipliers": np.array([29000000000003, 31000000000007, 17000000000021], np.uint64),
    "ple.head_offsets": np.array([0, 70, 160, 210], np.uint64), "ple.head_vocab_sizes": np.array(TABLE, np.uint64),
}  # fmt: skip
TOP = {
    "token_embd.weight": [N, N_VOCAB], "output_hc_norm.weight": [COUNT * N], "output_hc_down.weight": [COUNT * N, RANK],
    "output_hc_up.weight": [RANK, COUNT * N],
}  # fmt: skip
STREAMS = {
    f"hc_{part}_{name}.weight": shape
    for part in ("attn", "ffn")
    for name, shape in {
        "norm": [COUNT * N], "down": [COUNT * N, RANK], "up": [RANK, COUNT * N], "inject": [COUNT * N, COUNT],
    }.items()
}  # fmt: skip
EXPERTS = {
    "ffn_gate_inp.weight": [N, 4], "ffn_down_exps.weight": [48, N, 4], "ffn_gate_inp_shexp.weight": [N],
    "ffn_gate_shexp.weight": [N, 64], "ffn_up_shexp.weight": [N, 64], "ffn_down_shexp.weight": [64, N],
}  # fmt: skip
APART = {"ffn_gate_exps.weight": [N, 48, 4], "ffn_up_exps.weight": [N, 48, 4]}
FUSED = {"ffn_gate_up_exps.weight": [N, 96, 4]}
DELTA = STREAMS | EXPERTS | {
    "attn_qkv.weight": [N, 2 * KEYS + VALUES], "attn_gate.weight": [N, VALUES],
    "ssm_conv1d.weight": [4, 2 * KEYS + VALUES], "ssm_dt.bias": [V_HEADS], "ssm_a": [V_HEADS],
    "ssm_beta.weight": [N, V_HEADS], "ssm_alpha.weight": [N, V_HEADS], "ssm_norm.weight": [STATE],
    "ssm_out.weight": [VALUES, N],
}  # fmt: skip
PLE = {
    "ple_key.weight": [N, COUNT * N], "ple_value.weight": [N, N], "ple_norm_key.weight": [COUNT * N],
    "ple_norm_query.weight": [COUNT * N], "ple_norm_conv.weight": [COUNT * N], "ple_conv1d.weight": [4, COUNT * N],
}  # fmt: skip
ATTENTION = STREAMS | EXPERTS | APART | {
    "attn_q.weight": [N, 2 * HEADS * DIM], "attn_k.weight": [N, HEADS_KV * DIM], "attn_v.weight": [N, HEADS_KV * DIM],
    "attn_output.weight": [HEADS * DIM, N], "attn_q_norm.weight": [DIM], "attn_k_norm.weight": [DIM],
    "indexer.q_proj.weight": [N, I_HEADS * I_DIM], "indexer.k_proj.weight": [N, I_DIM],
    "indexer.q_norm.weight": [I_DIM], "indexer.k_norm.weight": [I_DIM],
}  # fmt: skip


def layers(*parts):
    return TOP | {f"blk.{i}.{name}": shape for i, part in enumerate(parts) for name, shape in part.items()}


TABLE_TENSOR = {"per_layer_token_embd.weight": [N // len(TABLE), 330]}

CASES = {
    "qwen4exp": Case(
        "qwen4exp", KV | NGRAMS,
        layers(DELTA | APART, DELTA | FUSED | PLE, DELTA | APART, ATTENTION) | TABLE_TENSOR
        | {"output.weight": [N, N_VOCAB]},
    ),
    "qwen4exp-sparse": Case(
        "qwen4exp",
        KV | {"block_count": 2, "full_attention_interval": 2, "attention.compress_ratios": [0, 4]}
        | {"attention.indexer.top_k": 12},
        layers(DELTA | APART, ATTENTION), positions=tuple(range(2, 40, 4)),
    ),
}  # fmt: skip
