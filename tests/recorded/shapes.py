"""Tables of small transformers: a row names what its model has beside the plain one, and its sizes.

The plain model: RMSNorms before both blocks, separate matrices without biases for queries, keys and values, a gated
feed-forward block, an output matrix. Words of a row, of which the parts of a layer come first:

    qkv            one matrix for queries, keys and values
    b.qkv b.o b.ffn   biases
    qk  qk.row  qk.heads   norms of queries and keys: over a head, over the row, over each head with its own weights
    gate  gate.head   attn_gate: an element or a head each
    sinks  post  choice (bias of the choice of experts)
    no.ffn_norm  no.attn_norm
    layer          LayerNorm's key of epsilon; b.norm: norms have biases
    plain  fused.ffn   no gate, or gate and up in one matrix
    moe  shared  fused.exps  dense   experts, shared ones, gate and up in one matrix, a dense block beside them
    tied  b.output  freqs  positions  embd.norm   of the model: no output matrix, its bias, rope_freqs, ...
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.recorded.models import N_VOCAB, Case

SPREAD = (0, 1, 2, 3, 5, 7, 8, 9, 12, 15, 16, 17, 23, 31, 36, 39)
"""The positions of which logits are recorded."""
Tensors = dict[str, list[int]]


@dataclass(frozen=True)
class Sizes:
    """heads: of queries and of keys and values; k, v: a head's; exps: experts, used ones, their hidden elements and
    those of shared ones."""

    n: int = 72
    heads: tuple[int, int] = (4, 2)
    k: int = 32
    v: int = 32
    ff: int = 88
    exps: tuple[int, int, int, int] = (6, 2, 40, 24)
    rot: int = 0
    """0: all of a head."""


FREE = Sizes()
SQUARE = Sizes(n=96, heads=(3, 1), ff=104)
"""Where the heads must be as wide as the embedding."""
ALL = Sizes(n=96, heads=(3, 3), ff=104)
"""Without groups of queries."""
NARROW = Sizes(n=72, heads=(6, 2), k=24, v=24)
SMALL = Sizes(n=64, heads=(2, 1), ff=48)
"""For many layers."""


def attention(words: set[str], s: Sizes) -> Tensors:
    sizes = {"q": s.heads[0] * s.k, "k": s.heads[1] * s.k, "v": s.heads[1] * s.v}
    if "qkv" in words:
        sizes = {"qkv": sum(sizes.values())}
    out: Tensors = {f"attn_{part}.weight": [s.n, size] for part, size in sizes.items()}
    if "b.qkv" in words:
        out |= {f"attn_{part}.bias": [size] for part, size in sizes.items()}
    out["attn_output.weight"] = [s.heads[0] * s.v, s.n]
    if "b.o" in words:
        out["attn_output.bias"] = [s.n]
    for part, heads in zip("qk", s.heads, strict=True):
        shapes = {"qk": [s.k], "qk.row": [s.k * heads], "qk.heads": [s.k, heads]}
        out |= {f"attn_{part}_norm.weight": shape for word, shape in shapes.items() if word in words}
    gates = {"gate": s.heads[0] * s.v, "gate.head": s.heads[0]}
    for word in words & set(gates):
        out["attn_gate.weight"] = [s.n, gates[word]]
    if "sinks" in words:
        out["attn_sinks.weight"] = [s.heads[0]]
    return out


def feed_forward(words: set[str], n: int, ff: int, suffix: str = "") -> Tensors:
    up = 2 * ff if "fused.ffn" in words else ff
    shapes = {"gate": [n, ff], "up": [n, up], "down": [ff, n]}
    if up > ff or "plain" in words:
        del shapes["gate"]
    out: Tensors = {f"ffn_{part}{suffix}.weight": shape for part, shape in shapes.items()}
    if "b.ffn" in words:
        out |= {f"ffn_{part}.bias": [shape[1]] for part, shape in shapes.items()}
    return out


def experts(words: set[str], s: Sizes) -> Tensors:
    n_expert, _, ff, shared = s.exps
    entries = {"gate_up": 2 * ff} if "fused.exps" in words else {"gate": ff, "up": ff}
    out: Tensors = {f"ffn_{part}_exps.weight": [s.n, size, n_expert] for part, size in entries.items()}
    out |= {"ffn_gate_inp.weight": [s.n, n_expert], "ffn_down_exps.weight": [ff, s.n, n_expert]}
    if "choice" in words:
        out["exp_probs_b.bias"] = [n_expert]
    if "shared" in words:
        out |= feed_forward(set(), s.n, shared, "_shexp")
    return out | (feed_forward(words, s.n, s.ff) if "dense" in words else {})


def layer(words: set[str], s: Sizes, has_experts: bool, names: dict[str, str], more: Tensors) -> Tensors:
    norms = {"attn_norm", "ffn_norm"} - {word.removeprefix("no.") for word in words}
    if "post" in words:
        norms |= {"post_attention_norm", "post_ffw_norm"}
    out: Tensors = {}
    for norm in sorted(norms):
        name = names.get(norm, norm)
        out[f"{name}.weight"] = [s.n]
        if "b.norm" in words:
            out[f"{name}.bias"] = [s.n]
    out |= attention(words, s)
    out |= experts(words, s) if has_experts else feed_forward(words, s.n, s.ff)
    return out | more


def top(words: set[str], s: Sizes) -> Tensors:
    out: Tensors = {"token_embd.weight": [s.n, N_VOCAB], "output_norm.weight": [s.n], "output.weight": [s.n, N_VOCAB]}
    if "tied" in words:
        del out["output.weight"]
    if "no.output_norm" in words:
        del out["output_norm.weight"]
    elif "b.norm" in words:
        out["output_norm.bias"] = [s.n]
    if "embd.norm" in words:
        out |= {"token_embd_norm.weight": [s.n], "token_embd_norm.bias": [s.n]}
    optional = {
        "b.output": ("output.bias", [N_VOCAB]), "freqs": ("rope_freqs.weight", [(s.rot or s.k) // 2]),
        "positions": ("position_embd.weight", [s.n, 256]),
    }  # fmt: skip
    return out | {name: shape for word, (name, shape) in optional.items() if word in words}


def metadata(words: set[str], s: Sizes, n_layer: int) -> dict[str, object]:
    eps = "layer_norm_epsilon" if "layer" in words else "layer_norm_rms_epsilon"
    kv: dict[str, object] = {
        "embedding_length": s.n, "block_count": n_layer, "feed_forward_length": s.ff, f"attention.{eps}": 1e-5,
        "attention.head_count": s.heads[0], "attention.head_count_kv": s.heads[1], "attention.key_length": s.k,
        "attention.value_length": s.v, "rope.dimension_count": s.rot or s.k, "rope.freq_base": 10000.0,
    }  # fmt: skip
    if "moe" in words:
        n_expert, used, ff, shared = s.exps
        kv |= {"expert_count": n_expert, "expert_used_count": used, "expert_feed_forward_length": ff}
        kv |= {"expert_shared_feed_forward_length": shared} if "shared" in words else {}
    return kv


def row(
    architecture: str,
    words: str = "",
    s: Sizes = FREE,
    kv: dict[str, Any] | None = None,
    n_layer: int = 2,
    n_dense: int = 0,
    step: int = 1,
    names: dict[str, str] | None = None,
    more: Tensors | None = None,
    top_more: Tensors | None = None,
    **how: object,
) -> Case:
    """A case. n_dense: leading layers without experts, of which then every step-th layer has some; names: of norms,
    where the architecture has others; more: further tensors of each layer, top_more: of the model; how: of Case."""
    has = set(words.split())
    tensors = top(has, s)
    for i in range(n_layer):
        has_experts = "moe" in has and i >= n_dense and (i + 1) % step == 0
        parts = layer(has, s, has_experts, names or {}, more or {})
        tensors |= {f"blk.{i}.{name}": shape for name, shape in parts.items()}
    whole = metadata(has, s, n_layer) | ({"leading_dense_block_count": n_dense} if n_dense else {}) | (kv or {})
    return Case(architecture, whole, tensors | (top_more or {}), **({"positions": SPREAD} | how))  # type: ignore[arg-type]
