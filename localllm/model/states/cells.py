"""States that keep a cell a position: keys and values, latent rows, an indexer's keys; see kernels/cells.py.

Position p of a sequence is its cell p % n_cells: layers with a window keep no more cells than it takes. Where a cell
stands for several positions (compressed keys), they are its once all are there, and until then what it will be made of
lies elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from localllm.gate import calls
from localllm.kernels.attention import CHUNK
from localllm.kernels.cells import CODE_BITS, GROUP, cell_bytes
from localllm.model.states.state import StateOptions, Track
from localllm.runtime.arrays import SLACK, padded

MAX_ROWS = 512
"""Of a batch: its cells are written before its rows attend, so that a window's cells need that many more."""


def n_cells(n_ctx: int) -> int:
    """Cells a sequence gets for a context of n_ctx: whole chunks of the attention kernel."""
    return -(-n_ctx // CHUNK) * CHUNK


@dataclass(frozen=True)
class Plane:
    """One array of a layer's cells: n_head heads of `dim` elements a cell, as tiles of 16 cells (keys: [n_cells / 16]
    [dim][16]) or as rows (values: [n_cells][dim])."""

    n_head: int
    dim: int
    tiled: bool = False


class Cells:
    """Planes of one layer: each [n_seq][n_head][n_cells] cells of kv_type."""

    slot_bytes = 0

    def __init__(
        self, planes: Sequence[Plane], options: StateOptions, window: int = 0, name: str = "", ratio: int = 1
    ) -> None:
        """window: positions that a row sees, 0 for all. name: of the file and the layer, for errors. ratio: positions
        that a cell stands for; with a window it is 1."""
        self.planes, self.n_seq, self.kv_type, self.window = tuple(planes), options.n_seq, options.kv_type, window
        self.ratio = ratio
        self.n_cells = n_cells(max(1, options.n_ctx // ratio))
        if window and not options.swa_full:
            self.n_cells = min(self.n_cells, n_cells(window + MAX_ROWS))
        self.by_position = not window or options.swa_full
        if self.kv_type in CODE_BITS:
            calls.grouped_heads(name, self.kv_type, [plane.dim for plane in planes], GROUP)
        self._cell_bytes = [cell_bytes(self.kv_type, plane.dim) for plane in planes]
        self._arrays: list[np.ndarray] = []

    @property
    def shape(self) -> tuple[object, ...]:
        """Of its memory."""
        return self.planes, self.n_cells

    @property
    def kind(self) -> str:
        planes = [(p.n_head, p.dim, p.tiled) for p in self.planes]
        ring = 0 if self.by_position else self.n_cells
        return f"cells {planes} {self.kv_type} of {self.ratio}, window {self.window} in {ring}"

    @property
    def n_bytes(self) -> int:
        return sum(self._bytes(i) for i in range(len(self.planes)))

    def _bytes(self, i: int) -> int:
        return self.n_seq * self.planes[i].n_head * self.n_cells * self._cell_bytes[i] + SLACK

    def allocate(self, n_slots: int) -> None:
        self._arrays = [padded(self._bytes(i) - SLACK, np.uint8) for i in range(len(self.planes))]

    def address(self, i: int) -> int:
        """Of plane i; 0 before it is allocated."""
        return int(self._arrays[i].ctypes.data) if self._arrays else 0

    def rewind(self, track: Track, position: int) -> int:
        return position if track.written // self.ratio <= self._held(position) else 0

    def _held(self, position: int) -> int:
        """Cells that may have been written while those that a row at `position` sees are still there."""
        return self.n_cells + (max(0, position - self.window + 1) if self.window else 0)

    def save(self, track: Track) -> bytes:
        """`written` (8 bytes), then each plane's cells up to `past`; of tiles whole ones."""
        parts = [view.tobytes() for view in self._views(track.seq, track.past)]
        return track.written.to_bytes(8, "little") + b"".join(parts)

    def written(self, content: bytes) -> int:
        """As `save` noted it."""
        return int.from_bytes(content[:8], "little")

    def saved_bytes(self, past: int) -> int:
        return 8 + sum(self._cells(i, past) * p.n_head * self._cell_bytes[i] for i, p in enumerate(self.planes))

    def check(self, past: int, content: bytes) -> str:
        need = self.saved_bytes(past)
        if len(content) != need:
            return f"has {len(content)} bytes, must have {need}"
        written = self.written(content)
        if written < past:
            return f"has {written} tokens written, fewer than the {past} it holds"
        if written // self.ratio > (held := self._held(past)):
            return f"has {written} tokens written: after {held * self.ratio} it does not hold what it sees"
        return ""

    def restore(self, track: Track, content: bytes) -> None:
        track.written = max(track.written, self.written(content))
        at = 8
        for view in self._views(track.seq, track.past):
            view[...] = np.frombuffer(content, np.uint8, view.size, at).reshape(view.shape)
            at += view.size

    def copy(self, source: Track, target: Track) -> None:
        views = (self._views(track.seq, source.written) for track in (source, target))
        for of, to in zip(*views, strict=True):
            to[...] = of

    def span_bytes(self, start: int, stop: int) -> int:
        """Of the cells of positions from start to stop; of tiles whole ones."""
        return sum(p.n_head * (b - a) for p, (a, b) in zip(self.planes, self._spans(start, stop), strict=True))

    def read_span(self, seq: int, start: int, stop: int, out: np.ndarray) -> None:
        """Copy these cells, plane after plane, to uint8 [span_bytes]."""
        at = 0
        for rows, (a, b) in zip(self._whole(seq), self._spans(start, stop), strict=True):
            n = len(rows) * (b - a)
            out[at : at + n].reshape(len(rows), b - a)[...] = rows[:, a:b]
            at += n

    def write_span(self, seq: int, start: int, stop: int, content: np.ndarray, end: int) -> None:
        """Put back what `read_span` gave for start and stop, as far as positions before `end`."""
        at = 0
        pieces = zip(self._whole(seq), self._spans(start, stop), self._spans(start, end), strict=True)
        for rows, (a, b), (_, last) in pieces:
            n = len(rows) * (b - a)
            rows[:, a:last] = content[at : at + n].reshape(len(rows), b - a)[:, : last - a]
            at += n

    def _spans(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Each plane's bytes of a head from `start` to `stop`."""
        start, stop = start // self.ratio, stop // self.ratio
        out = []
        for plane, size in zip(self.planes, self._cell_bytes, strict=True):
            a, b = (start // 16 * 16, -(-stop // 16) * 16) if plane.tiled else (start, stop)
            out.append((a * size, max(a, b) * size))
        return out

    def _cells(self, i: int, past: int) -> int:
        past = min(past // self.ratio, self.n_cells)
        return -(-past // 16) * 16 if self.planes[i].tiled else past

    def _views(self, seq: int, past: int) -> list[np.ndarray]:
        """Each plane's bytes of a sequence of `past` tokens."""
        return [rows[:, : self._cells(i, past) * self._cell_bytes[i]] for i, rows in enumerate(self._whole(seq))]

    def _whole(self, seq: int) -> list[np.ndarray]:
        """Each plane's bytes of a sequence, [n_head][n_cells * cell_bytes]."""
        return [
            array.reshape(self.n_seq, plane.n_head, self.n_cells * size)[seq]
            for plane, array, size in zip(self.planes, self._arrays, self._cell_bytes, strict=True)
        ]
