"""Llama 4 (model card and its reference code): three layers with chunked attention (8192 positions) for one with full
attention, which has no RoPE (NoPE), and whose queries are scaled by position. One expert is chosen by a sigmoid, which
multiplies its input. Queries and keys are normed after RoPE, without weights (not in the model of 128 experts).
"""

from localllm.gguf.config import Config, Keys, Window
from localllm.model.spec import ExpertsSpec, Spec

_CHUNK = 8192
_FULL_EVERY = 4


def _window(keys: Keys, n_layer: int) -> Window | None:
    """A window of 0 in the file says that there are none; otherwise its size is ignored (llama.cpp,
    llama4.cpp)."""
    if keys.has("attention.sliding_window") and not keys.integer("attention.sliding_window"):
        return None
    return Window(_CHUNK, _FULL_EVERY, chunked=True)


def _turns(c: Config, i: int) -> bool:
    return c.window is None or (i + 1) % _FULL_EVERY != 0


SPECS = {
    "llama4": Spec(
        "Llama 4 Scout, Maverick",
        rope="adjacent",
        window=_window,
        rope_layers=_turns,
        temperature=lambda c, i: None if _turns(c, i) else (_CHUNK, 0.1, 1),
        qk_norm_after_rope=True,
        qk_norm_always=lambda c, i: _turns(c, i) and c.n_expert != 128,
        experts=ExpertsSpec(gating="sigmoid", normed=False, weight_before=True),
    )
}
