"""Hunyuan 4: latents with sinks and a gate, four independent streams, with and without an indexer."""

from tests.recorded.cases.latent import APART, DENSE, EXPERTS, HEADS, KV, LATENT, NORMS, Q_RANK, QUERY, TOP, N, V
from tests.recorded.models import Case

I_HEADS, I_DIM = 5, 48
STREAMS = 4
HC = {
    f"hc_{part}_{name}.weight": shape
    for part in ("attn", "ffn")
    for name, shape in {"fn": [STREAMS * N, 2 * STREAMS], "base": [2 * STREAMS], "scale": [2]}.items()
}  # fmt: skip
HEAD = {
    "output_hc_fn.weight": [STREAMS * N, STREAMS], "output_hc_base.weight": [STREAMS], "output_hc_scale.weight": [1],
}  # fmt: skip
GATED = {"attn_sinks.weight": [HEADS], "attn_gate.weight": [N, HEADS * V]}
BLOCK = NORMS | LATENT | QUERY | APART | GATED | HC
INDEXER = {
    "indexer.k_norm.weight": [I_DIM], "indexer.k_norm.bias": [I_DIM], "indexer.proj.weight": [N, I_HEADS],
    "indexer.attn_k.weight": [N, I_DIM], "indexer.attn_q_b.weight": [Q_RANK, I_HEADS * I_DIM],
}  # fmt: skip
OWN = {
    "hyper_connection.count": STREAMS, "hyper_connection.epsilon": 1e-3, "hyper_connection.magnitude": 2.0,
    "attention.layer_norm_rms_epsilon": 1e-5,
}  # fmt: skip
INDEXED = {
    "attention.indexer.head_count": I_HEADS, "attention.indexer.key_length": I_DIM, "attention.indexer.top_k": 8,
    "attention.indexer.types": [True, False, True], "leading_dense_block_count": 2,
}  # fmt: skip
SCALES = {"attn_sinks": 8.0, "_scale": 3.0}


def layers(*parts):
    return TOP | HEAD | {f"blk.{i}.{name}": shape for i, part in enumerate(parts) for name, shape in part.items()}


FULL = BLOCK | INDEXER

CASES = {
    "hy_v4": Case(
        "hy_v4", KV | OWN | {"swiglu_clamp_exp": [0.0, 0.3, 0.2], "expert_weights_norm": True},
        layers(BLOCK | DENSE, BLOCK | EXPERTS, BLOCK | EXPERTS), scales=SCALES,
    ),
    # Another cell may be chosen with matrices in few bits: it shall not count for much.
    "hy_v4-sparse": Case(
        "hy_v4", KV | OWN | INDEXED, layers(FULL | DENSE, BLOCK | DENSE, FULL | EXPERTS),
        scales=SCALES | {"attn_output": 0.1},
    ),
}  # fmt: skip
