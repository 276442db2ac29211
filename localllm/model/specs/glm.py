"""GLM 4 and 4.5 (arXiv 2406.12793, 2508.06471): RoPE on half of each head; the dense one has norms before and after
each block, and its gate fused with the other matrix. GLM 4.5 has leading dense layers and a bias for the choice of
experts. Files of models with vision have M-RoPE sections, whose pairs lie in halves.
"""

from localllm.model.spec import ExpertsSpec, NextnSpec, Spec, with_sections

SPECS = {
    "glm4": Spec("GLM 4 0414", rope="adjacent", sections="blocks", adapt=with_sections),
    "glm4moe": Spec(
        "GLM 4.5 and 4.6",
        rope="halves",
        sections="blocks",
        ffn_norm="post_attention_norm",
        experts=ExpertsSpec(gating="sigmoid", normed=False),
        nextn=NextnSpec(),
    ),
}
