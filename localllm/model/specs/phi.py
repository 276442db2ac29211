"""Phi 2 to 4 and Phi 3.5 MoE (model cards; arXiv 2404.14219): Phi 2 has parallel attention and feed-forward blocks.
LongRoPE's two sets of factors (rope_factors_long and _short) are chosen by the context's length. Windows that a file
names are not used, as llama.cpp does not.
"""

from localllm.model.spec import Spec

SPECS = {
    "phi2": Spec("Phi 1.5 and 2", rope="halves", norm="layer", activation="gelu", parallel=lambda c, has_norm: True),
    "phi3": Spec("Phi 3, 3.5 and 4", rope="halves"),
    "phimoe": Spec("Phi 3.5 MoE", rope="halves"),
}
