"""Hunyuan 4 (model card; llama.cpp's hy-v4.cpp): multi-head latent attention with attention sinks and a gate, four
residual streams that are not mixed, experts with clamped activations; files may have an indexer, which some layers
share.
"""

from localllm.gguf.config import Config
from localllm.model.spec import ExpertsSpec, IndexerSpec, Spec


def _indexer(c: Config, i: int) -> IndexerSpec | None:
    if not c.keys.integer("attention.indexer.top_k", 0, (1 << 31) - 1, 0):
        return None
    return IndexerSpec("adjacent", rope_last=True, eps=None)


def _choice_source(c: Config, i: int) -> int | None:
    """The file says which layers have an indexer; the others use the last one's choice."""
    if _indexer(c, i) is None:
        return None
    key = "attention.indexer.types"
    has_own = c.keys.flags(key, c.n_block) or (bool(c.keys.integer(key, 0, 1)),) * c.n_block
    if not has_own[0]:
        raise c.keys.fail(key, "is 0 for layer 0, which has no layer before it")
    return None if has_own[i] else max(j for j in range(i) if has_own[j])


SPECS = {
    "hy_v4": Spec(
        "Hunyuan 4",
        rope="adjacent",
        mixers=lambda c, i: ("latent_attention",),
        stack="hyper_independent",
        indexer=_indexer,
        choice_source=_choice_source,
        experts=ExpertsSpec(gating="sigmoid", normed=False, activation="silu_clamped"),
    ),
}
