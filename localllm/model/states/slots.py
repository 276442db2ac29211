"""Who uses which slot of the recurrent states, and which are kept as checkpoints.

A sequence has one current slot, which a pass never writes: it writes a free one, which becomes the current one when the
pass has come to its end. A checkpoint is an older slot that is kept, so that a sequence can be cut back to where it was
then. Each sequence has a bounded number of them; the newest stay, older ones thin out evenly.
"""

from __future__ import annotations

from localllm.model.states.state import Checkpoint, Track

CHECKPOINT_BYTES = 256 << 20
"""What checkpoints of all sequences may take, as long as each can have the fewest."""
MIN_CHECKPOINTS, MAX_CHECKPOINTS = 4, 32
EVERY = 64
"""Tokens between checkpoints of a sequence that is fed token by token."""
_IN_USE = 3
"""Slots of a sequence beside its checkpoints: the current one, the next, and the one before a batch's last row."""


class Slots:
    """Slots of a context of n_seq sequences, `slot_bytes` each in all layers together; none where that is 0."""

    def __init__(self, n_seq: int, slot_bytes: int) -> None:
        budget = CHECKPOINT_BYTES // (n_seq * slot_bytes) if slot_bytes else 0
        self.n_checkpoints = min(MAX_CHECKPOINTS, max(MIN_CHECKPOINTS, budget))
        self.n_slots = n_seq * (self.n_checkpoints + _IN_USE) if slot_bytes else 0
        self.n_bytes = self.n_slots * slot_bytes
        self._users = [0] * self.n_slots
        self._free = list(range(self.n_slots))[::-1]

    def take(self) -> int:
        """A slot that nobody uses; -1 where there are no recurrent states."""
        if not self.n_slots:
            return -1
        slot = self._free.pop()
        self._users[slot] = 1
        return slot

    def share(self, slot: int) -> int:
        """The same slot for one more user."""
        if slot >= 0:
            self._users[slot] += 1
        return slot

    def drop(self, slot: int) -> None:
        """One user less."""
        if slot >= 0:
            self._users[slot] -= 1
            if not self._users[slot]:
                self._free.append(slot)

    def keep(self, track: Track, position: int, slot: int) -> None:
        """Keep a slot, which the caller has taken or shared, as the sequence's checkpoint at a position."""
        if slot < 0:
            return
        known = [c for c in track.checkpoints if c.position == position]
        track.checkpoints = sorted(
            [c for c in track.checkpoints if c not in known] + [Checkpoint(position, slot)], key=lambda c: c.position
        )
        for old in known:
            self.drop(old.slot)
        if len(track.checkpoints) > self.n_checkpoints:
            self._thin(track)

    def _thin(self, track: Track) -> None:
        """Drop the checkpoint that leaves the smallest gap; not one of the newest two."""
        kept = track.checkpoints
        before = [0, *(c.position for c in kept)]
        i = min(range(len(kept) - 2), key=lambda i: kept[i + 1].position - before[i])
        self.drop(kept.pop(i).slot)

    def cut(self, track: Track, position: int) -> None:
        """Go back to a checkpoint, or to the beginning (0)."""
        if position == track.past:
            return
        at = next((c.slot for c in track.checkpoints if c.position == position), -1)
        self._become(track, self.share(at))
        for later in [c for c in track.checkpoints if c.position > position]:
            track.checkpoints.remove(later)
            self.drop(later.slot)

    def copy(self, source: Track, target: Track) -> None:
        self.forget(target)
        target.slot = self.share(source.slot)
        target.checkpoints = [Checkpoint(c.position, self.share(c.slot)) for c in source.checkpoints]

    def advance(self, track: Track, slot: int) -> None:
        """A pass has left the sequence's new state in `slot`."""
        self._become(track, slot)

    def forget(self, track: Track) -> None:
        for old in track.checkpoints:
            self.drop(old.slot)
        track.checkpoints = []
        self._become(track, -1)

    def _become(self, track: Track, slot: int) -> None:
        self.drop(track.slot)
        track.slot = slot
