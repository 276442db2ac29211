"""HRM-Text (arXiv 2506.21734; DFM Mimir): two stacks of layers alternate over the same tokens, again and again. The
file holds each stack once, the low one first; norms have no weights, and attention has a gate.
"""

from localllm.gguf.config import Config
from localllm.model.spec import Spec


def _block(c: Config, i: int) -> int:
    """Layer i is one of an application of the low stack's blocks, or of the high one's."""
    per_stack = c.keys.integer("hrm.layers_per_stack", high=c.n_layer)
    l_cycles = c.keys.integer("hrm.l_cycles", high=c.n_layer)
    is_high = i // per_stack % (l_cycles + 1) == l_cycles
    return i % per_stack + (per_stack if is_high else 0)


SPECS = {
    "hrm_text": Spec(
        "HRM-Text",
        rope="halves",
        norm_weights=False,
        block=_block,
        stack="hrm",
        embedding_factor=lambda c: c.keys.number("embedding_scale", 0.0) or 1.0,
    )
}
