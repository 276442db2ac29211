"""T5's encoder (arXiv 1910.10683, 2210.11416): alone, or of a file that also has the decoder, which is ignored.
Scores are not scaled, and have a bias by head for the bucket that a cell's distance falls into. Feed-forward blocks are
plain with a ReLU, or gated by a GELU.
"""

from dataclasses import replace

from localllm.gguf.config import Config
from localllm.model.spec import Spec


def _activation(spec: Spec, c: Config) -> Spec:
    is_gated = f"{spec.prefix}blk.0.ffn_gate.weight" in c.keys.file.tensors
    return replace(spec, activation="gelu" if is_gated else "relu")


_ENCODER = Spec(
    "T5 encoders",
    rope="none",
    causal=False,
    logits=False,
    prefix="enc.",
    output_norm="enc.output_norm",
    attn_output="attn_o",
    attention_scale=lambda c, i: 1.0,
    unused=(r"output\.weight", r"dec\..*"),
    adapt=_activation,
)

SPECS = {"t5encoder": _ENCODER, "t5": replace(_ENCODER, about="T5 and Flan-T5, the encoder")}
