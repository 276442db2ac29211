"""Falcon-H1 (arXiv 2507.22448): attention and Mamba-2 in parallel in each layer, on the same normed input. The
factors of its parametrization are folded into the matrices when a file is made; a file with factors of its own, made by
an early fork of llama.cpp, is refused.
"""

from localllm.model.spec import Spec

SPECS = {
    "falcon-h1": Spec(
        "Falcon-H1",
        rope="halves",
        mixers=lambda c, i: ("attention", "mamba2"),
        unused=(r"rope_freqs\.weight", r"blk\.\d+\.attn_output\.bias"),
        refused_keys=("ssm.has_mup", "mlp_gate_multiplier", "mlp_down_multiplier"),
    ),
}
