"""Architectures of Hugging Face checkpoints that are converted: one row of `ARCHITECTURES` each.

What is written for each is what llama.cpp's conversion/*.py writes (MIT): the same keys with the same types, the same
tensors. Where a config.json leaves out what the class in transformers has a default for, `defaults` has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from localllm.errors import UnsupportedError
from localllm.quantize.source import Typed, typed
from localllm.quantize.sources import hyperparameters
from localllm.quantize.sources import tensor_names as names
from localllm.quantize.sources.json_file import Config
from localllm.quantize.sources.tensor_names import Row

if TYPE_CHECKING:
    import numpy as np

Keys = hyperparameters.Keys


@dataclass(frozen=True)
class Architecture:
    """One row: how a class of transformers is written as a GGUF architecture."""

    name: str
    """general.architecture"""
    keys: Callable[[Config], Keys]
    layer: Mapping[str, Row]
    """Tensors of a layer: name within the layer -> row."""
    permute: bool = False
    """Rows of attn_q and attn_k go from halves (transformers' rotation) to pairs (that of the original Llama)."""
    norm_shift: float = 0.0
    """Added to the weights of norms: Gemma's are stored less 1."""
    has_output: bool = True
    """lm_head is a tensor of its own where the checkpoint has it. Otherwise it is left out: it is the embedding."""
    ternary: bool = False
    """Matrices of layers are trained to be -d, 0 or d, and stored as they were before they are rounded to that."""
    add_space_prefix: bool | None = None
    """tokenizer.ggml.add_space_prefix, whatever the tokenizer's files say."""
    space_prefix_of_config: bool = False
    """That key is add_prefix_space of tokenizer_config.json, where it is there."""
    added_of_tokenizer_json: bool = False
    """Added tokens of tokenizer.json count beside a tokenizer.model, too."""
    factors: Callable[[Config], dict[str, np.ndarray]] = field(default=lambda c: {})
    """Tensors that come from config.json: name -> float32."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    activation: str = "silu"


_GELU = "gelu_pytorch_tanh"
_LLAMA_DEFAULTS = {"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "max_position_embeddings": 2048}
_GEMMA3_DEFAULTS = {
    "max_position_embeddings": 131072,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "rope_local_base_freq": 10000.0,
    "sliding_window": 4096,
    "vocab_size": 262208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
}
_GEMMA2_DEFAULTS = {
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "sliding_window": 4096,
    "rms_norm_eps": 1e-6,
    "head_dim": 256,
}
_QWEN_DEFAULTS = {"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "max_position_embeddings": 32768}

_LLAMA = Architecture(
    "llama",
    hyperparameters.llama_with_heads,
    names.LLAMA,
    permute=True,
    factors=hyperparameters.llama3_factors,
    defaults=_LLAMA_DEFAULTS,
    space_prefix_of_config=True,
)
_GEMMA3 = Architecture(
    "gemma3",
    hyperparameters.gemma3,
    names.GEMMA3,
    norm_shift=1.0,
    activation=_GELU,
    add_space_prefix=False,
    defaults=_GEMMA3_DEFAULTS,
)
_OLMO2 = Architecture("olmo2", hyperparameters.olmo2, names.OLMO2, defaults=_LLAMA_DEFAULTS | {"rms_norm_eps": 1e-5})


def _like_llama(name: str, keys: Callable[[Config], Keys] = hyperparameters.llama, **defaults: Any) -> Architecture:
    return Architecture(
        name,
        keys,
        names.LLAMA,
        permute=True,
        factors=hyperparameters.llama3_factors,
        defaults=_LLAMA_DEFAULTS | defaults,
        space_prefix_of_config=True,
    )


ARCHITECTURES: dict[str, Architecture] = {
    "LlamaForCausalLM": _LLAMA,
    "MistralForCausalLM": _like_llama(
        "llama", hyperparameters.llama_with_heads, max_position_embeddings=131072, num_key_value_heads=8
    ),
    "MixtralForCausalLM": Architecture(
        "llama",
        hyperparameters.llama,
        names.MIXTRAL,
        permute=True,
        space_prefix_of_config=True,
        defaults=_LLAMA_DEFAULTS | {"rms_norm_eps": 1e-5, "rope_theta": 1000000.0, "num_key_value_heads": 8},
    ),
    "SmolLM3ForCausalLM": _like_llama("smollm3", hyperparameters.smollm3, rope_theta=2000000.0),
    "GraniteForCausalLM": _like_llama("granite", hyperparameters.granite),
    "Qwen2ForCausalLM": Architecture("qwen2", hyperparameters.common, names.QWEN, defaults=_QWEN_DEFAULTS),
    "Qwen3ForCausalLM": Architecture(
        "qwen3", hyperparameters.common, names.QWEN, defaults=_QWEN_DEFAULTS | {"head_dim": 128}
    ),
    "Qwen3MoeForCausalLM": Architecture("qwen3moe", hyperparameters.qwen3_moe, names.QWEN_MOE, defaults=_QWEN_DEFAULTS),
    "Qwen2MoeForCausalLM": Architecture(
        "qwen2moe", hyperparameters.qwen2_moe, names.QWEN2_MOE, defaults=_QWEN_DEFAULTS
    ),
    "OlmoeForCausalLM": Architecture("olmoe", hyperparameters.olmoe, names.OLMOE, defaults=_LLAMA_DEFAULTS),
    "Gemma2ForCausalLM": Architecture(
        "gemma2",
        hyperparameters.gemma2,
        names.GEMMA2,
        norm_shift=1.0,
        activation=_GELU,
        has_output=False,
        add_space_prefix=False,
        defaults=_GEMMA2_DEFAULTS,
    ),
    "Gemma3ForCausalLM": _GEMMA3,
    "Gemma3ForConditionalGeneration": _GEMMA3,
    "Phi3ForCausalLM": Architecture(
        "phi3",
        hyperparameters.phi3,
        names.PHI3,
        factors=hyperparameters.phi3_factors,
        added_of_tokenizer_json=True,
        defaults={"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "original_max_position_embeddings": 4096},
    ),
    "BitnetForCausalLM": Architecture(
        "bitnet", hyperparameters.bitnet, names.BITNET, ternary=True, defaults=_LLAMA_DEFAULTS
    ),
    "Olmo2ForCausalLM": _OLMO2,
    "Olmo3ForCausalLM": _OLMO2,
}


def read_architecture(path: Any, values: dict[str, Any]) -> tuple[Architecture, Config]:
    """The row and the configuration of the text model that a config.json describes.

    Raises FormatError, or UnsupportedError naming the classes that are converted.
    """
    outer = Config(path, values)
    listed = outer.values.get("architectures")
    if not isinstance(listed, list) or not listed or not isinstance(listed[0], str):
        raise outer.fail("architectures", "must be a list with the name of the model's class")
    if listed[0] not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UnsupportedError(f"{path}: the class {listed[0]!r:.60} is not converted; these are: {known}")
    row = ARCHITECTURES[listed[0]]
    text = outer.inner("text_config").values
    config = Config(path, {**outer.values, **text}, dict(row.defaults))
    key, activation = config.find("hidden_activation", "hidden_act")
    if activation not in (None, row.activation):
        raise UnsupportedError(f"{path}: key {key}: is {activation!r:.40}, a {row.name} model has {row.activation}")
    return row, config


def gguf_keys(row: Architecture, c: Config) -> dict[str, Typed]:
    """The architecture's keys and values, under their full names."""
    return {f"{row.name}.{key}": typed(value) for key, value in row.keys(c).items()}
