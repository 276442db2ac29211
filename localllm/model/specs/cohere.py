"""Command R, Command A and their experts (model cards): parallel attention and feed-forward blocks behind one norm,
logits scaled. The second generation has three layers with sliding windows for one with full attention and no RoPE
(NoPE).
"""

from dataclasses import replace

from localllm.gguf.config import Config
from localllm.model.spec import ExpertsSpec, Spec, sliding


def _norm_of_file(spec: Spec, c: Config) -> Spec:
    """The file's epsilon tells which norm it is."""
    rms = c.keys.number("attention.layer_norm_rms_epsilon", 0.0) > 0
    return replace(spec, norm="rms" if rms else "layer")


def _dense_or_local(c: Config, i: int) -> bool:
    return c.swa_layers[i] or i < c.keys.integer("leading_dense_block_count", 0, high=c.n_layer)


SPECS = {
    "command-r": Spec(
        "Command R and R+, Aya",
        rope="adjacent",
        norm="layer",
        parallel=lambda c, has_norm: True,
        logit_factor=lambda c: c.keys.number("logit_scale", 0.0) or 1.0,
    ),
    "cohere2": Spec(
        "Command R7B, Command A",
        rope="adjacent",
        norm="layer",
        parallel=lambda c, has_norm: True,
        window=sliding(4),
        rope_layers=lambda c, i: c.swa_layers[i],
        local_base="same",
        logit_factor=lambda c: c.keys.real("logit_scale"),
    ),
    "cohere2moe": Spec(
        "Command A MoE",
        rope="adjacent",
        parallel=lambda c, has_norm: True,
        window=sliding(4, dense_first=True),
        rope_layers=_dense_or_local,
        local_base="same",
        logit_factor=lambda c: c.keys.real("logit_scale"),
        experts=ExpertsSpec(gating="sigmoid", normed=False, factor=0.5),
        adapt=_norm_of_file,
    ),
}
