"""Attention over the latents that an indexer chooses, fewer than there are: DeepSeek V3.2, GLM 5 (each layer with an
indexer, or some that use an earlier one's choice), dots 3 Note (windows, latents of two sizes, gates)."""

from tests.recorded.cases.latent import (
    APART,
    DENSE,
    EXPERTS,
    HEADS,
    KV,
    LATENT,
    NEXTN,
    NORMS,
    Q_RANK,
    QUERY,
    ROT,
    TOP,
    YARN,
    N,
)
from tests.recorded.models import Case

I_HEADS, I_DIM, TOP_K = 7, 64, 8
INDEXED = {
    "attention.indexer.head_count": I_HEADS, "attention.indexer.key_length": I_DIM, "attention.indexer.top_k": TOP_K,
    "leading_dense_block_count": 2,
}  # fmt: skip
INDEXER = {
    "indexer.k_norm.weight": [I_DIM], "indexer.k_norm.bias": [I_DIM], "indexer.proj.weight": [N, I_HEADS],
    "indexer.attn_k.weight": [N, I_DIM], "indexer.attn_q_b.weight": [Q_RANK, I_HEADS * I_DIM],
}  # fmt: skip
BLOCK = NORMS | LATENT | QUERY | APART
CALM = {"attn_output": 0.1}
"""With matrices in few bits another cell may be chosen: it shall not count for much."""


def layers(*parts):
    return TOP | {f"blk.{i}.{name}": shape for i, part in enumerate(parts) for name, shape in part.items()}


def sparse(architecture, tensors, **more):
    kv = {key.replace("__", "."): value for key, value in more.items()}
    return Case(architecture, KV | INDEXED | kv, tensors, scales=CALM)


FULL = BLOCK | INDEXER
THREE = layers(FULL | DENSE, FULL | DENSE, FULL | EXPERTS)
FIVE = layers(FULL | DENSE, BLOCK | DENSE, BLOCK | DENSE, FULL | DENSE, FULL | EXPERTS)
"""The last has an indexer that may not be used."""
SEVEN = layers(*[FULL | DENSE] * 3, *[BLOCK | DENSE] * 3, FULL | EXPERTS)
SCALED = {key: value for key, value in YARN.items() if key.startswith("rope")}

LOCAL_HEADS, LOCAL_NOPE, LOCAL_RANK, LOCAL_V = 2, 14, 24, 12
GATED = {"attn_gate.weight": [N, HEADS], "attn_k_norm.weight": [ROT]}
LOCAL = NORMS | {
    "attn_gate.weight": [N, LOCAL_HEADS], "attn_k_norm.weight": [ROT],
    "attn_q_a.weight": [N, Q_RANK], "attn_q_a_norm.weight": [Q_RANK],
    "attn_q_b.weight": [Q_RANK, LOCAL_HEADS * (LOCAL_NOPE + ROT)],
    "attn_kv_a_mqa.weight": [N, LOCAL_RANK + ROT], "attn_kv_a_norm.weight": [LOCAL_RANK],
    "attn_k_b.weight": [LOCAL_NOPE, LOCAL_RANK, LOCAL_HEADS], "attn_v_b.weight": [LOCAL_RANK, LOCAL_V, LOCAL_HEADS],
    "attn_output.weight": [LOCAL_HEADS * LOCAL_V, N],
}  # fmt: skip
DOTS = {
    "block_count": 4, "attention.head_count": [HEADS, LOCAL_HEADS, LOCAL_HEADS, HEADS], "attention.sliding_window": 5,
    "attention.sliding_window_pattern": [0, 1, 1, 0], "attention.indexer.types": [1, 0, 0, 1],
    "attention.kv_lora_rank_swa": LOCAL_RANK, "attention.key_length_swa": LOCAL_RANK + ROT,
    "attention.value_length_swa": LOCAL_RANK, "attention.key_length_mla_swa": LOCAL_NOPE + ROT,
    "attention.value_length_mla_swa": LOCAL_V, "rope.freq_base_swa": 500.0, "leading_dense_block_count": 3,
}  # fmt: skip

CASES = {
    "deepseek32": sparse("deepseek32", THREE),
    "deepseek32-yarn": sparse("deepseek32", THREE, **SCALED, **{"rope.scaling.yarn_log_multiplier": 0.07}),
    "deepseek32-nextn": sparse(
        "deepseek32", layers(FULL | DENSE, FULL | DENSE, FULL | EXPERTS, FULL | EXPERTS | NEXTN), block_count=4,
        nextn_predict_layers=1,
    ),
    "deepseek32-all": sparse("deepseek32", THREE, attention__indexer__top_k=2048),
    "glm-dsa": sparse("glm-dsa", THREE),
    "glm-dsa-yarn": sparse("glm-dsa", THREE, **SCALED),
    "glm-dsa-shared": sparse(
        "glm-dsa", FIVE, block_count=5, leading_dense_block_count=4, attention__indexer__types=[1, 0, 0, 1, 0]
    ),
    "glm-dsa-long": sparse("glm-dsa", SEVEN, block_count=7, leading_dense_block_count=6, context_length=1 << 20),
    "dots3note": Case(
        "dots3note",
        KV | INDEXED | DOTS,
        layers(FULL | GATED | DENSE, LOCAL | DENSE, LOCAL | DENSE, FULL | GATED | EXPERTS),
        scales=CALM,
    ),
}  # fmt: skip
