"""What rounding of activations costs: the divergence of a real model's predictions from those of exact activations.

A program, not a test: `python -m tests.model.rounded_activations MODEL.gguf TEXT.txt [N_TOKENS]`. It runs the forward
of llama, qwen2 or gemma3 in NumPy over the file's weights, dequantized by the package gguf, and rounds what each
product takes in the ways of SCHEMES. The first is what the kernels do (`localllm.kernels.quantize`): its divergence is
that of localllm's own logits. Wants 4 bytes of memory for each weight.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, quants

import localllm
from localllm.generate.logprobs import log_softmax
from localllm.gguf.reader import open_gguf
from localllm.kernels import formats
from localllm.model.group_sums import PRECISIONS
from localllm.tools.divergence import divergence

Round = Callable[[np.ndarray, int], np.ndarray]
"""round(x, group): float32 [n, k] as the products see it; group: 32 or 256, of the weights' kind."""

_PRODUCTS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down", "output")
_GROUPS = {"block32": 32, "super": 256}
_FIRST_ROWS = 4
_FIRST_SCORED = 8
_GEMMA_GLOBAL, _GEMMA_LOCAL_BASE = 6, 10000.0
"""Every so many layers have no window; the base of RoPE of those that have one."""


# --- ways to round


def _steps(b: np.ndarray, d: np.ndarray, z: np.ndarray | float = 0.0) -> np.ndarray:
    """Multiples of d, at most 127 of them away from z."""
    d = np.where(d > 0, d, 1).astype(np.float32)
    return ((np.clip(np.rint(b / d) - z, -127, 127) + z) * d).astype(np.float32)


def scaled(x: np.ndarray, group: int, size: int = 0, parts: int = 1) -> np.ndarray:
    """A scale a group; size: of groups, if not those of today. parts: of each of today's steps."""
    b = x.reshape(len(x), -1, size or group)
    d = np.abs(b).max(-1, keepdims=True) / 127
    if parts == 1:
        return _steps(b, d).reshape(x.shape)
    fine = np.where(d > 0, d, 1).astype(np.float32) / np.float32(parts)
    return (np.rint(b / fine) * fine).astype(np.float32).reshape(x.shape)


def shifted(x: np.ndarray, group: int, run: int = 32, most: int = 3, offset: bool = True) -> np.ndarray:
    """Each `run` elements have a shift of their group's scale, d / 2**s with s to `most`, and with `offset` also an
    integer that is added to their codes."""
    b = x.reshape(len(x), -1, group // run, run)
    low, high = b.min(-1, keepdims=True), b.max(-1, keepdims=True)
    magnitude = np.maximum(np.abs(low), np.abs(high))
    need = np.maximum((high - low) / 253, magnitude / 254) if offset else magnitude / 127
    d = need.max(2, keepdims=True)
    s = np.floor(np.log2(np.where(need > 0, d / np.where(need > 0, need, 1), 2.0**most)))
    d = np.where(d > 0, d, 1) * 2.0 ** -np.clip(s, 0, most if run < group else 0)
    z = np.clip(np.rint((low + high) / 2 / d), -127, 127) if offset else 0.0
    return _steps(b, d, z).reshape(x.shape)


def centred(x: np.ndarray, group: int, run: int = 32) -> np.ndarray:
    """Codes are of what `run` elements differ from their middle, which is exact: --precision high."""
    b = x.reshape(len(x), -1, run)
    middle = (b.min(-1, keepdims=True) + b.max(-1, keepdims=True)) / 2
    rounded = scaled((b - middle).reshape(x.shape), group).reshape(b.shape)
    return (rounded + middle).reshape(x.shape).astype(np.float32)


def by_kind(x: np.ndarray, group: int, block32: Round, super_: Round) -> np.ndarray:
    """One way for formats with blocks of 32, another one for super-blocks."""
    return (super_ if group == 256 else block32)(x, group)


def after_first(x: np.ndarray, group: int, way: Round) -> np.ndarray:
    """The first rows of a text, on which all others look, are exact."""
    y = way(x, group).copy()
    y[:_FIRST_ROWS] = x[:_FIRST_ROWS]
    return y


_SHIFTS = partial(shifted, offset=False)
SCHEMES: dict[str, Round] = {
    "int8 a 256 or 32": scaled,
    "super-blocks: shifts 0-3 a 32": partial(by_kind, block32=scaled, super_=_SHIFTS),
    "super-blocks: shifts 0-3 a 16": partial(by_kind, block32=scaled, super_=partial(_SHIFTS, run=16)),
    "a float scale a 32": partial(scaled, size=32),
    "a float scale a 16": partial(scaled, size=16),
    "offsets a 32": partial(shifted, most=0),
    "offsets a 32; super-blocks: shifts": partial(by_kind, block32=shifted, super_=_SHIFTS),
    "offsets a 32; super-blocks: and shifts": shifted,
    "less their middles a 32": centred,
    "9 bits": partial(scaled, parts=2),
    "two terms": partial(scaled, parts=254),
    "the first 4 rows exact": partial(after_first, way=scaled),
}


# --- the forward


class Forward:
    """A model whose products' inputs can be rounded."""

    def __init__(self, path: str) -> None:
        reader = GGUFReader(path)
        self.architecture = str(reader.fields["general.architecture"].contents())
        if self.architecture not in ("llama", "qwen2", "gemma3"):
            raise SystemExit(f"{path}: the architecture is {self.architecture}; must be llama, qwen2 or gemma3")
        self._fields = reader.fields
        self.w = {t.name: np.asarray(quants.dequantize(t.data, t.tensor_type), np.float32) for t in reader.tensors}
        with open_gguf(path) as file:
            kinds = {name: formats.module(info.format.module).KIND for name, info in file.tensors.items()}
        self.w.setdefault("output.weight", self.w["token_embd.weight"])
        kinds.setdefault("output.weight", kinds["token_embd.weight"])
        self.groups = {name: _GROUPS.get(kind, 0) for name, kind in kinds.items()}
        self.ways: dict[str, Round] = {}
        """How the inputs of each product are rounded; exact where it is not named."""

    def _key(self, name: str, default: Any = None) -> Any:
        field = self._fields.get(f"{self.architecture}.{name}")
        return default if field is None else field.contents()

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        square = (x.astype(np.float64) ** 2).mean(-1, keepdims=True)
        eps = self._key("attention.layer_norm_rms_epsilon")
        return np.asarray(x / np.sqrt(square + eps), np.float32) * self.w[f"{name}.weight"]

    def _linear(self, x: np.ndarray, prefix: str, product: str) -> np.ndarray:
        name = f"{prefix}{product}.weight"
        way, group = self.ways.get(product), self.groups[name]
        x = way(x, group) if way and group else x
        y: np.ndarray = x @ self.w[name].T
        bias = self.w.get(f"{prefix}{product}.bias")
        return y if bias is None else y + bias

    def _rotated(self, x: np.ndarray, base: float) -> np.ndarray:
        half = x.shape[-1] // 2
        angle = np.arange(len(x))[:, None, None] * base ** (-np.arange(half) / half)
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        out = np.empty_like(x)
        of_pairs = self.architecture == "llama"
        first, last = (np.s_[..., ::2], np.s_[..., 1::2]) if of_pairs else (np.s_[..., :half], np.s_[..., half:])
        out[first], out[last] = x[first] * cos - x[last] * sin, x[first] * sin + x[last] * cos
        return out

    def _attention(self, x: np.ndarray, i: int) -> np.ndarray:
        n, prefix, gemma = len(x), f"blk.{i}.", self.architecture == "gemma3"
        n_head, n_kv = self._key("attention.head_count"), self._key("attention.head_count_kv")
        dim = self._key("attention.key_length", x.shape[1] // n_head)
        q, k, v = (self._linear(x, prefix, f"attn_{name}").reshape(n, -1, dim) for name in ("q", "k", "v"))
        past = np.arange(n)[:, None] - np.arange(n)[None]
        seen, base = past >= 0, self._key("rope.freq_base", 10000.0)
        if gemma:
            q, k = self._norm(q, f"{prefix}attn_q_norm"), self._norm(k, f"{prefix}attn_k_norm")
            if (i + 1) % _GEMMA_GLOBAL:
                base, seen = _GEMMA_LOCAL_BASE, seen & (past < self._key("attention.sliding_window"))
        q, k = self._rotated(q, base), self._rotated(k, base)
        out = np.empty_like(q)
        for head in range(n_head):
            of = head // (n_head // n_kv)
            scores = np.where(seen, q[:, head] @ k[:, of].T * np.float32(dim**-0.5), np.float32(-1e30))
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, head] = weights / weights.sum(-1, keepdims=True) @ v[:, of]
        return self._linear(out.reshape(n, -1), prefix, "attn_output")

    def _feed_forward(self, x: np.ndarray, i: int) -> np.ndarray:
        prefix = f"blk.{i}."
        gate, up = self._linear(x, prefix, "ffn_gate"), self._linear(x, prefix, "ffn_up")
        if self.architecture == "gemma3":
            inner = np.float32((2 / np.pi) ** 0.5) * (gate + np.float32(0.044715) * gate**3)
            gate = np.float32(0.5) * gate * (1 + np.tanh(inner))
        else:
            gate = gate / (1 + np.exp(-gate))
        return self._linear(gate * up, prefix, "ffn_down")

    def logits(self, ids: list[int]) -> np.ndarray:
        """Float32 [n - _FIRST_SCORED, n_vocab]: what is predicted after the first tokens."""
        x, gemma = self.w["token_embd.weight"][ids], self.architecture == "gemma3"
        if gemma:
            x = x * np.float32(x.shape[1] ** 0.5)
        for i in range(self._key("block_count")):
            y = self._attention(self._norm(x, f"blk.{i}.attn_norm"), i)
            x = x + (self._norm(y, f"blk.{i}.post_attention_norm") if gemma else y)
            y = self._feed_forward(self._norm(x, f"blk.{i}.ffn_norm"), i)
            x = x + (self._norm(y, f"blk.{i}.post_ffw_norm") if gemma else y)
        return self._linear(self._norm(x, "output_norm")[_FIRST_SCORED:], "", "output")


def ids_of(path: str, text: str, n: int) -> list[int]:
    """The first n tokens of a text."""
    tokenizer = localllm.load_tokenizer(path)
    assert tokenizer is not None
    return tokenizer.encode(text, add_special=True)[:n]


def of_precisions(path: str, ids: list[int], base: np.ndarray) -> dict[str, float]:
    """By --precision, the mean divergence of localllm's predictions from `base`, log-probabilities of exact ones."""
    found = {}
    for precision in PRECISIONS:
        with localllm.load(path, n_ctx=len(ids), precision=precision) as model:
            kld = divergence(base, model.logits(ids)[_FIRST_SCORED:], targets_of(ids)).kld
        found[precision] = float(kld.mean())
    return found


def targets_of(ids: list[int]) -> np.ndarray:
    """The tokens that are predicted."""
    return np.array([*ids[_FIRST_SCORED + 1 :], 0])


def main(path: str, text: str, n: str = "256") -> None:
    ids = ids_of(path, Path(text).read_text(encoding="utf-8"), int(n))
    forward, targets = Forward(path), targets_of(ids)
    base = log_softmax(forward.logits(ids))
    for precision, mean in of_precisions(path, ids, base).items():
        sys.stdout.write(f"{f'localllm itself, --precision {precision}':40} KLD {mean:.6f}\n")
    today = 0.0
    tried = {name: dict.fromkeys(_PRODUCTS, way) for name, way in SCHEMES.items()}
    for name, ways in (tried | {f"int8 in {product} alone": {product: scaled} for product in _PRODUCTS}).items():
        forward.ways = ways
        kld = divergence(base, forward.logits(ids), targets).kld
        today = today or float(kld.mean())
        sys.stdout.write(f"{name:40} KLD {kld.mean():.6f}, of today's {kld.mean() / today:.2f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
