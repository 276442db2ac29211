"""Gemma 4: as the small models (per-layer embeddings, shared keys and values), as the large ones (neither; values that
are the keys), with experts; heads of odd sizes, windows that bind."""

from tests.recorded.models import N_VOCAB, Case

N, PER_LAYER, HEADS = 96, 20, 4
FULL, LOCAL = 40, 24
"""Elements of a head: of layers that see everything, and of those with a window."""
SWA = [True, True, False, True, False, True, True, False]
N_LAYER = len(SWA)
N_KV = [2 if swa else 1 for swa in SWA]

KV = {
    "embedding_length": N, "block_count": N_LAYER, "attention.head_count": HEADS,
    "attention.head_count_kv": N_KV, "attention.layer_norm_rms_epsilon": 1e-6, "attention.key_length": FULL,
    "attention.value_length": FULL, "attention.key_length_swa": LOCAL, "attention.value_length_swa": LOCAL,
    "rope.freq_base": 1000000.0, "rope.freq_base_swa": 10000.0, "rope.dimension_count": FULL,
    "rope.dimension_count_swa": 12, "attention.sliding_window": 8, "attention.sliding_window_pattern": SWA,
    "attention.shared_kv_layers": 0, "embedding_length_per_layer_input": 0, "feed_forward_length": 160,
    "final_logit_softcapping": 30.0,
}  # fmt: skip
TOP = {"token_embd.weight": [N, N_VOCAB], "output_norm.weight": [N], "rope_freqs.weight": [FULL // 2]}
PARTIAL = {"rope_freqs.weight": [1.0] * (FULL // 8) + [1e30] * (FULL // 2 - FULL // 8)}
"""RoPE on a quarter of a head."""
SCALES = {f"blk.{i}.layer_output_scale.weight": [0.75 + 0.1 * i] for i in range(N_LAYER)}
PER_LAYER_TOP = {
    "per_layer_token_embd.weight": [PER_LAYER * N_LAYER, N_VOCAB],
    "per_layer_model_proj.weight": [N, PER_LAYER * N_LAYER], "per_layer_proj_norm.weight": [PER_LAYER],
}  # fmt: skip
PER_LAYER_OF = {"inp_gate.weight": [N, PER_LAYER], "proj.weight": [PER_LAYER, N], "post_norm.weight": [N]}
SCALE = {"layer_output_scale.weight": [1]}
EXPERTS = {
    "ffn_gate_inp.weight": [N, 5], "ffn_gate_inp.scale": [N], "pre_ffw_norm_2.weight": [N],
    "post_ffw_norm_1.weight": [N], "post_ffw_norm_2.weight": [N], "ffn_down_exps.weight": [56, N, 5],
    "ffn_down_exps.scale": [5],
}  # fmt: skip
APART = {"ffn_gate_exps.weight": [N, 56, 5], "ffn_up_exps.weight": [N, 56, 5]}
FUSED = {"ffn_gate_up_exps.weight": [N, 112, 5]}
ROUTED = {"expert_count": 5, "expert_used_count": 2, "expert_feed_forward_length": 56}


def layer(i, *more, ff=160, values=True, keys=True):
    size, n_kv = (LOCAL if SWA[i] else FULL), N_KV[i]
    out = {
        "attn_norm.weight": [N], "post_attention_norm.weight": [N], "ffn_norm.weight": [N], "post_ffw_norm.weight": [N],
        "attn_q.weight": [N, HEADS * size], "attn_q_norm.weight": [size], "attn_output.weight": [HEADS * size, N],
        "ffn_gate.weight": [N, ff], "ffn_up.weight": [N, ff], "ffn_down.weight": [ff, N],
    }  # fmt: skip
    if keys:
        out |= {"attn_k.weight": [N, n_kv * size], "attn_k_norm.weight": [size]}
        out |= {"attn_v.weight": [N, n_kv * size]} if values else {}
    for one in more:
        out |= one
    return {f"blk.{i}.{name}": shape for name, shape in out.items()}


def layers(*more, **how):
    return {name: shape for i in range(N_LAYER) for name, shape in layer(i, *more, **how).items()}


def fused(tensors):
    """Queries, keys and values in one matrix."""
    out = {name: shape for name, shape in tensors.items() if not name.endswith(("attn_k.weight", "attn_v.weight"))}
    for i in range(N_LAYER):
        del out[f"blk.{i}.attn_q.weight"]
        out[f"blk.{i}.attn_qkv.weight"] = [N, (HEADS + 2 * N_KV[i]) * (LOCAL if SWA[i] else FULL)]
    return out


SMALL = KV | {"attention.shared_kv_layers": 3, "embedding_length_per_layer_input": PER_LAYER}
SMALL["feed_forward_length"] = [160] * 5 + [224] * 3
SHARED = [layer(i, PER_LAYER_OF, SCALE, ff=160 if i < 5 else 224, keys=i < 5) for i in range(N_LAYER)]
UNUSED = [layer(i, PER_LAYER_OF, ff=160 if i < 5 else 224) for i in range(N_LAYER)]
OF_KEYS = [layer(i, SCALE, values=SWA[i]) for i in range(N_LAYER)]


def joined(parts):
    return {name: shape for part in parts for name, shape in part.items()}


SOFT = {"attn_q_norm": 0.4}
"""Scores are not scaled: with norms near 1 attention would make much of llama.cpp's GELU, which rounds to 16 bits."""

CASES = {
    "gemma4-small": Case("gemma4", SMALL, TOP | PER_LAYER_TOP | joined(SHARED), scales=SOFT, values=PARTIAL | SCALES),
    "gemma4-unused-keys": Case("gemma4", SMALL, TOP | PER_LAYER_TOP | joined(UNUSED), scales=SOFT),
    "gemma4-large": Case("gemma4", KV, TOP | joined(OF_KEYS), scales=SOFT, values=PARTIAL | SCALES),
    "gemma4-fused": Case("gemma4", KV, fused(TOP | {"output.weight": [N, N_VOCAB]} | layers()), scales=SOFT),
    "gemma4-moe": Case(
        "gemma4", KV | ROUTED, TOP | layers(EXPERTS, FUSED, SCALE), scales=SOFT, values=PARTIAL | SCALES
    ),
    "gemma4-moe-apart": Case(
        "gemma4", KV | ROUTED | {"final_logit_softcapping": 0.0}, TOP | layers(EXPERTS, APART),
        scales=SOFT | {"exps.scale": 5.0},
    ),
}  # fmt: skip
