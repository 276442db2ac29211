"""Granite 3 and 4 (model cards): like Llama, with factors on the embedding, the blocks' results, the scores and the
logits; most layers of the hybrids (Granite 4 H, Bamba), those without key-value heads, are Mamba-2. MiniCPM (arXiv
2404.06395) has the same factors, from the width and depth.
"""

from dataclasses import replace

from localllm.gguf.config import Config, Keys, Window
from localllm.model.spec import Spec


def _logits(c: Config) -> float:
    return 1.0 / c.keys.real("logit_scale")


def _embedding(c: Config) -> float:
    return c.keys.number("embedding_scale", 0.0) or 1.0


def _residual(c: Config) -> float:
    return c.keys.number("residual_scale", 0.0) or 1.0


def _scale(c: Config, i: int) -> float:
    return c.keys.number("attention.scale", 0.0) or float(c.n_embd_head_k[i] ** -0.5)


def _turns(c: Config, i: int) -> bool:
    """A file that says that RoPE was not tuned means that there is none (llama.cpp, granite.cpp)."""
    return c.keys.flag("rope.scaling.finetuned", True)


def _some_turn(c: Config, i: int) -> bool:
    pattern = c.keys.flags("attention.rope_pattern", c.n_block)
    return pattern is None or pattern[i % c.n_block]


def _hybrid_logits(c: Config) -> float:
    return 1.0 / (c.keys.number("logit_scale", 0.0) or 1.0)


def _hybrid_mixers(c: Config, i: int) -> tuple[str, ...]:
    return ("attention",) if c.n_head_kv[i] else ("mamba2",)


def _window(keys: Keys, n_layer: int) -> Window | None:
    return Window(keys.integer("attention.sliding_window", low=1), period=1)


_GRANITE = Spec(
    "Granite 3 and 4",
    rope="adjacent",
    embedding_factor=_embedding,
    residual_factor=_residual,
    logit_factor=_logits,
    attention_scale=_scale,
)

SPECS = {
    "granite": replace(_GRANITE, rope_layers=_turns),
    "granitemoe": replace(_GRANITE, about="Granite 3 MoE"),
    "granitehybrid": replace(
        _GRANITE, about="Granite 4 H, Bamba", mixers=_hybrid_mixers, rope_layers=_turns, logit_factor=_hybrid_logits
    ),
    "granite_swa": replace(
        _GRANITE,
        about="Granite with windows",
        rope_layers=_some_turn,
        window=_window,
        local_base="same",
    ),
    "minicpm": Spec(
        "MiniCPM 1 and 2",
        rope="adjacent",
        embedding_factor=lambda c: c.keys.real("embedding_scale", 12.0),
        residual_factor=lambda c: c.keys.real("residual_scale", 1.4 / c.n_layer**0.5),
        logit_factor=lambda c: 1.0 / c.keys.real("logit_scale", 256.0 / c.n_embd),
    ),
}
