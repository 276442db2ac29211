"""Qwen 2, 2.5 and 3 (arXiv 2407.10671, 2412.15115, 2505.09388): like Llama; biases on queries, keys and values in the
second generation, query and key norms in the third. Qwen 2's experts keep their share of the whole softmax, and shared
ones have a gate of their own. RND1 is Qwen 3 with bidirectional attention.
"""

from localllm.model.spec import ClassifierSpec, ExpertsSpec, Spec

SPECS = {
    "qwen2": Spec("Qwen 2 and 2.5, Qwen2.5-Coder", rope="halves"),
    "qwen2moe": Spec("Qwen 1.5 and 2 MoE", rope="halves", experts=ExpertsSpec(normed=False)),
    "qwen3": Spec("Qwen 3", rope="halves", classifier=ClassifierSpec(softmax=True)),
    "qwen3moe": Spec("Qwen 3 MoE, Qwen3-Coder", rope="halves"),
    "rnd1": Spec("RND1", rope="halves", causal=False),
}
