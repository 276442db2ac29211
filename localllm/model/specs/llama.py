"""Llama 1 to 3 and what shares their shape: Mistral 7B, SmolLM 1 and 2, TinyLlama, Yi (arXiv 2302.13971, 2407.21783).

Llama 3's frequency factors are the tensor rope_freqs.weight. GGUF files hold queries and keys permuted for adjacent pairs.
"""

from localllm.model.spec import Spec

SPEC = Spec("llama", rope="adjacent", refused_keys=("expert_count",))
