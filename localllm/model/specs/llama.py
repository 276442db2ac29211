"""Llama 1 to 3 and models of the same architecture: Mistral and Mixtral, SmolLM 1 and 2, TinyLlama, Yi (arXiv
2302.13971, 2407.21783, 2401.04088). Llama 3's frequency factors are the tensor rope_freqs.weight. GGUF files hold
queries and keys permuted for adjacent pairs.

Ministral 3 (model card) makes attention sharper with the position, past the length it was first trained for.
"""

from localllm.gguf.config import Config
from localllm.model.spec import Spec


def _temperature(c: Config, i: int) -> tuple[int, float, int] | None:
    factor = c.keys.number("attention.temperature_scale", 0.0)
    return (c.scaling.n_ctx_orig, factor, 0) if factor else None


def _gains(c: Config) -> tuple[float, float]:
    return 1.0, c.keys.number("rope.scaling.yarn_log_multiplier", 0.0)


SPECS = {
    "llama": Spec("Llama 1 to 3, Mistral, Mixtral, SmolLM 1 and 2, TinyLlama", rope="adjacent"),
    "llama-embed": Spec("Llama Embed Nemotron", rope="adjacent", logits=False, unused=(r"output\.weight",)),
    "mistral3": Spec(
        "Ministral 3",
        rope="adjacent",
        temperature=_temperature,
        yarn_keys=("beta_fast", "beta_slow"),
        yarn_gains=_gains,
    ),
}
