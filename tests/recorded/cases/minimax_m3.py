"""MiniMax-M3: an indexer chooses few blocks, so that most rows leave some out.

With flash attention llama.cpp rounds keys and values of dense layers to F16: those layers are in a case without it."""

from tests.recorded.models import N_VOCAB, Case


def kv(n, n_head, n_head_kv, dim, n_rot, index_dim, size, top_k, local, **more):
    return {
        "embedding_length": n, "block_count": 2, "leading_dense_block_count": 0, "feed_forward_length": 96,
        "expert_feed_forward_length": 64, "expert_count": 4, "expert_used_count": 2, "expert_shared_count": 1,
        "expert_gating_func": 2, "attention.head_count": n_head, "attention.head_count_kv": n_head_kv,
        "attention.key_length": dim, "attention.value_length": dim, "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.dimension_count": n_rot, "rope.freq_base": 10000.0, "attention.indexer.head_count": n_head_kv,
        "attention.indexer.key_length": index_dim, "attention.indexer.block_size": size,
        "attention.indexer.top_k": top_k, "attention.indexer.local_blocks": local,
    } | more  # fmt: skip


def tensors(n, n_head, n_head_kv, dim, index_dim, n_shared=64, biases=False, n_dense=0):
    out = {"token_embd.weight": [n, N_VOCAB], "output_norm.weight": [n], "output.weight": [n, N_VOCAB]}
    sizes = {"q": n_head * dim, "k": n_head_kv * dim, "v": n_head_kv * dim}
    for i in range(2):
        layer = {
            "attn_norm.weight": [n], "attn_output.weight": [n_head * dim, n], "ffn_norm.weight": [n],
            "attn_q_norm.weight": [dim], "attn_k_norm.weight": [dim],
        }  # fmt: skip
        layer |= {f"attn_{name}.weight": [n, size] for name, size in sizes.items()}
        layer |= {f"attn_{name}.bias": [size] for name, size in sizes.items() if biases}
        if i < n_dense:
            layer |= {"ffn_gate.weight": [n, 96], "ffn_up.weight": [n, 96], "ffn_down.weight": [96, n]}
        else:
            layer |= {
                "ffn_gate_inp.weight": [n, 4], "exp_probs_b.bias": [4], "ffn_gate_exps.weight": [n, 64, 4],
                "ffn_up_exps.weight": [n, 64, 4], "ffn_down_exps.weight": [64, n, 4],
                "ffn_gate_shexp.weight": [n, n_shared], "ffn_up_shexp.weight": [n, n_shared],
                "ffn_down_shexp.weight": [n_shared, n], "indexer.q_proj.weight": [n, n_head_kv * index_dim],
                "indexer.k_proj.weight": [n, index_dim], "indexer.q_norm.weight": [index_dim],
                "indexer.k_norm.weight": [index_dim],
            }  # fmt: skip
        out |= {f"blk.{i}.{name}": shape for name, shape in layer.items()}
    return out


# Inputs of the bounded activation that reach its bounds.
SCALES = {"ffn_gate": 4.0, "ffn_up": 4.0}

CASES = {
    "minimax-m3": Case(
        "minimax-m3",
        kv(128, 8, 2, 32, 16, 32, 4, 3, 1, expert_weights_scale=1.5, expert_weights_norm=True),
        tensors(128, 8, 2, 32, 32), scales=SCALES, flash_attention=True,
    ),
    # Three indexer heads, two blocks of five that always count, shared experts twice as wide.
    "minimax-m3-odd": Case(
        "minimax-m3",
        kv(96, 6, 3, 32, 20, 40, 5, 4, 2, expert_shared_count=2),
        tensors(96, 6, 3, 32, 40, 128, True), scales=SCALES, flash_attention=True,
    ),
    # More blocks than there can be, after a dense layer.
    "minimax-m3-all": Case(
        "minimax-m3",
        kv(64, 4, 4, 16, 16, 16, 8, 100, 1, leading_dense_block_count=1), tensors(64, 4, 4, 16, 16, n_dense=1),
    ),
}  # fmt: skip
