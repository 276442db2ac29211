"""What config.json says, as keys of a GGUF file and tensors that follow from it: one function a kind of architecture.

The keys are those of set_gguf_parameters and generate_extra_tensors in llama.cpp's conversion/*.py (MIT).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from localllm.errors import UnsupportedError
from localllm.quantize.sources.json_file import Config

if TYPE_CHECKING:
    import numpy as np

Keys = dict[str, Any]
"""Keys without the architecture's name -> int, float, bool, str, or a list of one of them."""


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


def llama(c: Config) -> Keys:
    return common(c) | {"vocab_size": c.integer("vocab_size"), "rope.dimension_count": head_dim(c)}


def llama_with_heads(c: Config) -> Keys:
    """The length of heads is written even where config.json leaves it to be worked out, as transformers' class does."""
    return llama(c) | {"attention.key_length": head_dim(c), "attention.value_length": head_dim(c)}


def bitnet(c: Config) -> Keys:
    heads = {"attention.key_length": head_dim(c), "attention.value_length": head_dim(c)}
    return common(c) | heads | {"rope.scaling.type": "linear", "rope.scaling.factor": 1.0}


def granite(c: Config) -> Keys:
    without_head_dim = Config(c.path, {key: value for key, value in c.values.items() if key != "head_dim"})
    keys = llama(without_head_dim)
    scales = {
        "attention.scale": "attention_multiplier",
        "embedding_scale": "embedding_multiplier",
        "residual_scale": "residual_multiplier",
        "logit_scale": "logits_scaling",
    }
    return keys | {ours: c.number(key) for ours, key in scales.items() if c.number(key, default=0.0)}


def smollm3(c: Config) -> Keys:
    rotated = c.values.get("no_rope_layers")
    if rotated is not None and rotated != [int(i % 4 != 3) for i in range(c.integer("num_hidden_layers", high=4096))]:
        raise UnsupportedError(
            f"{c.path}: key no_rope_layers: a GGUF file has every fourth layer without RoPE, no other"
        )
    return llama(c)


def _normalized_experts(c: Config, wanted: bool) -> None:
    """Raises UnsupportedError where weights of experts add up to 1, or do not, as no GGUF file of the kind has it."""
    if c.flag("norm_topk_prob", False) != wanted:
        is_so = "add up to 1" if wanted else "are as they are"
        raise UnsupportedError(f"{c.path}: key norm_topk_prob: in such GGUF files weights of experts {is_so}")


def qwen3_moe(c: Config) -> Keys:
    _normalized_experts(c, True)
    return common(c) | {"expert_feed_forward_length": c.integer("moe_intermediate_size")}


def qwen2_moe(c: Config) -> Keys:
    _normalized_experts(c, False)
    return common(c) | {
        "expert_feed_forward_length": c.integer("moe_intermediate_size"),
        "expert_shared_feed_forward_length": c.integer("shared_expert_intermediate_size"),
    }


def olmoe(c: Config) -> Keys:
    _normalized_experts(c, False)
    return common(c) | {"attention.layer_norm_rms_epsilon": 1e-5}


def gemma2(c: Config) -> Keys:
    return _dimensions(c) | {
        "attn_logit_softcapping": c.number("attn_logit_softcapping"),
        "final_logit_softcapping": c.number("final_logit_softcapping"),
        "attention.sliding_window": c.integer("sliding_window"),
    }


def gemma3(c: Config) -> Keys:
    if c.values.get("attn_logit_softcapping") is not None:
        raise c.fail("attn_logit_softcapping", "is set, which Gemma 3 does not have")
    keys = common(c)
    if c.number("final_logit_softcapping", default=0.0):
        keys["final_logit_softcapping"] = c.number("final_logit_softcapping")
    if c.values.get("sliding_window_pattern") != 1:
        keys["attention.sliding_window"] = c.integer("sliding_window")
    return keys


def phi3(c: Config) -> Keys:
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


def phi3_factors(c: Config) -> dict[str, np.ndarray]:
    import numpy as np

    rope, _ = _rope_parameters(c)
    if not rope.values.get("long_factor"):
        return {}
    return {
        f"rope_factors_{which}.weight": np.array(rope.numbers(f"{which}_factor", _phi3_rotated(c) // 2), np.float32)
        for which in ("long", "short")
    }


def llama3_factors(c: Config) -> dict[str, np.ndarray]:
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


def olmo2(c: Config) -> Keys:
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
