"""Architectures of Hugging Face checkpoints that are converted: one row of `ARCHITECTURES` each.

What is written for each is what llama.cpp's conversion/*.py writes (MIT): the same keys with the same types, the same
tensors. Where a config.json leaves out what the class in transformers has a default for, `defaults` has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from localllm.errors import UnsupportedError
from localllm.quantize.source import Typed, typed
from localllm.quantize.sources import tensor_names as names
from localllm.quantize.sources.json_file import Config
from localllm.quantize.sources.tensor_names import Row

if TYPE_CHECKING:
    import numpy as np

Keys = dict[str, Any]
"""Keys without the architecture's name -> int, float, bool, str, or a list of one of them."""


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


def _rope_parameters(c: Config) -> tuple[Config, float | None]:
    """(what rope_parameters, or rope_scaling before transformers 5, says of full attention, theta of the windows)."""
    rope = c.inner("rope_parameters", "rope_scaling")
    full, sliding = rope.inner("full_attention"), rope.inner("sliding_attention")
    local = sliding.values.get("rope_theta", c.values.get("rope_local_base_freq"))
    values = {key: c.values[key] for key in ("rope_theta", "partial_rotary_factor") if key in c.values} | rope.values
    if "original_max_position_embeddings" in c.values:
        values.setdefault("original_max_position_embeddings", c.values["original_max_position_embeddings"])
    values.update(full.values)
    if "rope_type" not in values and "type" in values:
        values["rope_type"] = values["type"]
    return Config(c.path, values), None if local is None else Config(c.path, {"t": local}).number("t")


def head_dim(c: Config) -> int:
    """Elements of a head."""
    n_embd, n_head = c.integer("hidden_size"), c.integer("num_attention_heads")
    if "head_dim" not in c.values and n_embd % n_head:
        raise c.fail("num_attention_heads", f"is {n_head}, must divide hidden_size, {n_embd}")
    return c.integer("head_dim", high=1 << 16, default=n_embd // n_head)


_SCALINGS = {"linear": "linear", "yarn": "yarn", "su": "longrope", "longrope": "longrope"}
_YARN = {
    "extrapolation_factor": "yarn_ext_factor",
    "attention_factor": "attn_factor",
    "attn_factor": "attn_factor",
    "beta_fast": "yarn_beta_fast",
    "beta_slow": "yarn_beta_slow",
}


def _rope(c: Config) -> Keys:
    """Rotation: base, and how angles are stretched beyond the context of training."""
    rope, local = _rope_parameters(c)
    keys: Keys = {}
    kind = rope.text("rope_type", "default").lower()
    if kind not in (*_SCALINGS, "default", "llama3"):
        raise UnsupportedError(f"{c.path}: rope_type {kind!r:.40} is not supported: {', '.join(_SCALINGS)}, llama3 are")
    if kind in _SCALINGS:
        keys["rope.scaling.type"] = _SCALINGS[kind]
    if kind in ("linear", "yarn"):
        keys["rope.scaling.factor"] = rope.number("factor")
    if kind == "yarn":
        keys["rope.scaling.original_context_length"] = rope.integer("original_max_position_embeddings")
        for key, ours in _YARN.items():
            if key in rope.values:
                keys.setdefault(f"rope.scaling.{ours}", rope.number(key))
    if "rope_theta" in rope.values:
        keys["rope.freq_base"] = rope.number("rope_theta")
    if local is not None:
        keys["rope.freq_base_swa"] = local
    return keys


def _dimensions(c: Config) -> Keys:
    keys: Keys = {
        "block_count": c.integer("num_hidden_layers", high=4096),
        "context_length": c.integer("max_position_embeddings"),
        "embedding_length": c.integer("hidden_size"),
        "feed_forward_length": c.integer("intermediate_size"),
        "attention.head_count": c.integer("num_attention_heads"),
        "attention.head_count_kv": c.integer("num_key_value_heads", default=c.integer("num_attention_heads")),
        "attention.layer_norm_rms_epsilon": c.number("rms_norm_eps"),
    }
    if "head_dim" in c.values:
        keys |= {"attention.key_length": head_dim(c), "attention.value_length": head_dim(c)}
    return keys


def common(c: Config) -> Keys:
    """What TextModel.set_gguf_parameters of conversion/base.py writes, for the architectures below."""
    keys = _dimensions(c) | _rope(c)
    if "num_local_experts" in c.values or "num_experts" in c.values:
        keys["expert_count"] = c.integer("num_local_experts", "num_experts", high=1024)
        keys["expert_used_count"] = c.integer("num_experts_per_tok", high=1024)
    return keys


def _llama(c: Config) -> Keys:
    return common(c) | {"vocab_size": c.integer("vocab_size"), "rope.dimension_count": head_dim(c)}


def _granite(c: Config) -> Keys:
    without_head_dim = Config(c.path, {key: value for key, value in c.values.items() if key != "head_dim"})
    keys = _llama(without_head_dim)
    scales = {
        "attention.scale": "attention_multiplier",
        "embedding_scale": "embedding_multiplier",
        "residual_scale": "residual_multiplier",
        "logit_scale": "logits_scaling",
    }
    return keys | {ours: c.number(key) for ours, key in scales.items() if c.number(key, default=0.0)}


def _smollm3(c: Config) -> Keys:
    rotated = c.values.get("no_rope_layers")
    if rotated is not None and rotated != [int(i % 4 != 3) for i in range(c.integer("num_hidden_layers", high=4096))]:
        raise UnsupportedError(
            f"{c.path}: key no_rope_layers: a GGUF file has every fourth layer without RoPE, no other"
        )
    return _llama(c)


def _qwen3_moe(c: Config) -> Keys:
    if not c.flag("norm_topk_prob", False):
        raise UnsupportedError(f"{c.path}: key norm_topk_prob: is false; in a GGUF file weights of experts add up to 1")
    return common(c) | {"expert_feed_forward_length": c.integer("moe_intermediate_size")}


def _gemma2(c: Config) -> Keys:
    return _dimensions(c) | {
        "attn_logit_softcapping": c.number("attn_logit_softcapping"),
        "final_logit_softcapping": c.number("final_logit_softcapping"),
        "attention.sliding_window": c.integer("sliding_window"),
    }


def _gemma3(c: Config) -> Keys:
    if c.values.get("attn_logit_softcapping") is not None:
        raise c.fail("attn_logit_softcapping", "is set, which Gemma 3 does not have")
    keys = common(c)
    if c.number("final_logit_softcapping", default=0.0):
        keys["final_logit_softcapping"] = c.number("final_logit_softcapping")
    if c.values.get("sliding_window_pattern") != 1:
        keys["attention.sliding_window"] = c.integer("sliding_window")
    return keys


def _phi3(c: Config) -> Keys:
    rope, _ = _rope_parameters(c)
    keys = {key: value for key, value in _dimensions(c).items() if not key.endswith(("key_length", "value_length"))}
    keys |= {
        "rope.scaling.original_context_length": rope.integer("original_max_position_embeddings"),
        "rope.dimension_count": _phi3_rotated(c),
        "rope.freq_base": rope.number("rope_theta"),
        "attention.sliding_window": c.integer("sliding_window", default=0, low=0),
    }
    if rope.values.get("long_factor"):
        keys["rope.scaling.attn_factor"] = _phi3_attention(c, rope)
    return keys


def _phi3_rotated(c: Config) -> int:
    part = _rope_parameters(c)[0].number("partial_rotary_factor", default=1.0)
    return int(part * c.integer("hidden_size")) // c.integer("num_attention_heads")


def _phi3_attention(c: Config, rope: Config) -> float:
    """Factor of the scores beyond the context of training: LongRoPE (arXiv:2402.13753), or YaRN."""
    trained = rope.integer("original_max_position_embeddings", low=2)
    scale = c.integer("max_position_embeddings") / trained
    kind = rope.text("rope_type").lower()
    if kind not in ("su", "longrope", "yarn"):
        raise UnsupportedError(f"{c.path}: rope_type {kind!r:.40} with long_factor: must be longrope, su or yarn")
    if scale <= 1.0:
        return 1.0
    return 0.1 * math.log(scale) + 1.0 if kind == "yarn" else math.sqrt(1 + math.log(scale) / math.log(trained))


def _phi3_factors(c: Config) -> dict[str, np.ndarray]:
    import numpy as np

    rope, _ = _rope_parameters(c)
    if not rope.values.get("long_factor"):
        return {}
    return {
        f"rope_factors_{which}.weight": np.array(rope.numbers(f"{which}_factor", _phi3_rotated(c) // 2), np.float32)
        for which in ("long", "short")
    }


def _llama3_factors(c: Config) -> dict[str, np.ndarray]:
    """rope_freqs: by which each frequency is divided, for checkpoints with the rope_type llama3.

    Long wavelengths are divided by `factor`, short ones by 1, those between by something between, as in
    generate_extra_tensors of llama.cpp's conversion/llama.py.
    """
    import numpy as np

    rope, _ = _rope_parameters(c)
    if rope.text("rope_type").lower() != "llama3":
        return {}
    factor, dim = rope.number("factor", default=8.0), head_dim(c)
    low, high = rope.number("low_freq_factor", default=1.0), rope.number("high_freq_factor", default=4.0)
    trained = rope.integer("original_max_position_embeddings", default=8192)
    base = rope.number("rope_theta", default=10000.0)
    if factor <= 0 or base <= 0 or not 0 < low < high:
        raise c.fail("rope_scaling", "must have factor above 0 and 0 < low_freq_factor < high_freq_factor")
    exponents = np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)
    wavelengths = np.float32(2 * math.pi) * np.power(np.float32(base), exponents)
    smooth = (trained / wavelengths - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    factors = np.where(wavelengths < trained / high, 1.0, np.where(wavelengths > trained / low, factor, between))
    return {"rope_freqs.weight": factors.astype(np.float32)}


def _olmo2(c: Config) -> Keys:
    keys = common(c)
    if "sliding_window" in c.values:
        n_layer = c.integer("num_hidden_layers", high=4096)
        kinds = c.strings("layer_types", n_layer)
        pattern = [kind == "sliding_attention" for kind in kinds] if kinds else [i % 4 != 3 for i in range(n_layer)]
        keys |= {
            "attention.sliding_window": c.integer("sliding_window"),
            "attention.sliding_window_pattern": pattern,
        }
        keys.setdefault("rope.freq_base_swa", keys["rope.freq_base"])
    return keys


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
    _llama,
    names.LLAMA,
    permute=True,
    factors=_llama3_factors,
    defaults=_LLAMA_DEFAULTS,
    space_prefix_of_config=True,
)
_GEMMA3 = Architecture(
    "gemma3",
    _gemma3,
    names.GEMMA3,
    norm_shift=1.0,
    activation=_GELU,
    add_space_prefix=False,
    defaults=_GEMMA3_DEFAULTS,
)
_OLMO2 = Architecture("olmo2", _olmo2, names.OLMO2, defaults=_LLAMA_DEFAULTS | {"rms_norm_eps": 1e-5})


def _like_llama(name: str, keys: Callable[[Config], Keys] = _llama, **defaults: Any) -> Architecture:
    return Architecture(
        name,
        keys,
        names.LLAMA,
        permute=True,
        factors=_llama3_factors,
        defaults=_LLAMA_DEFAULTS | defaults,
        space_prefix_of_config=True,
    )


ARCHITECTURES: dict[str, Architecture] = {
    "LlamaForCausalLM": _LLAMA,
    "MistralForCausalLM": _like_llama("llama", max_position_embeddings=131072, num_key_value_heads=8),
    "MixtralForCausalLM": Architecture(
        "llama",
        _llama,
        names.MIXTRAL,
        permute=True,
        space_prefix_of_config=True,
        defaults=_LLAMA_DEFAULTS | {"rms_norm_eps": 1e-5, "rope_theta": 1000000.0, "num_key_value_heads": 8},
    ),
    "SmolLM3ForCausalLM": _like_llama("smollm3", _smollm3, rope_theta=2000000.0),
    "GraniteForCausalLM": _like_llama("granite", _granite),
    "Qwen2ForCausalLM": Architecture("qwen2", common, names.QWEN, defaults=_QWEN_DEFAULTS),
    "Qwen3ForCausalLM": Architecture("qwen3", common, names.QWEN, defaults=_QWEN_DEFAULTS | {"head_dim": 128}),
    "Qwen3MoeForCausalLM": Architecture("qwen3moe", _qwen3_moe, names.QWEN_MOE, defaults=_QWEN_DEFAULTS),
    "Gemma2ForCausalLM": Architecture(
        "gemma2",
        _gemma2,
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
        _phi3,
        names.PHI3,
        factors=_phi3_factors,
        added_of_tokenizer_json=True,
        defaults={"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "original_max_position_embeddings": 4096},
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
