"""Apertus (arXiv 2509.14233): like Llama, with query and key norms and, in place of a gated feed-forward block, xIELU
(arXiv 2411.13010), whose parameters are trained layer by layer. They are in the metadata, not under the architecture's
name.
"""

import math

from localllm.gguf.config import Config
from localllm.model.spec import Spec


def _softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def _xielu(c: Config, i: int) -> tuple[float, ...]:
    """Factors above and below 0, that of the line, and the point past which e**x is held."""
    above, below, line, point = (
        c.keys.numbers_per_layer(f"xielu.{name}", c.n_block)[i] for name in ("alpha_p", "alpha_n", "beta", "eps")
    )
    return _softplus(above), line + _softplus(below), line, point


SPECS = {
    "apertus": Spec("Apertus", rope="halves", activation="xielu", activation_numbers=_xielu),
}
