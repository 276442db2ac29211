"""Qwen3-Next and Qwen 3.5 (model cards; arXiv 2412.06464 for the delta-net, 2505.06708 for gated attention): three
layers of a gated delta-net, then one of attention whose results each head multiplies by a gate of its own.

Qwen 3.8 Flash Next (model card; llama.cpp's qwen4exp.cpp) has several residual streams, attention that is sparse by
groups, and a layer that takes up embeddings of n-grams.
"""

from dataclasses import replace

from localllm.gguf.config import Config
from localllm.model.spec import NextnSpec, Spec


def _mixers(c: Config, i: int) -> tuple[str, ...]:
    """The file lists its recurrent layers, or says how many layers there are to one of attention."""
    key = "attention.recurrent_layers"
    if c.keys.has(key):
        recurrent = bool(c.keys.per_layer(key, c.n_block)[i])
    else:
        recurrent = (i + 1) % c.keys.integer("full_attention_interval", 4) != 0
    return ("delta_net",) if recurrent else ("attention",)


def _attends(spec: Spec) -> Spec:
    return replace(spec, mixers=lambda c, i: ("attention",))


_NEXT = Spec(
    "Qwen3-Next, Qwen3-Coder-Next",
    rope="halves",
    mixers=_mixers,
    ffn_norm="post_attention_norm",
    q_gate=True,
    nextn=NextnSpec(adapt=_attends),
)


def _mixers_of_flash(c: Config, i: int) -> tuple[str, ...]:
    """The file names the layer of n-grams."""
    has_ngrams = c.keys.has("ple.layers") and i in c.keys.file.get_array(c.keys.full("ple.layers"), int)
    (kind,) = _mixers(c, i)
    mixer = "group_sparse" if kind == "attention" else kind
    return ("ngram_embedding", mixer) if has_ngrams else (mixer,)


SPECS = {
    "qwen3next": _NEXT,
    "qwen35": replace(_NEXT, about="Qwen 3.5 and 3.6, text", sections="interleaved"),
    "qwen35moe": replace(_NEXT, about="Qwen 3.5 and 3.6 MoE, text", sections="interleaved"),
    "qwen4exp": replace(
        _NEXT,
        about="Qwen 3.8 Flash Next, text",
        sections="interleaved",
        mixers=_mixers_of_flash,
        stack="gated_streams",
        pre_norm=False,
        output_norm="",
        nextn=None,
        delta_gate="sigmoid",
    ),
}
