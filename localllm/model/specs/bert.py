"""Encoders of the BERT family (arXiv 1810.04805), which end in hidden states: embeddings and rerankers.

BERT, RoBERTa and XLM-RoBERTa (BGE, E5, GTE, MiniLM): learned positions, a norm after each block. Nomic (arXiv
2402.01613, 2502.07972): RoPE; gated blocks, or every other layer experts. Jina 2 (arXiv 2310.19923): ALiBi; Jina 3
(arXiv 2409.10173), without its LoRA adapters: RoPE. ModernBERT (arXiv 2412.13663), NeoBERT (arXiv 2502.19587) and
EuroBERT (arXiv 2503.05500): a norm before each block, RoPE, gated blocks; the first with windows in two of three
layers.
"""

from dataclasses import replace

from localllm.gguf.config import Config
from localllm.model.spec import ClassifierSpec, ExpertsSpec, Spec, sliding

_POST_NORM = Spec(
    "",
    rope="halves",
    norm="layer",
    causal=False,
    logits=False,
    pre_norm=False,
    stack="post_norm",
    output_norm="",
    post_attention_norm="attn_output_norm",
    post_ffw_norm="layer_output_norm",
    activation="gelu",
)
_PRE_NORM = Spec("", rope="halves", causal=False, logits=False)

_ACTIVATIONS = {"silu": "silu", "swish": "silu", "swiglu": "silu", "reglu": "relu"}


def _activation(spec: Spec, c: Config) -> Spec:
    """Names that are not known mean GELU (llama.cpp, modern-bert.cpp)."""
    name = c.keys.file.get(c.keys.full("hidden_activation"), str, "gelu")
    return replace(spec, activation=_ACTIVATIONS.get(name, "gelu"))


SPECS = {
    "bert": replace(_POST_NORM, about="BERT, RoBERTa: BGE, E5, GTE, MiniLM", rope="none"),
    "nomic-bert": replace(
        _POST_NORM,
        about="Nomic Embed 1 and 1.5",
        activation="silu",
        unused=(r"blk\.\d+\.ffn_(up|down)\.bias",),
    ),
    "nomic-bert-moe": replace(_POST_NORM, about="Nomic Embed 2", experts=ExpertsSpec(normed=False, activation="gelu")),
    "jina-bert-v2": replace(_POST_NORM, about="Jina Embeddings 2", rope="none", alibi=lambda c: 8.0),
    "jina-bert-v3": replace(_POST_NORM, about="Jina Embeddings 3"),
    "modern-bert": replace(
        _PRE_NORM,
        about="ModernBERT, Granite Embedding R2",
        norm="layer",
        bare_layers=(0,),
        window=sliding(3, dense_first=True, symmetric=True),
        local_base="own or 10000",
        local_scaling="magnitude",
        classifier=ClassifierSpec(pooling="mean", activation="gelu"),
        adapt=_activation,
    ),
    "neo-bert": replace(_PRE_NORM, about="NeoBERT", rope="adjacent", output_norm="enc.output_norm"),
    "eurobert": replace(_PRE_NORM, about="EuroBERT, Jina Embeddings 5 nano"),
}
