"""MiniMax-01: lightning and softmax attention; where the file names the layers, and where it does not."""

from tests.recorded.models import N_VOCAB, Case


def kv(n, n_head, n_head_kv, dim, **more):
    return {
        "embedding_length": n, "block_count": 3, "feed_forward_length": 96, "attention.head_count": n_head,
        "attention.head_count_kv": n_head_kv, "attention.key_length": dim, "attention.value_length": dim,
        "attention.layer_norm_rms_epsilon": 1e-5, "rope.dimension_count": 16, "rope.freq_base": 10000.0,
        "expert_count": 4, "expert_used_count": 2, "residual_scale": 3.556558847427368,
    } | {key.replace("__", "."): value for key, value in more.items()}  # fmt: skip


def tensors(n, n_head, n_head_kv, dim, recurrent, tied=False, biases=False, gates=True):
    out = {"token_embd.weight": [n, N_VOCAB], "output_norm.weight": [n]}
    if not tied:
        out["output.weight"] = [n, N_VOCAB]
    row = n_head * dim
    for i, is_recurrent in enumerate(recurrent):
        layer = {"attn_norm.weight": [n], "attn_output.weight": [row, n], "ffn_norm.weight": [n]}
        if is_recurrent:
            layer |= {"attn_norm_2.weight": [row], "attn_qkv.weight": [n, 3 * row], "attn_gate.weight": [n, row]}
        else:
            sizes = {"q": row, "k": n_head_kv * dim, "v": n_head_kv * dim}
            layer |= {f"attn_{name}.weight": [n, size] for name, size in sizes.items()}
            layer |= {f"attn_{name}.bias": [size] for name, size in sizes.items() if biases}
        layer |= {
            "ffn_gate_inp.weight": [n, 4], "ffn_up_exps.weight": [n, 96, 4], "ffn_down_exps.weight": [96, n, 4],
        }  # fmt: skip
        if gates:
            layer["ffn_gate_exps.weight"] = [n, 96, 4]
        out |= {f"blk.{i}.{name}": shape for name, shape in layer.items()}
    return out


CASES = {
    "minimax-01": Case(
        "minimax-01", kv(128, 4, 2, 32, attention__recurrent_layers=[1, 1, 0]), tensors(128, 4, 2, 32, (1, 1, 0))
    ),
    # Three heads of 20, every other layer, biases, the embedding as the output's matrix.
    "minimax-01-odd": Case(
        "minimax-01", kv(96, 3, 1, 20, full_attention_interval=2), tensors(96, 3, 1, 20, (1, 0, 1), True, True)
    ),
    # Where the file says nothing, every eighth layer; experts that are not gated.
    "minimax-01-plain": Case(
        "minimax-01", kv(64, 2, 2, 40, block_count=8), tensors(64, 2, 2, 40, (1, 1, 1, 1, 1, 1, 1, 0), gates=False)
    ),
}  # fmt: skip
