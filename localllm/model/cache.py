"""The key-value cache of one layer, in f16 or f32.

Keys lie in tiles of 16 cells, so that cells are lanes when scores are computed: [n_seq][n_head_kv][n_cells /
16][k_dim][16]. Values: [n_seq][n_head_kv][n_cells][v_dim]. Position p of a sequence is its cell p.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from localllm.gguf.config import Config
from localllm.kernels.attention import CHUNK

SIZES = {"f16": 2, "f32": 4}
_SLACK = 256
"""Bytes past the end that a kernel may load, though not use."""


def n_cells(n_ctx: int) -> int:
    """Cells a sequence gets for a context of n_ctx: whole chunks of the attention kernel."""
    return -(-n_ctx // CHUNK) * CHUNK


def _row_bytes(config: Config, i: int, kv_type: str) -> int:
    """Bytes that a token takes in the cache of layer i."""
    return config.n_head_kv[i] * (config.n_embd_head_k[i] + config.n_embd_head_v[i]) * SIZES[kv_type]


def cache_bytes(config: Config, n_ctx: int, n_seq: int, kv_type: str) -> int:
    """Bytes of all layers' caches."""
    cells = n_seq * n_cells(n_ctx)
    return sum(cells * _row_bytes(config, i, kv_type) + 2 * _SLACK for i in range(config.n_layer))


def make_caches(config: Config, n_ctx: int, n_seq: int, kv_type: str) -> list[LayerCache]:
    """A cache for each layer; one that stores nothing where the layer has no keys and values."""
    return [LayerCache(config, i, n_seq, n_cells(n_ctx), kv_type) for i in range(config.n_layer)]


@dataclass
class LayerCache:
    """Keys and values of layer i; the memory is reserved at once, and taken from the system as cells are written."""

    config: Config
    i: int
    n_seq: int
    n_cells: int
    kv_type: str

    def __post_init__(self) -> None:
        self.n_head = self.config.n_head_kv[self.i]
        per_dim = self.n_seq * self.n_head * self.n_cells * SIZES[self.kv_type]
        self.k = np.zeros(per_dim * self.config.n_embd_head_k[self.i] + _SLACK, np.uint8)
        self.v = np.zeros(per_dim * self.config.n_embd_head_v[self.i] + _SLACK, np.uint8)

    @property
    def n_bytes(self) -> int:
        return int(self.k.nbytes + self.v.nbytes)

    @property
    def k_address(self) -> int:
        return int(self.k.ctypes.data)

    @property
    def v_address(self) -> int:
        return int(self.v.ctypes.data)

    def save(self, seq: int, position: int) -> bytes:
        """What the first `position` cells of a sequence hold: keys (whole tiles of 16 cells), then values."""
        k, v = self._cells(seq, position)
        return k.tobytes() + v.tobytes()

    def restore(self, seq: int, position: int, content: bytes) -> None:
        """The inverse of save."""
        k, v = self._cells(seq, position)
        if len(content) != k.nbytes + v.nbytes:
            raise ValueError(f"{len(content)} bytes given, {k.nbytes + v.nbytes} needed")
        k[...] = np.frombuffer(content, np.uint8, k.nbytes).reshape(k.shape)
        v[...] = np.frombuffer(content, np.uint8, v.nbytes, k.nbytes).reshape(v.shape)

    def copy(self, source: int, target: int, position: int) -> None:
        """Give sequence `target` the first `position` cells of `source`."""
        for of, to in zip(self._cells(source, position), self._cells(target, position), strict=True):
            to[...] = of

    def _cells(self, seq: int, position: int) -> tuple[np.ndarray, np.ndarray]:
        size, heads = SIZES[self.kv_type], self.n_head
        tile = self.config.n_embd_head_k[self.i] * 16 * size
        k = self.k[:-_SLACK].reshape(self.n_seq, heads, self.n_cells // 16, tile)
        v = self.v[:-_SLACK].reshape(self.n_seq, heads, self.n_cells, self.config.n_embd_head_v[self.i] * size)
        return k[seq, :, : -(-position // 16)], v[seq, :, :position]
