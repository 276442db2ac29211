"""Gemma 3, text (arXiv 2503.19786): norms before and after each block, normed queries and keys, five layers with a window of
512 or 1024 cells for one that sees everything, each kind with its own RoPE base. Norm weights in GGUF files include the +1.

The 27B model (62 layers) scales scores by its embedding a head, not by its head's size.
"""

from localllm.gguf.config import Config
from localllm.model.spec import Spec

_LAYERS_OF_27B = 62


def _attention_scale(config: Config) -> float:
    size = config.n_embd / config.n_head if config.n_layer == _LAYERS_OF_27B else config.n_embd_head_k
    return float(size**-0.5)


SPEC = Spec(
    "gemma3",
    rope="halves",
    activation="gelu",
    embedding_factor=lambda config: config.n_embd**0.5,
    attention_scale=_attention_scale,
    swa_period=6,
    rope_freq_base_local=10000.0,
    refused_keys=("final_logit_softcapping", "attn_logit_softcapping", "expert_count"),
)
