"""The sequences of a context: what every block keeps of them, how far each has come, and the batch under way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from localllm.errors import UsageError
from localllm.kernels.thread import Run
from localllm.model.blocks import Mixer
from localllm.model.states.cells import Cells
from localllm.model.states.slots import EVERY, Slots
from localllm.model.states.state import State, StateOptions, Track


class Sequences:
    """States of n_seq sequences. `n_bytes` is what they will take; `allocate` takes it."""

    def __init__(self, mixers: Sequence[Mixer], options: StateOptions, max_rows: int) -> None:
        self._mixers = mixers  # their ids must stay their own
        self.states = _states(mixers, options)
        """What each block keeps, by the block's id."""
        self._all = list(dict.fromkeys(state for states in self.states.values() for state in states))
        self.slot_bytes = sum(state.slot_bytes for state in self._all)
        """What the recurrent states of a sequence take, in all layers."""
        self.cell_bytes = sum(state.n_bytes for state in self._all)
        """What all else takes."""
        self._slots = Slots(options.n_seq, self.slot_bytes)
        self.tracks = [Track(seq) for seq in range(options.n_seq)]
        self._runs = np.zeros((max_rows, Run.size // 8), np.int64)
        self._order = np.zeros(max_rows, np.int32)
        self._under_way: list[tuple[Track, int, int, int, int]] = []
        """Runs of a batch that was begun: track, count, target, mark, mark_slot."""

    @property
    def n_bytes(self) -> int:
        return self.cell_bytes + self._slots.n_bytes

    def allocate(self) -> None:
        for state in self._all:
            state.allocate(self._slots.n_slots)

    # --- batches

    @property
    def addresses(self) -> dict[str, int]:
        """Of the step's fields that `begin` fills."""
        return {"runs": int(self._runs.ctypes.data), "order": int(self._order.ctypes.data)}

    def begin(self, seq_ids: Sequence[int]) -> int:
        """Write the runs of a batch whose rows belong to these sequences; their number. End it by commit or abandon."""
        n = len(seq_ids)
        if n == 1:
            self._order[0] = 0
            counts = {seq_ids[0]: 1}
        else:
            ids = np.asarray(seq_ids)
            self._order[:n] = np.argsort(ids, kind="stable")
            seqs, sizes = np.unique(ids, return_counts=True)
            counts = dict(zip(seqs.tolist(), sizes.tolist(), strict=True))
        first, self._under_way = 0, []
        for i, (seq, count) in enumerate(counts.items()):
            track, target = self.tracks[seq], self._slots.take()
            # One row before the end: where an answer to the same prompt begins again.
            mark, mark_slot = (count - 1, self._slots.take()) if count > 1 else (0, -1)
            self._runs[i] = (seq, track.past, first, count, track.slot, target, mark, mark_slot)
            self._under_way.append((track, count, target, mark, mark_slot))
            first += count
        return len(counts)

    def commit(self) -> None:
        """The pass has come to its end. Around each piece of a prompt checkpoints are kept: where it began, for another
        message in its place; one token before its end, for another answer; and at its end."""
        for track, count, target, mark, mark_slot in self._under_way:
            if count > 1:
                self.checkpoint(track)
                self._slots.keep(track, track.past + mark, mark_slot)
            track.past += count
            track.written = max(track.written, track.past)
            self._slots.advance(track, target)
            if count > 1 or track.past % EVERY == 0:
                self.checkpoint(track)
        self._under_way = []

    def abandon(self) -> None:
        """The pass was stopped: the sequences hold what they held, but that cells of positions to come were written."""
        for track, count, target, _, mark_slot in self._under_way:
            track.written = max(track.written, track.past + count)
            self._slots.drop(target)
            self._slots.drop(mark_slot)
        self._under_way = []

    # --- going back, copies

    def checkpoint(self, track: Track) -> None:
        """Keep the recurrent states as they are, for `cut` to go back to."""
        self._slots.keep(track, track.past, self._slots.share(track.slot))

    def cut(self, track: Track, position: int) -> int:
        """Go back to the last position, at most `position`, that all states can go on from; what it is."""
        position = self.reach(track, position)
        self._slots.cut(track, position)
        track.past = position
        if not position:
            track.written = 0
        return position

    def reach(self, track: Track, position: int) -> int:
        """The last position, at most `position`, that all states can go on from."""
        before = -1
        while position != before:
            before = position
            position = min((state.rewind(track, position) for state in self._all), default=position)
        return position

    def copy(self, source: Track, target: Track) -> None:
        if source is target:
            return
        for state in self._all:
            state.copy(source, target)
        self._slots.copy(source, target)
        target.past, target.written = source.past, source.written

    def clear(self) -> None:
        for track in self.tracks:
            self._slots.forget(track)
            track.past = track.written = 0

    def save(self, track: Track) -> list[bytes]:
        """What a sequence holds, a state at a time."""
        return [state.save(track) for state in self._all]

    def restore(self, track: Track, past: int, content: Sequence[bytes]) -> None:
        """Put back what `save` gave when the sequence held `past` tokens; `cut` can come back there. Raises UsageError,
        nothing changed."""
        if len(content) != len(self._all):
            raise UsageError(f"a saved sequence of this model has {len(self._all)} parts, not {len(content)}")
        for i, (state, part) in enumerate(zip(self._all, content, strict=True)):
            if wrong := state.check(past, part):
                raise UsageError(f"part {i} of the saved sequence of {past} tokens {wrong}")
        self._slots.forget(track)
        track.past = track.written = past
        if past:
            self._slots.advance(track, self._slots.take())
        for state, part in zip(self._all, content, strict=True):
            state.restore(track, part)
        self.checkpoint(track)


def _states(mixers: Sequence[Mixer], options: StateOptions) -> dict[int, tuple[State, ...]]:
    """What each block keeps, by the block's id. Where a sequence is one batch, cells of one shape serve all layers."""
    found: dict[int, tuple[State, ...]] = {}
    shared: dict[object, State] = {}
    for mixer in mixers:
        states = mixer.states(options)
        if options.one_batch:
            states = tuple(shared.setdefault(s.shape if isinstance(s, Cells) else id(s), s) for s in states)
        found[id(mixer)] = states
    return found
