"""Gemma 3n and 4, text (Google's model cards; llama.cpp's gemma3n.cpp, gemma4.cpp).

Of both: scores are not scaled, values are normed; the last layers of smaller models use the keys and values of the last
layer of their kind before them (with a window, or without), and each of their layers has a further input
(model.per_layer).

3n has several residual streams (model.stacks.altup). Of 4, layers with a window and layers that see everything have
heads of their own sizes; factors of the frequencies (by which only a part of a head is rotated) are for the latter
alone; in larger models those have no matrix for values. One has experts beside the dense block.
"""

from collections.abc import Callable
from dataclasses import replace

from localllm.gate import numbers
from localllm.gguf.config import Config, Keys, Window
from localllm.model.spec import ExpertsSpec, Spec

_PATTERN = "attention.sliding_window_pattern"


def _window(keys: Keys, n_layer: int) -> Window:
    numbers.present(keys.place(_PATTERN), keys.has(_PATTERN))
    return _every_fifth(keys, n_layer)


def _every_fifth(keys: Keys, n_layer: int) -> Window:
    """Unless the file has a pattern, one layer in five sees everything."""
    return Window(keys.integer("attention.sliding_window", low=1), 5)


def shared_from(c: Config, first: int, i: int) -> int | None:
    """Where layers from `first` on use the keys and values of others: of the last one before that has a window, or has
    none, like layer i."""
    if i < first:
        return None
    alike = [j for j in range(first) if c.swa_layers[j] == c.swa_layers[i]]
    numbers.has_source(c.keys.place("attention.shared_kv_layers"), i, bool(alike))
    return alike[-1]


def _source(default: int) -> Callable[[Config, int], int | None]:
    """default: the first layer that shares, where the file does not say how many do."""

    def source(c: Config, i: int) -> int | None:
        n_shared = c.keys.integer("attention.shared_kv_layers", max(0, c.n_block - default), high=c.n_block - 1)
        return shared_from(c, c.n_block - n_shared, i)

    return source


_GEMMA4 = Spec(
    "Gemma 4",
    rope="halves",
    activation="gelu",
    stack="gemma4",
    embedding_factor=lambda c: float(c.n_embd) ** 0.5,
    window=_window,
    kv_source=_source(1 << 16),
    value_norm=True,
    local_base="own or 10000",
    local_scaling="magnitude",
    local_factors=False,
    attention_scale=lambda c, i: 1.0,
    final_softcap=lambda c: c.keys.number("final_logit_softcapping", 30.0),
    experts=ExpertsSpec(activation="gelu"),
)

SPECS = {
    "gemma3n": replace(
        _GEMMA4, about="Gemma 3n E2B and E4B, text", stack="altup", window=_every_fifth, kv_source=_source(20)
    ),
    "gemma4": _GEMMA4,
}
