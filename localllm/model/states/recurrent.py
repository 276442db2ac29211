"""States of a fixed size for the whole past: convolution tails, matrices of SSMs and delta-nets, in F32.

They lie in slots, each a copy for one sequence at one moment. A pass reads one slot and writes another: a pass that is
cancelled has changed nothing, a copy is a number, and an old slot that is kept is a checkpoint. See `slots`.
"""

from __future__ import annotations

import numpy as np

from localllm.model.states.state import Track
from localllm.runtime.arrays import SLACK, padded


class Recurrent:
    """Parts of one layer's state: part i is sizes[i] floats a slot, [n_slots][sizes[i]]."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = sizes
        self.slot_bytes = 4 * sum(sizes)
        self.by_position = False
        self._n_slots = 0
        self._arrays: list[np.ndarray] = []

    @property
    def kind(self) -> str:
        return f"recurrent {self.sizes}"

    @property
    def n_bytes(self) -> int:
        """Beside the slots."""
        return SLACK * len(self.sizes)

    def allocate(self, n_slots: int) -> None:
        self._n_slots = n_slots
        self._arrays = [padded(n_slots * size) for size in self.sizes]

    def address(self, i: int) -> int:
        """Of part i of slot 0; 0 before it is allocated."""
        return int(self._arrays[i].ctypes.data) if self._arrays else 0

    def stride(self, i: int) -> int:
        """Bytes from a slot's part i to the next slot's."""
        return 4 * self.sizes[i]

    def rewind(self, track: Track, position: int) -> int:
        if position == track.past:
            return position
        return max((c.position for c in track.checkpoints if c.position <= position), default=0)

    def copy(self, source: Track, target: Track) -> None:
        """Nothing: the target's track takes the source's slot."""

    def save(self, track: Track) -> bytes:
        """Each part in turn; nothing before the first token."""
        return b"".join(view.tobytes() for view in self._views(track.slot)) if track.slot >= 0 else b""

    def saved_bytes(self, past: int) -> int:
        return self.slot_bytes if past else 0

    def check(self, past: int, content: bytes) -> str:
        need = self.saved_bytes(past)
        return "" if len(content) == need else f"has {len(content)} bytes, must have {need}"

    def restore(self, track: Track, content: bytes) -> None:
        at = 0
        for view in self._views(track.slot) if content else ():
            view[...] = np.frombuffer(content, np.float32, view.size, at)
            at += view.nbytes

    def _views(self, slot: int) -> list[np.ndarray]:
        return [array[slot * size : (slot + 1) * size] for size, array in zip(self.sizes, self._arrays, strict=True)]
