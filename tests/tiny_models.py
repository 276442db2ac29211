"""Tiny random models, written by code, and their forward in float64, against which the recorded one is held."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

N_VOCAB, N_CTX_TRAIN = 96, 4096


def dimensions(architecture: str) -> dict[str, Any]:
    """Small, uneven numbers: heads of 32, a group of 3 queries, a window that binds early."""
    d: dict[str, Any] = {
        "n_embd": 256,
        "n_layer": 3,
        "n_ff": 320,
        "n_head": 6,
        "n_head_kv": 2,
        "head": 32,
        "eps": 1e-5,
        "base": 10000.0,
    }
    d |= {"window": 0, "local": (False,) * 3, "norm_heads": False, "post_norms": False, "bias": architecture == "qwen2"}
    if architecture == "gemma3":
        d |= {"window": 20, "local": (True, False, True), "norm_heads": True, "post_norms": True, "base": 1e6}
    return d


def shapes(architecture: str) -> dict[str, tuple[int, ...]]:
    """Tensor shapes, rows first (as NumPy has them)."""
    d = dimensions(architecture)
    n_q, n_kv = d["n_head"] * d["head"], d["n_head_kv"] * d["head"]
    out: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (N_VOCAB, d["n_embd"]),
        "output_norm.weight": (d["n_embd"],),
    }
    if architecture != "gemma3":
        out["output.weight"] = (N_VOCAB, d["n_embd"])
    for i in range(d["n_layer"]):
        b = f"blk.{i}."
        out |= {
            b + "attn_norm.weight": (d["n_embd"],), b + "ffn_norm.weight": (d["n_embd"],),
            b + "attn_q.weight": (n_q, d["n_embd"]), b + "attn_k.weight": (n_kv, d["n_embd"]),
            b + "attn_v.weight": (n_kv, d["n_embd"]), b + "attn_output.weight": (d["n_embd"], n_q),
            b + "ffn_gate.weight": (d["n_ff"], d["n_embd"]), b + "ffn_up.weight": (d["n_ff"], d["n_embd"]),
            b + "ffn_down.weight": (d["n_embd"], d["n_ff"]),
        }  # fmt: skip
        if d["bias"]:
            out |= {b + "attn_q.bias": (n_q,), b + "attn_k.bias": (n_kv,), b + "attn_v.bias": (n_kv,)}
        if d["norm_heads"]:
            out |= {b + "attn_q_norm.weight": (d["head"],), b + "attn_k_norm.weight": (d["head"],)}
        if d["post_norms"]:
            out |= {b + "post_attention_norm.weight": (d["n_embd"],), b + "post_ffw_norm.weight": (d["n_embd"],)}
    return out


def weights(architecture: str, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    out = {}
    for name, shape in shapes(architecture).items():
        x = rng.standard_normal(shape)
        if "norm" in name:
            x = 1 + 0.1 * x
        elif name.endswith("bias"):
            x = 0.1 * x
        elif not name.startswith("token_embd"):
            x = x / np.sqrt(shape[-1])
        out[name] = x.astype(np.float32)
    return out


def metadata(writer: gguf.GGUFWriter, architecture: str) -> None:
    d = dimensions(architecture)
    writer.add_vocab_size(N_VOCAB)
    writer.add_context_length(N_CTX_TRAIN)
    writer.add_embedding_length(d["n_embd"])
    writer.add_block_count(d["n_layer"])
    writer.add_feed_forward_length(d["n_ff"])
    writer.add_head_count(d["n_head"])
    writer.add_head_count_kv(d["n_head_kv"])
    writer.add_key_length(d["head"])
    writer.add_value_length(d["head"])
    writer.add_layer_norm_rms_eps(d["eps"])
    writer.add_rope_freq_base(d["base"])
    if d["window"]:
        writer.add_sliding_window(d["window"])
        writer.add_array(f"{architecture}.attention.sliding_window_pattern", [bool(x) for x in d["local"]])


def write(
    path: Path, architecture: str, fmt: str = "F32", tensors: dict[str, np.ndarray] | None = None, **extra
) -> Path:
    """Write a model; matrices in `fmt`, rows it does not fit stay F32. extra: metadata, `key=value`, dots as __."""
    tensors = weights(architecture) if tensors is None else tensors
    writer = gguf.GGUFWriter(str(path), architecture)
    metadata(writer, architecture)
    writer.add_tokenizer_model("no_vocab")
    for key, value in extra.items():
        name = key.replace("__", ".")
        (writer.add_string if isinstance(value, str) else writer.add_uint32)(name, value)
    kind = gguf.GGMLQuantizationType[fmt]
    for name, x in tensors.items():
        if x.ndim == 2 and fmt != "F32" and x.shape[1] % gguf.GGML_QUANT_SIZES[kind][0] == 0:
            writer.add_tensor(name, gguf.quants.quantize(x, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, x)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def forward(architecture: str, w: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """Logits, float64 [len(ids), N_VOCAB]: the transformer as its papers write it, one step after another."""
    d = dimensions(architecture)
    w = {k: v.astype(np.float64) for k, v in w.items()}
    x = w["token_embd.weight"][ids] * (d["n_embd"] ** 0.5 if architecture == "gemma3" else 1.0)
    for i in range(d["n_layer"]):
        b = f"blk.{i}."
        h = _norm(x, w[b + "attn_norm.weight"], d)
        a = _attention(architecture, d, w, b, h, d["local"][i])
        if d["post_norms"]:
            a = _norm(a, w[b + "post_attention_norm.weight"], d)
        x = x + a
        h = _norm(x, w[b + "ffn_norm.weight"], d)
        gate, up = h @ w[b + "ffn_gate.weight"].T, h @ w[b + "ffn_up.weight"].T
        f = (_gelu(gate) if architecture == "gemma3" else gate / (1 + np.exp(-gate))) * up @ w[b + "ffn_down.weight"].T
        if d["post_norms"]:
            f = _norm(f, w[b + "post_ffw_norm.weight"], d)
        x = x + f
    return _norm(x, w["output_norm.weight"], d) @ w.get("output.weight", w["token_embd.weight"]).T


def _norm(x, weight, d):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + d["eps"]) * weight


def _gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _attention(architecture, d, w, b, h, local):
    n, head = len(h), d["head"]
    q, k, v = (h @ w[b + f"attn_{c}.weight"].T + w.get(b + f"attn_{c}.bias", 0.0) for c in "qkv")
    q, k, v = q.reshape(n, -1, head), k.reshape(n, -1, head), v.reshape(n, -1, head)
    if d["norm_heads"]:
        q, k = _norm(q, w[b + "attn_q_norm.weight"], d), _norm(k, w[b + "attn_k_norm.weight"], d)
    base = 10000.0 if local else d["base"]
    angles = np.arange(n)[:, None] * base ** (-np.arange(0, head, 2) / head)
    q, k = (_rope(x, angles, adjacent=architecture == "llama") for x in (q, k))
    k, v = (np.repeat(x, d["n_head"] // d["n_head_kv"], axis=1) for x in (k, v))
    scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(head)
    distance = np.arange(n)[:, None] - np.arange(n)[None, :]
    seen = (distance >= 0) & ((distance < d["window"]) | (not local))
    scores = np.where(seen, scores, -np.inf)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    out = np.einsum("hqk,khd->qhd", p / p.sum(-1, keepdims=True), v)
    return out.reshape(n, -1) @ w[b + "attn_output.weight"].T


def _rope(x, angles, adjacent):
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    a, b = (x[..., 0::2], x[..., 1::2]) if adjacent else np.split(x, 2, -1)
    rotated = a * cos - b * sin, a * sin + b * cos
    return np.stack(rotated, -1).reshape(x.shape) if adjacent else np.concatenate(rotated, -1)


def nmse(exact: np.ndarray, got: np.ndarray) -> float:
    """Mean squared error over the mean square of the exact values."""
    exact, got = exact.astype(np.float64), got.astype(np.float64)
    return float(((exact - got) ** 2).mean() / (exact**2).mean())
