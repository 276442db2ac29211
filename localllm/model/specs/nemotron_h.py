"""Nemotron-H (arXiv 2504.03624) and Nemotron 3: each layer is a single block: Mamba-2, attention without RoPE, or a
feed-forward block, plain with a squared ReLU or of experts; all have their norm in attn_norm. The experts of Nemotron 3
Super work on rows of a shorter, latent form.
"""

from dataclasses import replace

from localllm.gguf.config import Config
from localllm.model.spec import ExpertsSpec, Spec


def _mixers(c: Config, i: int) -> tuple[str, ...]:
    """A layer with a feed-forward length has nothing else, whatever its number of heads (llama.cpp, nemotron-h.cpp)."""
    if c.n_ff[i]:
        return ()
    return ("attention",) if c.n_head_kv[i] else ("mamba2",)


def _epsilon(spec: Spec, c: Config) -> Spec:
    """Files may have that of LayerNorm alone."""
    key = "attention.layer_norm_epsilon"
    return replace(spec, eps_default=c.keys.real(key)) if c.keys.has(key) else spec


_NEMOTRON_H = Spec(
    "Nemotron-H, Nemotron Nano 2",
    rope="none",
    mixers=_mixers,
    ffn_norm="attn_norm",
    activation="relu2",
    adapt=_epsilon,
)

SPECS = {
    "nemotron_h": _NEMOTRON_H,
    "nemotron_h_moe": replace(
        _NEMOTRON_H,
        about="Nemotron 3 Nano, Super",
        experts=ExpertsSpec(gating="sigmoid", normed=False, activation="relu2"),
    ),
}
