"""HRM-Text: cycles over two stacks of layers."""

from tests.recorded.models import N_VOCAB, Case


def kv(n, n_head, n_head_kv, dim, per_stack, h_cycles, l_cycles, **more):
    return {
        "embedding_length": n, "block_count": per_stack * h_cycles * (l_cycles + 1), "feed_forward_length": 96,
        "attention.head_count": n_head, "attention.head_count_kv": n_head_kv, "attention.key_length": dim,
        "attention.value_length": dim, "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000.0,
        "rope.dimension_count": dim, "hrm.layers_per_stack": per_stack, "hrm.h_cycles": h_cycles,
        "hrm.l_cycles": l_cycles,
    } | more  # fmt: skip


def tensors(n, n_head, n_head_kv, dim, per_stack, tied=False, biases=False):
    out = {"token_embd.weight": [n, N_VOCAB], "hrm.z_l_init": [n]} | ({} if tied else {"output.weight": [n, N_VOCAB]})
    row, row_kv = n_head * dim, n_head_kv * dim
    for i in range(2 * per_stack):
        layer = {
            "attn_q.weight": [n, row], "attn_k.weight": [n, row_kv], "attn_v.weight": [n, row_kv],
            "attn_output.weight": [row, n], "attn_gate.weight": [n, row], "ffn_gate.weight": [n, 96],
            "ffn_up.weight": [n, 96], "ffn_down.weight": [96, n],
        }  # fmt: skip
        if biases:
            layer |= {"attn_q.bias": [row], "attn_k.bias": [row_kv], "attn_v.bias": [row_kv]}
        out |= {f"blk.{i}.{name}": shape for name, shape in layer.items()}
    return out


SCALES = {"hrm.z_l_init": 8.0}

CASES = {
    "hrm_text": Case(
        "hrm_text", kv(128, 4, 2, 32, 2, 2, 3, embedding_scale=11.3), tensors(128, 4, 2, 32, 2), scales=SCALES
    ),
    "hrm_text-odd": Case(
        "hrm_text", kv(72, 3, 1, 20, 1, 3, 1), tensors(72, 3, 1, 20, 1, True, True), scales=SCALES
    ),
}  # fmt: skip
