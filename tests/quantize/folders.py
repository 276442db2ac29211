"""Tiny Hugging Face folders with random weights, written by the tests themselves; the same bytes every time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.quantize.folder_tokenizers import write_json, write_tokenizer

N_LAYER, N_EMBD, N_HEAD, N_HEAD_KV, N_FF, N_VOCAB = 2, 64, 4, 2, 96, 320
IDS = [(1 + 41 * i * i) % 300 for i in range(24)]
"""A text, as its tokens: longer than the windows."""


@dataclass(frozen=True)
class Case:
    """A folder to be. vocabulary: bytelevel, blocks (tokenizer.json with byte fallback) or sentencepiece."""

    architecture: str
    model_type: str
    config: Mapping[str, Any] = field(default_factory=dict)
    vocabulary: str = "bytelevel"
    pre: str = "llama-bpe"
    post: str = "ByteLevel"
    dtype: str = "BF16"
    n_shards: int = 1
    tokenizer_config: Mapping[str, Any] = field(default_factory=dict)
    generation: Mapping[str, Any] | None = None
    card: str = ""
    """README.md"""
    template: str = ""
    """chat_template.jinja"""
    prefix: str = "model."
    tied: bool = False
    biases: bool = False


_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_GEMMA = {"head_dim": 32, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 32, "sliding_window": 16}
_FACTORS = {
    "long_factor": [1.0 + 0.5 * i for i in range(8)],
    "short_factor": [1.0 + 0.125 * i for i in range(8)],
    "rope_type": "longrope",
}

CASES: dict[str, Case] = {
    "llama": Case("LlamaForCausalLM", "llama", {"head_dim": 16}, "sentencepiece", dtype="F16"),
    "llama3": Case(
        "LlamaForCausalLM",
        "llama",
        {"head_dim": 32, "rope_theta": 500000.0, "rope_scaling": _LLAMA3, "max_position_embeddings": 512},
        n_shards=2,
        tied=True,
        post="template",
        card="---\nlicense: mit\nlanguage:\n- en\n- no\ntags:\n- tiny\nbase_model: someone/Some-Model-1B\n---\n# It\n",
        generation={"temperature": 0.6, "top_p": 0.9, "top_k": 40, "repetition_penalty": 1.1, "do_sample": True},
    ),
    "llama_biases": Case(
        "LlamaForCausalLM",
        "llama",
        {
            "head_dim": 16,
            "attention_bias": True,
            "mlp_bias": True,
            "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4},
        },
        pre="smollm",
        dtype="F32",
        biases=True,
    ),
    "mistral": Case("MistralForCausalLM", "mistral", {"head_dim": 32, "sliding_window": None}, "sentencepiece"),
    "mixtral": Case(
        "MixtralForCausalLM",
        "mixtral",
        {"num_local_experts": 3, "num_experts_per_tok": 2, "head_dim": 16},
        "sentencepiece",
    ),
    "llama_old": Case(
        "LlamaForCausalLM",
        "llama",
        dict.fromkeys(["num_key_value_heads", "max_position_embeddings", "rms_norm_eps"]),
        "sentencepiece",
        dtype="F32",
    ),
    "bitnet": Case("BitnetForCausalLM", "llama", {"num_key_value_heads": None}, "sentencepiece", tied=True),
    "qwen2": Case("Qwen2ForCausalLM", "qwen2", {"tie_word_embeddings": True}, pre="qwen2", tied=True, biases=True),
    "qwen3": Case(
        "Qwen3ForCausalLM",
        "qwen3",
        {
            "head_dim": 32,
            "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128},
        },
        pre="qwen2",
        generation={"temperature": 0.6, "top_k": 20, "top_p": 0.95},
    ),
    "qwen3moe": Case(
        "Qwen3MoeForCausalLM",
        "qwen3_moe",
        {
            "head_dim": 32,
            "num_experts": 3,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "norm_topk_prob": True,
        },
        pre="qwen2",
    ),
    "qwen2moe": Case(
        "Qwen2MoeForCausalLM",
        "qwen2_moe",
        {
            "num_experts": 3,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 64,
            "norm_topk_prob": False,
        },
        pre="qwen2",
        biases=True,
    ),
    "olmoe": Case(
        "OlmoeForCausalLM",
        "olmoe",
        {"num_experts": 3, "num_experts_per_tok": 2, "norm_topk_prob": False, "rms_norm_eps": 1e-5},
        pre="gpt-2",
    ),
    "gemma2": Case(
        "Gemma2ForCausalLM",
        "gemma2",
        _GEMMA | {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
        "sentencepiece",
        tied=True,
    ),
    "gemma3": Case(
        "Gemma3ForCausalLM",
        "gemma3_text",
        _GEMMA | {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 6},
        "sentencepiece",
        tied=True,
    ),
    "gemma3_vision": Case(
        "Gemma3ForConditionalGeneration",
        "gemma3_text",
        _GEMMA
        | {
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            }
        },
        "sentencepiece",
        tied=True,
        prefix="language_model.model.",
        template="{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}",
        tokenizer_config={"chat_template": None},
    ),
    "phi3": Case(
        "Phi3ForCausalLM",
        "phi3",
        {"original_max_position_embeddings": 128, "rope_scaling": _FACTORS, "pad_token_id": 0, "sliding_window": 64},
        "sentencepiece",
    ),
    "smollm3": Case(
        "SmolLM3ForCausalLM",
        "smollm3",
        {"rope_theta": 2e6, "no_rope_layers": [1, 1], "pad_token_id": 0},
        tied=True,
    ),
    "granite": Case(
        "GraniteForCausalLM",
        "granite",
        {
            "attention_multiplier": 0.0625,
            "embedding_multiplier": 12.0,
            "residual_multiplier": 0.22,
            "logits_scaling": 8.0,
        },
        pre="smollm",
        tied=True,
    ),
    "olmo2": Case("Olmo2ForCausalLM", "olmo2", {"rope_theta": 5e5}, pre="dbrx"),
    "olmo3": Case(
        "Olmo3ForCausalLM",
        "olmo3",
        {"rope_theta": 5e5, "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]},
        pre="dbrx",
    ),
}


def config_of(case: Case) -> dict[str, Any]:
    """config.json."""
    outer = {"architectures": [case.architecture]}
    if case.prefix != "model.":
        text = {
            key: value for key, value in config_of(replace(case, prefix="model.")).items() if key != "architectures"
        }
        return {
            **outer,
            "model_type": "gemma3",
            "text_config": text,
            "vision_config": {"model_type": "siglip_vision_model"},
        }
    config = {
        **outer,
        "model_type": case.model_type,
        "hidden_size": N_EMBD,
        "intermediate_size": N_FF,
        "num_hidden_layers": N_LAYER,
        "num_attention_heads": N_HEAD,
        "num_key_value_heads": N_HEAD_KV,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-6,
        "vocab_size": N_VOCAB,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "gelu_pytorch_tanh" if case.model_type.startswith("gemma") else "silu",
        "tie_word_embeddings": case.tied,
        **case.config,
    }
    return {key: value for key, value in config.items() if value is not None}


def shapes_of(case: Case) -> dict[str, tuple[int, ...]]:
    """Tensors by their names in transformers' classes."""
    head = case.config.get("head_dim", N_EMBD // N_HEAD)
    q, kv = N_HEAD * head, (case.config.get("num_key_value_heads", N_HEAD_KV) or N_HEAD) * head
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (N_VOCAB, N_EMBD)}
    for i in range(N_LAYER):
        shapes |= {f"model.layers.{i}.{name}": shape for name, shape in _layer(case, head, q, kv).items()}
    shapes["model.norm.weight"] = (N_EMBD,)
    return shapes if case.tied else shapes | {"lm_head.weight": (N_VOCAB, N_EMBD)}


def _layer(case: Case, head: int, q: int, kv: int) -> dict[str, tuple[int, ...]]:
    attention: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj.weight": (q, N_EMBD),
        "self_attn.k_proj.weight": (kv, N_EMBD),
        "self_attn.v_proj.weight": (kv, N_EMBD),
        "self_attn.o_proj.weight": (N_EMBD, q),
    }
    mlp: dict[str, tuple[int, ...]] = {
        "mlp.gate_proj.weight": (N_FF, N_EMBD),
        "mlp.up_proj.weight": (N_FF, N_EMBD),
        "mlp.down_proj.weight": (N_EMBD, N_FF),
    }
    norms = {"input_layernorm.weight": (N_EMBD,), "post_attention_layernorm.weight": (N_EMBD,)}
    kind = case.model_type
    if kind.startswith("gemma"):
        norms |= {"pre_feedforward_layernorm.weight": (N_EMBD,), "post_feedforward_layernorm.weight": (N_EMBD,)}
    if case.architecture.startswith("Bitnet"):
        norms |= {"self_attn.inner_attn_ln.weight": (N_EMBD,), "mlp.ffn_layernorm.weight": (N_FF,)}
    if kind == "olmoe":
        norms |= {"self_attn.q_norm.weight": (q,), "self_attn.k_norm.weight": (kv,)}
    if kind in ("olmo2", "olmo3"):
        norms = {"post_attention_layernorm.weight": (N_EMBD,), "post_feedforward_layernorm.weight": (N_EMBD,)}
        norms |= {"self_attn.q_norm.weight": (q,), "self_attn.k_norm.weight": (kv,)}
    if kind in ("qwen3", "qwen3_moe", "gemma3_text"):
        norms |= {"self_attn.q_norm.weight": (head,), "self_attn.k_norm.weight": (head,)}
    if kind == "phi3":
        attention = {"self_attn.qkv_proj.weight": (q + 2 * kv, N_EMBD), "self_attn.o_proj.weight": (N_EMBD, q)}
        mlp = {"mlp.gate_up_proj.weight": (2 * N_FF, N_EMBD), "mlp.down_proj.weight": (N_EMBD, N_FF)}
    if kind in ("mixtral", "qwen3_moe", "qwen2_moe", "olmoe"):
        mlp = _experts(case)
    shapes = attention | mlp | norms
    if case.biases:
        biased = ("q_proj", "k_proj", "v_proj") if kind.startswith("qwen2") else ("_proj",)
        weights = [name for name in shapes if name.removesuffix(".weight").endswith(biased)]
        shapes |= {name.replace(".weight", ".bias"): shapes[name][:1] for name in weights}
    return shapes


def _experts(case: Case) -> dict[str, tuple[int, ...]]:
    if case.model_type == "mixtral":
        room, n, n_ff, names = "block_sparse_moe", case.config["num_local_experts"], N_FF, ("w1", "w3", "w2")
    else:
        n, n_ff = case.config["num_experts"], case.config.get("moe_intermediate_size", N_FF)
        room, names = "mlp", ("gate_proj", "up_proj", "down_proj")
    shapes: dict[str, tuple[int, ...]] = {f"{room}.gate.weight": (n, N_EMBD)}
    for x in range(n):
        for name, shape in zip(names, ((n_ff, N_EMBD), (n_ff, N_EMBD), (N_EMBD, n_ff)), strict=True):
            shapes[f"{room}.experts.{x}.{name}.weight"] = shape
    if "shared_expert_intermediate_size" in case.config:
        n_ff = case.config["shared_expert_intermediate_size"]
        shapes[f"{room}.shared_expert_gate.weight"] = (1, N_EMBD)
        for name, shape in zip(names, ((n_ff, N_EMBD), (n_ff, N_EMBD), (N_EMBD, n_ff)), strict=True):
            shapes[f"{room}.shared_expert.{name}.weight"] = shape
    return shapes


def weights_of(case: Case) -> dict[str, np.ndarray]:
    """float32 that the case's dtype holds exactly; norms about 1, or 0 where 1 is added."""
    rng = np.random.default_rng(11)
    centre = 0.0 if case.model_type.startswith("gemma") else 1.0
    weights = {}
    for name, shape in shapes_of(case).items():
        x = rng.standard_normal(shape, np.float32) * np.float32(0.1)
        weights[name] = rounded(x + np.float32(centre) if "norm" in name else x, case.dtype)
    return weights


def rounded(x: np.ndarray, dtype: str) -> np.ndarray:
    """The float32 values nearest to x that F32, F16 or BF16 (towards 0) holds."""
    if dtype == "BF16":
        return (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return x.astype({"F16": np.float16, "F32": np.float32}[dtype]).astype(np.float32)


def save(path: Path, tensors: Mapping[str, np.ndarray], dtypes: Mapping[str, str] | None = None) -> None:
    """A safetensors file, byte by byte: NumPy has no BF16. dtypes: those of tensors to be stored as such."""
    names = {"float32": "F32", "float16": "F16", "int32": "I32", "int64": "I64", "uint8": "U8", "int8": "I8"}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data, at = [], 0
    for name, x in tensors.items():
        dtype = (dtypes or {}).get(name, names[x.dtype.name])
        raw = (x.view(np.uint32) >> 16).astype(np.uint16).tobytes() if dtype == "BF16" else x.tobytes()
        header[name] = {"dtype": dtype, "shape": list(x.shape), "data_offsets": [at, at + len(raw)]}
        data.append(raw)
        at += len(raw)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"".join(data))


def write_folder(folder: Path, case: Case) -> Path:
    """Writes the case; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config_of(case))
    if case.generation is not None:
        write_json(folder / "generation_config.json", case.generation)
    weights = weights_of(case)
    stored = {name: x.astype(np.float16) if case.dtype == "F16" else x for name, x in weights.items()}
    dtypes = dict.fromkeys(stored, "BF16") if case.dtype == "BF16" else {}
    if case.prefix != "model.":
        stored = {case.prefix + name.removeprefix("model."): x for name, x in stored.items()}
        stored["vision_tower.vision_model.embeddings.patch_embedding.bias"] = np.zeros(8, np.float32)
        stored["multi_modal_projector.mm_input_projection_weight"] = np.zeros((8, N_EMBD), np.float32)
        dtypes = dict.fromkeys(stored, case.dtype)
    names = list(stored)
    if case.n_shards == 1:
        save(folder / "model.safetensors", stored, dtypes)
    else:
        index: dict[str, str] = {}
        for i in range(case.n_shards):
            file = f"model-{i + 1:05}-of-{case.n_shards:05}.safetensors"
            part = {name: stored[name] for name in names[i :: case.n_shards]}
            save(folder / file, part, dtypes)
            index |= dict.fromkeys(part, file)
        write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})
    write_tokenizer(folder, case.vocabulary, case.pre, case.post, case.tokenizer_config)
    for name, text in (("README.md", case.card), ("chat_template.jinja", case.template)):
        if text:
            (folder / name).write_text(text, encoding="utf-8")
    return folder
