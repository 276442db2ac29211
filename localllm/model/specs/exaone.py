"""EXAONE 4 (arXiv 2507.11407), with norms after each block and on queries and keys, and its experts. Where layers have
windows, those with full attention have no RoPE (NoPE).
"""

from localllm.gguf.config import Keys, Window
from localllm.model.spec import ExpertsSpec, Spec, sliding

_LAYERS_OF_32B = 64


def _window(keys: Keys, n_layer: int) -> Window | None:
    return sliding(4, 4096)(keys, n_layer) if n_layer == _LAYERS_OF_32B else None


SPECS = {
    "exaone4": Spec(
        "EXAONE 4",
        rope="halves",
        pre_norm=False,
        window=_window,
        rope_layers=lambda c, i: c.window is None or c.swa_layers[i],
    ),
    "exaone-moe": Spec(
        "EXAONE MoE",
        rope="halves",
        window=sliding(4, 128),
        rope_layers=lambda c, i: c.swa_layers[i],
        experts=ExpertsSpec(gating="sigmoid", normed=False),
    ),
}
