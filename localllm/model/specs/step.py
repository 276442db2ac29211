"""Step 3.5 (model card): layers with sliding windows, which have their own number of heads and RoPE on all of each,
between layers with full attention and RoPE on half of each head; a gate a head; activations clamped by a limit of
each layer.
"""

from dataclasses import replace

from localllm.gguf.config import Config, Keys, Window
from localllm.model.spec import ExpertsSpec, Spec


def _window(keys: Keys, n_layer: int) -> Window:
    """Windows that the file must describe."""
    if keys.flags("attention.sliding_window_pattern", n_layer) is None:
        raise keys.fail("attention.sliding_window_pattern", "must be a list")
    return Window(keys.integer("attention.sliding_window", 1, (1 << 31) - 1), period=1)


def _half(c: Config) -> Config:
    """The file's number of elements with RoPE is that of layers with windows (llama.cpp, step35.cpp)."""
    if any(n % 4 for n, s in zip(c.n_rot, c.swa_layers, strict=True) if not s):
        raise c.keys.fail("rope.dimension_count", f"is {c.n_rot[0]}, must be a multiple of 4: some layers rotate half")
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
    ),
}
