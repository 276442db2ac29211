"""The key-value cache of one layer, in f16, f32 or Q8_0.

Keys: [n_seq][n_head_kv][n_cells / 16] tiles of 16 cells; values: [n_seq][n_head_kv][n_cells] rows; see
kernels/cells.py. Position p of a sequence is its cell p % n_cells: layers with a window keep no more cells than it
takes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from localllm.errors import UnsupportedError
from localllm.gguf.config import Config
from localllm.kernels.attention import CHUNK
from localllm.kernels.cells import GROUP, cell_bytes

_SLACK = 256
"""Bytes past the end that a kernel may load, though not use."""


MOST_ROWS = 512
"""Of a batch: its cells are written before its rows are looked at, so that a window's cells need that many more."""


def n_cells(n_ctx: int) -> int:
    """Cells a sequence gets for a context of n_ctx: whole chunks of the attention kernel."""
    return -(-n_ctx // CHUNK) * CHUNK


def layer_cells(config: Config, i: int, n_ctx: int, swa_full: bool) -> int:
    """Cells a sequence gets in layer i. swa_full: as many where there is a window."""
    whole = n_cells(n_ctx)
    if swa_full or not config.swa_layers[i] or config.window is None:
        return whole
    return min(whole, n_cells(config.window.size + MOST_ROWS))


def _row_bytes(config: Config, i: int, kv_type: str) -> int:
    """Bytes that a token takes in the cache of layer i."""
    dims = config.n_embd_head_k[i], config.n_embd_head_v[i]
    return config.n_head_kv[i] * sum(cell_bytes(kv_type, dim) for dim in dims)


def cache_bytes(config: Config, n_ctx: int, n_seq: int, kv_type: str, swa_full: bool = False) -> int:
    """Bytes of all layers' caches."""
    return sum(
        n_seq * layer_cells(config, i, n_ctx, swa_full) * _row_bytes(config, i, kv_type) + 2 * _SLACK
        for i in range(config.n_layer)
    )


def make_caches(config: Config, n_ctx: int, n_seq: int, kv_type: str, swa_full: bool = False) -> list[LayerCache]:
    """A cache for each layer; one that stores nothing where the layer has no keys and values."""
    return [
        LayerCache(config, i, n_seq, layer_cells(config, i, n_ctx, swa_full), kv_type) for i in range(config.n_layer)
    ]


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
        dims = self.config.n_embd_head_k[self.i], self.config.n_embd_head_v[self.i]
        if self.n_head and self.kv_type == "q8_0" and any(dim % GROUP for dim in dims):
            raise UnsupportedError(
                f"{self.config.keys.file.path}: layer {self.i} has heads of {dims[0]} and {dims[1]} elements: "
                f"kv_type q8_0 needs multiples of {GROUP}, take f16"
            )
        self.k_bytes, self.v_bytes = (cell_bytes(self.kv_type, dim) for dim in dims)
        cells = self.n_seq * self.n_head * self.n_cells
        self.k = np.zeros(cells * self.k_bytes + _SLACK, np.uint8)
        self.v = np.zeros(cells * self.v_bytes + _SLACK, np.uint8)

    @property
    def n_bytes(self) -> int:
        return int(self.k.nbytes + self.v.nbytes)

    @property
    def k_address(self) -> int:
        return int(self.k.ctypes.data)

    @property
    def v_address(self) -> int:
        return int(self.v.ctypes.data)

    def save(self, seq: int, position: int, written: int) -> bytes:
        """What a sequence of `position` tokens holds, which once had `written`: that number (8 bytes), keys (whole
        tiles of 16 cells), values."""
        k, v = self._cells(seq, position)
        return written.to_bytes(8, "little") + k.tobytes() + v.tobytes()

    def restore(self, seq: int, position: int, content: bytes) -> int:
        """The inverse of save; `written`."""
        k, v = self._cells(seq, position)
        if len(content) != 8 + k.nbytes + v.nbytes:
            raise ValueError(f"{len(content)} bytes given, {8 + k.nbytes + v.nbytes} needed")
        k[...] = np.frombuffer(content, np.uint8, k.nbytes, 8).reshape(k.shape)
        v[...] = np.frombuffer(content, np.uint8, v.nbytes, 8 + k.nbytes).reshape(v.shape)
        return int.from_bytes(content[:8], "little")

    def copy(self, source: int, target: int, position: int) -> None:
        """Give sequence `target` what `source` holds, of `position` tokens."""
        for of, to in zip(self._cells(source, position), self._cells(target, position), strict=True):
            to[...] = of

    def holds(self, position: int, written: int) -> bool:
        """Whether a sequence that has written `written` tokens still has what the one at `position` sees."""
        window = self.config.window.size if self.config.swa_layers[self.i] and self.config.window else 0
        seen_from = max(0, position - window + 1) if window else 0
        return written <= self.n_cells or position == 0 or seen_from >= written - self.n_cells

    def _cells(self, seq: int, position: int) -> tuple[np.ndarray, np.ndarray]:
        position = min(position, self.n_cells)
        k = self.k[:-_SLACK].reshape(self.n_seq, self.n_head, self.n_cells // 16, 16 * self.k_bytes)
        v = self.v[:-_SLACK].reshape(self.n_seq, self.n_head, self.n_cells, self.v_bytes)
        return k[seq, :, : -(-position // 16)], v[seq, :, :position]
