"""A slow, obvious transformer in float64: what papers say, one step after another, for tiny random models.

A Case says in its own words what an architecture does. Nothing here reads localllm's specs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np

N_VOCAB, N_EMBD, N_FF, HEAD, N_HEAD, N_HEAD_KV = 96, 128, 192, 32, 4, 2
Tensors = dict[str, np.ndarray]


@dataclass
class Experts:
    """n experts of which `used` are chosen."""

    n: int = 8
    used: int = 2
    gating: str = "softmax"
    normed: bool = True
    factor: float = 1.0
    choice_bias: bool = False
    biases: bool = False
    shared: int = 0
    shared_gate: bool = False
    fused: bool = False
    plain: bool = False
    groups: tuple[int, int] = (0, 0)
    before: bool = False
    function: Callable = field(default=lambda gate, up: silu(gate) * up)


@dataclass
class Case:
    architecture: str
    meta: dict = field(default_factory=dict)
    n_layer: int = 2
    """As many as the longest pattern of layers has."""
    pairing: str = "halves"
    layer_norm: bool = False
    pre_norm: bool = True
    ffn_norm: str = "ffn_norm"
    post_norms: bool = False
    qk_norm: str = ""
    parallel: bool = False
    biases: bool = False
    fused: bool = False
    plain: Callable | list[Callable] | None = None
    """An activation, or one a layer."""
    gate: Callable = field(default=lambda x: silu(x))
    window: Callable[[int], int] = lambda i: 0
    has_rope: Callable[[int], bool] = lambda i: True
    frequencies: Callable[[int], np.ndarray] = lambda i: 10000.0 ** (-np.arange(0, HEAD, 2) / HEAD)
    magnitude: float = 1.0
    extra: Tensors = field(default_factory=dict)
    scale: float = HEAD**-0.5
    cap: float = 0.0
    sinks: bool = False
    alibi: bool = False
    temperature: Callable[[np.ndarray], np.ndarray] | None = None
    both_ways: bool = False
    experts: Experts | None = None
    embedding: float = 1.0
    residual: float = 1.0
    logits: float = 1.0
    final_cap: float = 0.0
    tied: bool = False
    positions: bool = False


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def xielu(alpha_p, alpha_n, beta):
    """xIELU (arXiv 2411.13010), a tuple of numbers a layer: a function for each."""

    def of(p, n, b):
        above, below = np.log1p(np.exp(p)), b + np.log1p(np.exp(n))
        return lambda x: np.where(x > 0, above * x * x, below * (np.expm1(x) - x)) + b * x

    return [of(*numbers) for numbers in zip(alpha_p, alpha_n, beta, strict=True)]


def oai(gate, up):
    """gpt-oss's SwiGLU."""
    gate, up = np.minimum(gate, 7.0), np.clip(up, -7.0, 7.0)
    return gate / (1 + np.exp(-1.702 * gate)) * (up + 1)


# --- weights


def shapes(case: Case) -> dict[str, tuple[int, ...]]:
    """Rows first, as NumPy has them."""
    n_q, n_kv = N_HEAD * HEAD, N_HEAD_KV * HEAD
    out: dict[str, tuple[int, ...]] = {"token_embd": (N_VOCAB, N_EMBD), "output_norm": (N_EMBD,)}
    if not case.tied:
        out["output"] = (N_VOCAB, N_EMBD)
    if case.positions:
        out["position_embd"] = (4096, N_EMBD)
    for i in range(case.n_layer):
        layer: dict[str, tuple[int, ...]] = {"attn_output": (N_EMBD, n_q)}
        if case.fused:
            layer["attn_qkv"] = (n_q + 2 * n_kv, N_EMBD)
        else:
            layer |= {"attn_q": (n_q, N_EMBD), "attn_k": (n_kv, N_EMBD), "attn_v": (n_kv, N_EMBD)}
        if case.pre_norm:
            layer["attn_norm"] = (N_EMBD,)
            if not case.parallel:
                layer[case.ffn_norm] = (N_EMBD,)
        if case.post_norms:
            layer |= {"post_attention_norm": (N_EMBD,), "post_ffw_norm": (N_EMBD,)}
        if case.qk_norm:
            row = case.qk_norm == "row"
            layer |= {"attn_q_norm": (n_q if row else HEAD,), "attn_k_norm": (n_kv if row else HEAD,)}
        if case.sinks:
            layer["attn_sinks"] = (N_HEAD,)
        layer |= _expert_shapes(case.experts) if case.experts else _dense_shapes(case)
        out |= {f"blk.{i}.{name}": shape for name, shape in layer.items()}
    return out


def _dense_shapes(case: Case) -> dict[str, tuple[int, ...]]:
    if case.plain:
        return {"ffn_up": (N_FF, N_EMBD), "ffn_down": (N_EMBD, N_FF)}
    if case.fused:
        return {"ffn_up": (2 * N_FF, N_EMBD), "ffn_down": (N_EMBD, N_FF)}
    return {"ffn_gate": (N_FF, N_EMBD), "ffn_up": (N_FF, N_EMBD), "ffn_down": (N_EMBD, N_FF)}


def _expert_shapes(e: Experts) -> dict[str, tuple[int, ...]]:
    out: dict[str, tuple[int, ...]] = {"ffn_gate_inp": (e.n, N_EMBD), "ffn_down_exps": (e.n, N_EMBD, N_FF)}
    if e.fused:
        out["ffn_gate_up_exps"] = (e.n, 2 * N_FF, N_EMBD)
    elif e.plain:
        out["ffn_up_exps"] = (e.n, N_FF, N_EMBD)
    else:
        out |= {"ffn_gate_exps": (e.n, N_FF, N_EMBD), "ffn_up_exps": (e.n, N_FF, N_EMBD)}
    if e.shared:
        out |= {"ffn_gate_shexp": (e.shared, N_EMBD), "ffn_up_shexp": (e.shared, N_EMBD)}
        out |= {"ffn_down_shexp": (N_EMBD, e.shared)}
    if e.shared_gate:
        out["ffn_gate_inp_shexp"] = (1, N_EMBD)
    return out


def weights(case: Case, seed: int = 1) -> Tensors:
    rng = np.random.default_rng(seed)
    out: Tensors = {}
    for name, shape in shapes(case).items():
        x = rng.standard_normal(shape)
        if "norm" in name:
            x = 1 + 0.1 * x
        elif name not in ("token_embd", "position_embd"):
            x = x / np.sqrt(shape[-1])
        out[f"{name}.weight"] = x
        short = name.rpartition(".")[2]
        linear = len(shape) == 2 and name.startswith("blk") and "gate_inp" not in name
        if (case.biases and linear) or (case.layer_norm and case.biases and "norm" in name):
            out[f"{name}.bias"] = 0.1 * rng.standard_normal(shape[0])
        if case.experts and case.experts.biases and ("exps" in short or short == "ffn_gate_inp"):
            out[f"{name}.bias"] = 0.1 * rng.standard_normal(shape[:-1])
        if case.experts and case.experts.choice_bias and short == "ffn_gate_inp":
            out[f"{name.removesuffix('ffn_gate_inp')}exp_probs_b.bias"] = 0.2 * rng.standard_normal(case.experts.n)
    return {k: v.astype(np.float32) for k, v in (out | case.extra).items()}


def write(path: Path, case: Case, tensors: Tensors, quantize: Callable | None = None) -> Path:
    """Write a model; quantize(name, tensor) gives (raw bytes, type) or None for F32."""
    writer = gguf.GGUFWriter(str(path), case.architecture)
    meta = {
        "context_length": 4096, "embedding_length": N_EMBD, "block_count": case.n_layer, "feed_forward_length": N_FF,
        "attention.head_count": N_HEAD, "attention.head_count_kv": N_HEAD_KV,
        "attention.key_length": HEAD, "attention.value_length": HEAD,
        f"attention.layer_norm{'' if case.layer_norm else '_rms'}_epsilon": 1e-5,
    }  # fmt: skip
    if case.experts:
        meta |= {"expert_count": case.experts.n, "expert_used_count": case.experts.used}
    for key, value in (meta | case.meta).items():
        full = key if key.startswith("xielu") else f"{case.architecture}.{key}"
        kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        (writer.add_array if isinstance(value, list) else kinds[type(value)])(full, value)
    writer.add_tokenizer_model("no_vocab")
    for name, x in tensors.items():
        made = quantize(name, x) if quantize else None
        if made:
            writer.add_tensor(name, made[0], raw_dtype=made[1])
        else:
            writer.add_tensor(name, x)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# --- the forward


def forward(case: Case, tensors: Tensors, ids: list[int]) -> np.ndarray:
    """Logits, float64 [len(ids), N_VOCAB]."""
    w = {k: v.astype(np.float64) for k, v in tensors.items()}
    x = w["token_embd.weight"][ids] * case.embedding
    if case.positions:
        x = x + w["position_embd.weight"][: len(ids)]
    for i in range(case.n_layer):
        x = layer(case, w, i, x)
    x = norm(case, w, "output_norm", x)
    out = x @ w.get("output.weight", w["token_embd.weight"]).T * case.logits
    return np.tanh(out / case.final_cap) * case.final_cap if case.final_cap else out


def layer(case, w, i, x):
    b = f"blk.{i}."
    h = norm(case, w, f"{b}attn_norm", x) if case.pre_norm else x
    a = attention(case, w, b, i, h)
    if case.post_norms:
        a = norm(case, w, f"{b}post_attention_norm", a)
    beside, x = h, x + case.residual * a
    if not case.parallel:
        beside = norm(case, w, b + case.ffn_norm, x) if case.pre_norm else x
    f = experts(case.experts, w, b, beside) if case.experts else dense(case, w, b, beside)
    if case.post_norms:
        f = norm(case, w, f"{b}post_ffw_norm", f)
    return x + case.residual * f


def norm(case, w, name, x):
    return _normed(case.layer_norm, x) * w[f"{name}.weight"] + w.get(f"{name}.bias", 0.0)


def _normed(layer_norm, x):
    if layer_norm:
        x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)


def attention(case, w, b, i, h):
    n = len(h)
    if case.fused:
        q, k, v = np.split(linear(w, f"{b}attn_qkv", h), [N_HEAD * HEAD, (N_HEAD + N_HEAD_KV) * HEAD], axis=-1)
    else:
        q, k, v = (linear(w, f"{b}attn_{c}", h) for c in "qkv")
    if case.qk_norm == "row":
        q, k = norm(case, w, f"{b}attn_q_norm", q), norm(case, w, f"{b}attn_k_norm", k)
    q, k, v = (x.reshape(n, -1, HEAD) for x in (q, k, v))
    if case.qk_norm == "head":
        q, k = norm(case, w, f"{b}attn_q_norm", q), norm(case, w, f"{b}attn_k_norm", k)
    place = np.arange(n)
    if case.has_rope(i):
        angles = place[:, None] * case.frequencies(i)
        q, k = (rope(x, angles, case.pairing) * case.magnitude for x in (q, k))
    if case.temperature:
        q = q * case.temperature(place)[:, None, None]
    out = np.empty((n, N_HEAD, HEAD))
    for head in range(N_HEAD):
        kv = head // (N_HEAD // N_HEAD_KV)
        out[:, head] = one_head(case, w, b, i, head, q[:, head], k[:, kv], v[:, kv])
    return linear(w, f"{b}attn_output", out.reshape(n, -1))


def one_head(case, w, b, i, head, q, k, v):
    n = len(q)
    scores = q @ k.T * case.scale
    if case.cap:
        scores = np.tanh(scores / case.cap) * case.cap
    distance = np.arange(n)[:, None] - np.arange(n)[None, :]
    if case.alibi:
        scores = scores - np.abs(distance) * 2.0 ** (-8.0 * (head + 1) / N_HEAD)
    seen = (distance >= 0) | case.both_ways
    window = case.window(i)
    if window:
        seen &= distance < window
    scores = np.where(seen, scores, -np.inf)
    sink = w[f"{b}attn_sinks.weight"][head] if case.sinks else -np.inf
    greatest = np.maximum(scores.max(-1, keepdims=True), sink)
    p = np.exp(scores - greatest)
    return p / (p.sum(-1, keepdims=True) + np.exp(sink - greatest)) @ v


def rope(x, angles, pairing):
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    a, b = (x[..., 0::2], x[..., 1::2]) if pairing == "adjacent" else np.split(x, 2, -1)
    rotated = a * cos - b * sin, a * sin + b * cos
    return np.stack(rotated, -1).reshape(x.shape) if pairing == "adjacent" else np.concatenate(rotated, -1)


def dense(case, w, b, h):
    if case.plain:
        f = case.plain[int(b.split(".")[1])] if isinstance(case.plain, list) else case.plain
        return linear(w, f"{b}ffn_down", f(linear(w, f"{b}ffn_up", h)))
    if case.fused:
        gate, up = np.split(linear(w, f"{b}ffn_up", h), 2, axis=-1)
    else:
        gate, up = linear(w, f"{b}ffn_gate", h), linear(w, f"{b}ffn_up", h)
    return linear(w, f"{b}ffn_down", case.gate(gate) * up)


def experts(e, w, b, h):
    scores = linear(w, f"{b}ffn_gate_inp", h)
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    share = {
        "softmax": exponentials / exponentials.sum(-1, keepdims=True),
        "sigmoid": 1 / (1 + np.exp(-scores)),
        "chosen": scores,
    }[e.gating]
    choice = share + w.get(f"{b}exp_probs_b.bias", 0.0)
    out = np.zeros_like(h)
    for row in range(len(h)):
        chosen = best(e, choice[row])
        weight = share[row, chosen]
        if e.gating == "chosen":
            weight = np.exp(weight - weight.max()) / np.exp(weight - weight.max()).sum()
        if e.normed:
            weight = weight / weight.sum()
        for x, share_of in zip(chosen, weight * e.factor, strict=True):
            gain_in, gain_out = (share_of, 1.0) if e.before else (1.0, share_of)
            out[row] += gain_out * expert(e, w, b, x, h[row] * gain_in)
    if e.shared:
        s = linear(w, f"{b}ffn_down_shexp", silu(linear(w, f"{b}ffn_gate_shexp", h)) * linear(w, f"{b}ffn_up_shexp", h))
        out = out + (s / (1 + np.exp(-linear(w, f"{b}ffn_gate_inp_shexp", h))) if e.shared_gate else s)
    return out


def best(e, choice):
    n, used = e.groups
    if n:
        groups = choice.reshape(n, -1)
        rank = np.argsort(-np.sort(groups, -1)[:, -2:].sum(-1))[:used]
        choice = np.where(np.isin(np.arange(n), rank)[:, None], groups, -np.inf).ravel()
    return np.argsort(-choice, kind="stable")[: e.used]


def expert(e, w, b, x, h):
    def part(name):
        bias = w.get(f"{b}{name}.bias")
        return w[f"{b}{name}.weight"][x] @ h + (0.0 if bias is None else bias[x])

    if e.fused:
        hidden = e.function(*np.split(part("ffn_gate_up_exps"), 2))
    elif e.plain:
        hidden = silu(part("ffn_up_exps"))
    else:
        hidden = e.function(part("ffn_gate_exps"), part("ffn_up_exps"))
    bias = w.get(f"{b}ffn_down_exps.bias")
    return w[f"{b}ffn_down_exps.weight"][x] @ hidden + (0.0 if bias is None else bias[x])
