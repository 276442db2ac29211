"""LFM2 (Liquid AI's model cards): layers of gated short convolutions between layers of attention. Layers without
key-value heads are convolutions. Where a file of the dense ones has a window, all its attention has it.
"""

from dataclasses import replace

from localllm.gguf.config import Config
from localllm.model.spec import ExpertsSpec, Spec, sliding


def _mixers(c: Config, i: int) -> tuple[str, ...]:
    return ("attention",) if c.n_head_kv[i] else ("short_conv",)


_LFM2 = Spec("LFM2 350M to 2.6B, LFM2-VL, text", rope="halves", mixers=_mixers, output_norm="token_embd_norm")

SPECS = {
    "lfm2": replace(_LFM2, window=sliding(0)),
    "lfm2moe": replace(_LFM2, about="LFM2 8B-A1B", experts=ExpertsSpec(gating="sigmoid")),
}
