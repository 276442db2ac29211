"""Gemma 1 to 3, text (arXiv 2403.08295, 2408.00118, 2503.19786). Norm weights in GGUF files include the +1.

The second has norms before and after each block, bounds on scores and logits, and every other layer with a window. The
third has normed queries and keys instead of the bounds, and five layers with a window for one that sees everything,
each kind with its own RoPE base. The 27B models (46 and 62 layers) scale scores by their embedding a head, not by a
head's size.
"""

from collections.abc import Callable

from localllm.gguf.config import Config, Keys, Window
from localllm.model.spec import Spec, sliding


def _scale(layers_of_27b: int) -> Callable[[Config, int], float]:
    def scale(c: Config, i: int) -> float:
        size = c.n_embd / c.n_head[0] if c.n_layer == layers_of_27b else c.n_embd_head_k[i]
        return float(size**-0.5)

    return scale


def _both_ways(keys: Keys, n_layer: int) -> Window | None:
    return Window(keys.integer("attention.sliding_window", low=1), 6, symmetric=True)


def _root(c: Config) -> float:
    return float(c.n_embd**0.5)


SPECS = {
    "gemma": Spec("Gemma 1, CodeGemma", rope="halves", activation="gelu", embedding_factor=_root),
    "gemma2": Spec(
        "Gemma 2",
        rope="halves",
        activation="gelu",
        embedding_factor=_root,
        attention_scale=_scale(46),
        window=sliding(2, 4096),
        attention_softcap=lambda c: c.keys.real("attn_logit_softcapping", 50.0),
        final_softcap=lambda c: c.keys.real("final_logit_softcapping", 30.0),
    ),
    "gemma3": Spec(
        "Gemma 3",
        rope="halves",
        activation="gelu",
        embedding_factor=_root,
        attention_scale=_scale(62),
        window=sliding(6),
        local_base="own or 10000",
        local_scaling="magnitude",
        final_softcap=lambda c: c.keys.number("final_logit_softcapping", 0.0),
        refused_keys=("attn_logit_softcapping",),
    ),
    "gemma-embedding": Spec(
        "EmbeddingGemma",
        rope="halves",
        causal=False,
        logits=False,
        activation="gelu",
        embedding_factor=_root,
        window=_both_ways,
        local_base="own or 10000",
        local_scaling="magnitude",
        unused=(r"output\.weight",),
    ),
}
