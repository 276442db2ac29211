"""Hunyuan dense (model card), with vision or without: queries and keys are normed after RoPE, and a factor alpha
raises RoPE's base (NTK-aware scaling). With vision, pairs are shared among positions.
"""

from dataclasses import replace

from localllm.gate import numbers
from localllm.gguf.config import Config
from localllm.model.spec import Spec


def _base(c: Config) -> float:
    alpha, dim = c.keys.number("rope.scaling.alpha", 0.0), c.n_embd_head_k[0]
    numbers.at_least(c.keys.place("attention.key_length"), dim, 3)
    return c.rope_freq_base * (alpha ** (dim / (dim - 2)) if alpha > 0 else 1.0)


_DENSE = Spec("Hunyuan 0.5B to 7B", rope="halves", qk_norm_after_rope=True, rope_base=_base)

SPECS = {
    "hunyuan-dense": _DENSE,
    "hunyuan_vl": replace(_DENSE, about="Hunyuan OCR, text", sections="blocks"),
}
