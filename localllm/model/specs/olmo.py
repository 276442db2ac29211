"""OLMo 1 to 3 and OLMoE (arXiv 2402.00838, 2501.00656, 2409.02060). The first norms without weights; the second and
third norm after each block, and queries and keys as whole rows; the third has windows, whose layers do not scale RoPE.
"""

from localllm.model.spec import ExpertsSpec, Spec, sliding

SPECS = {
    "olmo": Spec("OLMo 1", rope="adjacent", norm="layer", norm_weights=False),
    "olmo2": Spec(
        "OLMo 2 and 3", rope="halves", pre_norm=False, window=sliding(4), local_base="same", local_scaling="none"
    ),
    "olmoe": Spec("OLMoE", rope="halves", experts=ExpertsSpec(normed=False)),
}
