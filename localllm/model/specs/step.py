"""Step 3.5 (model card): layers with sliding windows, which have their own number of heads and RoPE on all of each,
between layers with full attention and RoPE on half of each head; a gate a head; activations clamped by a limit of
each layer.
"""

from dataclasses import replace

from localllm.gate import numbers
from localllm.gguf.config import Config, Keys, Window
from localllm.model.spec import ExpertsSpec, NextnSpec, Spec


def _window(keys: Keys, n_layer: int) -> Window:
    """Windows that the file must describe."""
    key = "attention.sliding_window_pattern"
    numbers.is_list(keys.place(key), keys.flags(key, n_layer) is not None)
    return Window(keys.integer("attention.sliding_window", low=1), period=1)


def _half(c: Config) -> Config:
    """The file's number of elements with RoPE is that of layers with windows (llama.cpp, step35.cpp)."""
    for n in (n for n, s in zip(c.n_rot, c.swa_layers, strict=True) if not s):
        numbers.multiple(c.keys.place("rope.dimension_count"), n, 4, "4, as some layers rotate half")
    return replace(c, n_rot=tuple(n if s else n // 2 for n, s in zip(c.n_rot, c.swa_layers, strict=True)))


SPECS = {
    "step35": Spec(
        "Step 3.5 Flash",
        rope="halves",
        window=_window,
        adapt_config=_half,
        local_base="own or 10000",
        local_scaling="magnitude",
        local_factors=False,
        experts=ExpertsSpec(gating="sigmoid", normed=False),
        nextn=NextnSpec(normed=False),
    ),
}
