"""What is made of attention scores, as the file has it: bounds, slopes or biases by distance."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from localllm.gate import tensors
from localllm.kernels import scores
from localllm.model.layer_reader import LayerReader
from localllm.model.weights import Weight


def read_scores(f: LayerReader, n_head: int, softcap: float) -> tuple[str, Weight | None]:
    """The kind of scores (kernels.scores), and the slopes or biases of the heads; softcap: 0 where there is none."""
    kinds: dict[str, Weight | None] = {"capped": None} if softcap else {}
    if alibi := f.spec.alibi(f.config):
        kinds["alibi"] = f.weights.constant(f"slopes of {n_head} heads up to {alibi}", _slopes(n_head, alibi))
    if biases := _relative(f, n_head):
        kinds["relative"] = biases
    tensors.supported(f.place, len(kinds) < 2, f"scores that are {' and '.join(kinds)}")
    return next(iter(kinds.items()), ("plain", None))


def _relative(f: LayerReader, n_head: int) -> Weight | None:
    """Biases by distance, [n_head][scores.DISTANCES], from those of buckets of distances (T5, arXiv 1910.10683): a
    layer without its own has the first's."""
    short = "attn_rel_b.weight"
    owner = f if f.has(short) else replace(f, i=0)
    if not owner.has(short):
        return None
    name, n_buckets = owner.name(short), f.config.keys.integer("attention.relative_buckets_count")
    values = f.weights.values(name, n_head, n_buckets).reshape(n_buckets, n_head)
    distances = np.arange(-scores.FAR - 16, scores.FAR + 17)
    return f.weights.constant(f"{name} by distance", values[_bucket(distances, n_buckets)].T)


def _bucket(distance: np.ndarray, n_buckets: int) -> np.ndarray:
    """The bucket of each distance from a row to a cell that it sees on either side: half of them for each side, of
    those half for single distances, and half up to FAR in logarithmic steps (llama_relative_position_bucket)."""
    n_side, size = n_buckets // 2, np.abs(distance)
    n_exact = n_side // 2
    far = np.log(np.maximum(size, 1) / n_exact).astype(np.float32) * np.float32(n_side - n_exact)
    steps = np.floor((n_exact + far / np.log(scores.FAR / n_exact)).astype(np.float32)).astype(np.int64)
    one_side: np.ndarray = np.where(size < n_exact, size, np.minimum(steps, n_side - 1))
    either: np.ndarray = one_side + (distance > 0) * n_side
    return either


def _slopes(n_head: int, greatest: float) -> np.ndarray:
    """ALiBi: the slope of each head; past the largest power of two, every other one of twice as many."""
    n = 1 << int(math.log2(n_head))
    first = [2.0 ** (-greatest * (h + 1) / n) for h in range(n)]
    rest = [2.0 ** (-greatest / 2 * (2 * h + 1) / n) for h in range(n_head - n)]
    return np.array(first + rest)
