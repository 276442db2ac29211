"""Slow, obvious NumPy twins of the kernels: in float64, or in float32 where the rounding is part of the promise."""

from __future__ import annotations

import gguf
import numpy as np
from numpy.typing import ArrayLike

from localllm.kernels.formats.table import FORMATS


def dequantize(name: str, raw: np.ndarray) -> np.ndarray:
    """Rows of bytes [n, row_bytes] to float32 [n, k], by the gguf package, or a twin of our own where it has none."""
    if name in TWINS:
        blocks = raw.reshape(-1, FORMATS[name].bytes)
        d = blocks[:, :2].copy().view(np.float16).astype(np.float32)
        return TWINS[name](d, blocks[:, 2:]).reshape(len(raw), -1)
    known = gguf.GGMLQuantizationType.__members__
    assert name in known, f"{name}: gguf does not know it, and TWINS of tests/reference.py has no twin"
    kind = known[name]
    if name == "F32":
        return raw.view(np.float32)
    with np.errstate(all="ignore"):
        return gguf.quants.dequantize(raw, kind).reshape(len(raw), -1).astype(np.float32)


def q1_0(d: np.ndarray, qs: np.ndarray) -> np.ndarray:
    """Source of the layout: `dequantize_row_q1_0` of ggml-quants.c (llama.cpp, 2026)."""
    bits = (qs[..., None] >> np.arange(8, dtype=np.uint8)) & 1
    return np.where(bits.reshape(len(qs), 128) == 1, d, -d)


def q2_0(d: np.ndarray, qs: np.ndarray) -> np.ndarray:
    """Source of the layout: `dequantize_row_q2_0` of ggml-quants.c (llama.cpp, 2026)."""
    pairs = (qs[..., None] >> np.array([0, 2, 4, 6], np.uint8)) & 3
    return (pairs.reshape(len(qs), 64).astype(np.float32) - 1) * d


TWINS = {"Q1_0": q1_0, "Q2_0": q2_0}


def row_length(name: str, raw: np.ndarray) -> int:
    return raw.shape[-1] // FORMATS[name].bytes * FORMATS[name].block


# --- activations


def quantize(x: np.ndarray, group: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes int8 [n, k] and scales float32 [n, k / group]: the greatest magnitude of a group becomes 127.

    Every step is rounded to float32, as the kernel does. A group whose scale has no float32 inverse is all zeros.
    """
    groups = x.astype(np.float32).reshape(len(x), -1, group)
    d = (np.abs(groups).max(-1) / np.float32(127)).astype(np.float32)
    usable = d >= np.finfo(np.float32).tiny
    inverse = np.where(usable, np.float32(1) / np.where(usable, d, np.float32(1)), np.float32(0))
    codes = np.rint((groups * inverse[..., None]).astype(np.float32))
    return codes.astype(np.int8).reshape(x.shape), d


def activations(x: np.ndarray, group: int) -> np.ndarray:
    """What the quantized activations stand for: float64 [n, k]."""
    codes, d = quantize(x, group)
    return (codes.reshape(len(x), -1, group) * d[..., None].astype(np.float64)).reshape(x.shape)


def sums(codes: np.ndarray, n: int) -> np.ndarray:
    """Sums of n neighbours: int32 [n_rows, k / n]."""
    return codes.reshape(len(codes), -1, n).sum(-1, dtype=np.int32)


def to_tiles(rows: np.ndarray, per_lane: int) -> np.ndarray:
    """[n_rows, m * per_lane] to [tiles][m][16][per_lane]: 16 rows side by side, zeros past the last."""
    n, width = rows.shape
    padded = np.zeros(((n + 15) // 16 * 16, width), rows.dtype)
    padded[:n] = rows
    return padded.reshape(-1, 16, width // per_lane, per_lane).transpose(0, 2, 1, 3)


def pairs(codes: np.ndarray) -> np.ndarray:
    """What quantize.tiles leaves in `p` for super-blocks: int32 [tiles][k / 256][5][16], the first four of them sums of
    32 as two int16, the last the greatest sums of 16 magnitudes."""
    sums32 = to_tiles(sums(codes, 32).astype(np.int16), 2).reshape(-1, codes.shape[1] // 256, 4, 32).view(np.int32)
    magnitudes = sums(np.abs(codes.astype(np.int32)), 16).reshape(len(codes), -1, 16).max(-1)
    return np.concatenate([sums32, to_tiles(magnitudes, 1).reshape(-1, codes.shape[1] // 256, 1, 16)], 2)


# --- one row after another


def rms_norm(x: np.ndarray, w: np.ndarray, eps: float) -> np.ndarray:
    x = x.astype(np.float64)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w


def silu(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return x / (1 + np.exp(-x))


def gelu(x: np.ndarray) -> np.ndarray:
    """The tanh form."""
    x = x.astype(np.float64)
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


# --- rotary position embedding


def rope_angles(positions: ArrayLike, frequencies: np.ndarray) -> np.ndarray:
    return np.asarray(positions, np.float64)[:, None] * frequencies


def rotate(x: np.ndarray, cosines: np.ndarray, sines: np.ndarray, pairing: str) -> np.ndarray:
    """x [n_rows, n_head, head_dim] rotated by [n_rows, n_rot / 2] angles; float32 steps, as the kernel does."""
    half = cosines.shape[1]
    i = np.arange(half)
    first, second = (2 * i, 2 * i + 1) if pairing == "adjacent" else (i, i + half)
    a, b, out = x[..., first], x[..., second], x.copy()
    c, s = cosines[:, None], sines[:, None]
    out[..., first], out[..., second] = a * c - b * s, a * s + b * c
    return out


# --- attention


def q8_0(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes int8 and scales float16 [..., n / 32] of elements as a Q8_0 cache has them, of last axes of n."""
    codes, d = _codes8(x)
    return codes, d.astype(np.float16)


def _codes8(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    groups = x.reshape(*x.shape[:-1], -1, 32).astype(np.float32)
    d = np.abs(groups).max(-1) / np.float32(127)
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.where(d >= 2.0**-126, np.float32(1) / d, np.float32(0))
    return np.rint(groups * inverse[..., None]).astype(np.int8).reshape(x.shape), d


def turned(x: np.ndarray, query: bool = False) -> np.ndarray:
    """[..., n] times a Hadamard matrix of the greatest power of two that divides n, float32 sums in the kernel's order:
    of neighbours first. Its scale is a power of two; those of keys and queries together are the matrix's size."""
    n = x.shape[-1]
    size = n & -n
    log2 = size.bit_length() - 1
    out = x.astype(np.float32)
    for step in (2**i for i in range(log2)):
        if step == 16:
            out = out * np.float32(0.5 ** ((log2 + query) // 2))
        pairs = out.reshape(*x.shape[:-1], -1, 2, step)
        a, b = pairs[..., 0, :], pairs[..., 1, :]
        out = np.stack([a + b, a - b], -2).reshape(x.shape)
    return out


def turned_back(x: np.ndarray, query: bool = False) -> np.ndarray:
    """The inverse, float64."""
    n = x.shape[-1]
    size = n & -n
    log2 = size.bit_length() - 1
    signs = np.array([[(-1) ** (i & j).bit_count() for j in range(size)] for i in range(size)], np.float64)
    back = x.astype(np.float64).reshape(*x.shape[:-1], -1, size) @ signs
    return (back * 2.0 ** ((log2 + query) // 2 - log2)).reshape(x.shape)


def rounded8(x: np.ndarray) -> np.ndarray:
    """Queries as products with Q4_0 cells have them: int8 codes times a float32 scale of each 32; float64."""
    codes, d = _codes8(x)
    return codes * np.repeat(d.astype(np.float64), 32, -1)


def q4_0(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes int8, -8 to 7, and scales float16 [..., n / 32] of elements as a Q4_0 cache has them."""
    groups = x.reshape(*x.shape[:-1], -1, 32).astype(np.float32)
    first = np.abs(groups).argmax(-1)[..., None]
    d = np.take_along_axis(groups, first, -1) / np.float32(-8)
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.where(np.abs(d) >= 2.0**-126, np.float32(1) / d, np.float32(0))
    codes = np.minimum(15, np.trunc(groups * inverse + np.float32(8.5)))
    return (codes - 8).astype(np.int8).reshape(x.shape), d[..., 0].astype(np.float16)


def attention(
    q: np.ndarray, keys: np.ndarray, values: np.ndarray, positions, seqs, window: int, scale: float
) -> np.ndarray:
    """q [n_rows, n_head, k_dim]; keys [n_seq, n_head_kv, n_cells, k_dim], values alike: f64 [n_rows, n_head, v_dim]."""
    n_rows, n_head, _ = q.shape
    out = np.zeros((n_rows, n_head, values.shape[-1]))
    for row in range(n_rows):
        end = positions[row] + 1
        start = max(0, end - window) if window else 0
        for head in range(n_head):
            kv = head // (n_head // keys.shape[1])
            k = keys[seqs[row], kv, start:end].astype(np.float64)
            scores = k @ q[row, head].astype(np.float64) * scale
            weights = np.exp(scores - scores.max())
            out[row, head] = weights / weights.sum() @ values[seqs[row], kv, start:end].astype(np.float64)
    return out


# --- selective scans


def scan(
    x: np.ndarray, b: np.ndarray, c: np.ndarray, size: np.ndarray, a: np.ndarray, d: np.ndarray, z: np.ndarray,
    state: np.ndarray,
) -> tuple[np.ndarray, list[np.ndarray]]:  # fmt: skip
    """Mamba's recurrence: x, size, z [n_tokens, channels]; b, c [n_tokens, channels, d_state]; a [channels, d_state];
    d [channels]; state [channels, d_state]: results f64 [n_tokens, channels], and the states before each token and
    after the last."""
    states, out = [state.astype(np.float64)], []
    for t in range(len(x)):
        step = size[t].astype(np.float64)[:, None]
        states.append(states[-1] * np.exp(step * a) + step * x[t][:, None] * b[t])
        out.append(((states[-1] * c[t]).sum(-1) + d * x[t]) * silu(z[t]))
    return np.array(out), states


# --- masks of tokens


def masked(logits: np.ndarray, bits: np.ndarray, n_bits: int) -> np.ndarray:
    """Logits f32 [n], -inf where bit i % 32 of word i // 32 is not set, and from n_bits on."""
    out = logits.copy()
    for i in range(len(out)):
        if i >= n_bits or not int(bits[i // 32]) >> (i % 32) & 1:
            out[i] = -np.inf
    return out


# --- choosing a token


def weighed(x: np.ndarray) -> tuple[np.ndarray, float, float]:
    """x f32 [n] -> e**(x - greatest), their sum, the sum of each times x - greatest: float64 but for the difference."""
    with np.errstate(over="ignore"):
        below = (x - x.max()).astype(np.float64)
    weights = np.exp(below)
    return weights, float(weights.sum()), float((weights * np.maximum(below, -1e9)).sum())


def moments(x: np.ndarray) -> tuple[int, float, float]:
    """Of what is not -inf: how many, the mean, the sum of squared distances from it."""
    there = x[x > -np.inf].astype(np.float64)
    mean = float(there.mean()) if len(there) else 0.0
    return len(there), mean, float(np.square(there - mean).sum())


def apart(x: np.ndarray, center: float) -> np.ndarray:
    """|x - center|: f32 [n]."""
    with np.errstate(over="ignore"):
        return np.abs(x - np.float32(center))
