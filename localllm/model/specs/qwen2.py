"""Qwen 2 and 2.5 (arXiv 2407.10671, 2412.15115): Llama's shape with biases on queries, keys and values."""

from localllm.model.spec import Spec

SPEC = Spec("qwen2", rope="halves", refused_keys=("expert_count",))
