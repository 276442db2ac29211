"""Gemma 3n: with and without layers that share keys and values (llama.cpp has them from layer 20 on), odd sizes. Sizes
of AltUp, LAuReL and per-layer embeddings are fixed in llama.cpp."""

from tests.recorded.models import N_VOCAB, Case

STREAMS, RANK, PER_LAYER = 4, 64, 256


def tensors(n_layer, n, n_head, n_kv, head, ff):
    out = {
        "token_embd.weight": [n, N_VOCAB], "output_norm.weight": [n], "altup_proj.weight": [n, n, STREAMS - 1],
        "altup_unembd_proj.weight": [n, n, STREAMS - 1], "per_layer_token_embd.weight": [PER_LAYER * n_layer, N_VOCAB],
        "per_layer_model_proj.weight": [n, PER_LAYER * n_layer], "per_layer_proj_norm.weight": [PER_LAYER],
    }  # fmt: skip
    layer = {
        "attn_norm.weight": [n], "attn_q.weight": [n, n_head * head], "attn_k.weight": [n, n_kv * head],
        "attn_v.weight": [n, n_kv * head], "attn_output.weight": [n_head * head, n], "attn_q_norm.weight": [head],
        "attn_k_norm.weight": [head], "post_attention_norm.weight": [n], "ffn_norm.weight": [n],
        "ffn_gate.weight": [n, ff], "ffn_up.weight": [n, ff], "ffn_down.weight": [ff, n], "post_ffw_norm.weight": [n],
        "inp_gate.weight": [n, PER_LAYER], "proj.weight": [PER_LAYER, n], "post_norm.weight": [n],
        "altup_correct_coef.weight": [STREAMS, STREAMS], "altup_correct_scale.weight": [n],
        "altup_predict_coef.weight": [STREAMS, STREAMS**2], "altup_router.weight": [n, STREAMS],
        "altup_router_norm.weight": [n], "laurel_l.weight": [n, RANK], "laurel_r.weight": [RANK, n],
        "laurel_post_norm.weight": [n],
    }  # fmt: skip
    return out | {f"blk.{i}.{name}": shape for i in range(n_layer) for name, shape in layer.items()}


def kv(n_layer, n, n_head, n_kv, head, ff):
    return {
        "embedding_length": n, "block_count": n_layer, "feed_forward_length": ff, "attention.head_count": n_head,
        "attention.head_count_kv": n_kv, "attention.key_length": head, "attention.value_length": head,
        "attention.layer_norm_rms_epsilon": 1e-6, "attention.sliding_window": 8, "rope.freq_base": 1000000.0,
    }  # fmt: skip


# Deep random models are chaotic: they make much of llama.cpp's GELU, which rounds to 16 bits. So attention is made
# soft, and what layers add small. A router's input is divided by n_embd: only large weights choose.
SOFT = {"attn_q_norm": 0.4, "altup_predict_coef": 0.4}
DEEP = SOFT | {"post_": 0.3, "altup_predict_coef": 0.1, "altup_correct_coef": 0.3}


def case(*sizes, scales, **more):
    return Case("gemma3n", kv(*sizes) | more, tensors(*sizes), scales=scales | {"altup_router.weight": sizes[1] / 2})


FILE = {
    "altup.active_idx": 0, "altup.num_inputs": 4, "attention.shared_kv_layers": 2, "final_logit_softcapping": 30.0,
    "activation_sparsity_scale": [1.6448533535003662] * 10 + [float("-inf")] * 12,
    "attention.sliding_window_pattern": [i % 5 < 4 for i in range(22)], "rope.freq_base_swa": 10000.0,
    "embedding_length_per_layer_input": 256,
}  # fmt: skip
"""What converters write."""

CASES = {
    "gemma3n": case(4, 72, 3, 1, 24, 100, scales=SOFT),
    "gemma3n-shared": case(22, 64, 2, 2, 32, 96, scales=DEEP, **FILE),
    "gemma3n-defaults": case(24, 48, 4, 2, 12, 80, scales=DEEP),
}
