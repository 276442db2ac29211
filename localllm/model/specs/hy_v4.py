"""Hunyuan 4 (model card; llama.cpp's hy-v4.cpp): multi-head latent attention with attention sinks and a gate, four
residual streams that are not mixed, experts with clamped activations; files may have an indexer, which some layers
share.
"""

from localllm.gate import numbers
from localllm.gguf.config import Config
from localllm.model.spec import ExpertsSpec, IndexerSpec, Spec


def _indexer(c: Config, i: int) -> IndexerSpec | None:
    if not c.keys.integer("attention.indexer.top_k", 0):
        return None
    return IndexerSpec("adjacent", rope_last=True, eps=None)


def _choice_source(c: Config, i: int) -> int | None:
    """The file says which layers have an indexer; the others use the last one's choice."""
    if _indexer(c, i) is None:
        return None
    key = "attention.indexer.types"
    has_own = c.keys.flags(key, c.n_block) or (bool(c.keys.integer(key)),) * c.n_block
    numbers.has_source(c.keys.place(key), 0, has_own[0])
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
