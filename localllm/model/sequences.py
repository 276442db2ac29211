"""The sequences of a context: what every block keeps of them, how far each has come, and the batch under way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from localllm.gate import calls
from localllm.kernels.thread import Run
from localllm.model.blocks import Mixer
from localllm.model.states.cells import Cells
from localllm.model.states.slots import EVERY, Slots
from localllm.model.states.state import Checkpoint, State, StateOptions, Track
from localllm.runtime.arrays import padded


@dataclass(frozen=True)
class Moment:
    """What a sequence held after `position` tokens of the states that do not keep every position: windows (of which
    `written` positions had been written), recurrent states. parts: a state each."""

    position: int
    written: int
    parts: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Span:
    """Cells of positions from start to stop, of the states that keep every position: uint8 [n_bytes]."""

    start: int
    stop: int
    content: np.ndarray


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
        self._runs = padded((max_rows, Run.size // 8), np.int64)
        self._order = padded(max_rows, np.int32)
        self._under_way: list[tuple[Track, int, int, int, int]] = []
        """Runs of a batch that was begun: track, count, target, mark, mark_slot."""

    @property
    def n_bytes(self) -> int:
        return self.cell_bytes + self._slots.n_bytes

    @property
    def batch_bytes(self) -> int:
        """Of what says whose the rows of a batch are."""
        return self._runs.nbytes + self._order.nbytes

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
        """Where `cut` would go back to."""
        return _reach(self._all, track, position)

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
        n = calls.several("parts", content)
        problem = "" if n == len(self._all) else f"has {len(self._all)} parts, not {n}"
        calls.saved("a saved sequence of this model", problem)
        for i, (state, part) in enumerate(zip(self._all, content, strict=True)):
            calls.saved(f"part {i} of the saved sequence of {past} tokens", _not_bytes(part) or state.check(past, part))
        self._slots.forget(track)
        track.past = track.written = past
        if past:
            self._slots.advance(track, self._slots.take())
        for state, part in zip(self._all, content, strict=True):
            state.restore(track, part)
        self.checkpoint(track)

    # --- beginnings that many sequences share

    @property
    def _kept(self) -> list[Cells]:
        return [state for state in self._all if isinstance(state, Cells) and state.by_position]

    @property
    def _passing(self) -> list[State]:
        """The states that a moment holds."""
        return [state for state in self._all if not state.by_position]

    def span_bytes(self, start: int, stop: int) -> int:
        return sum(state.span_bytes(start, stop) for state in self._kept)

    @property
    def moment_is_needed(self) -> bool:
        return bool(self._passing)

    def moment_bytes(self, position: int) -> list[int]:
        return [state.saved_bytes(position) for state in self._passing]

    @property
    def kind(self) -> list[str]:
        """What it takes to understand spans and moments."""
        return [state.kind for state in self._all]

    def span(self, track: Track, start: int, stop: int) -> Span:
        content, at = np.empty(self.span_bytes(start, stop), np.uint8), 0
        for state in self._kept:
            n = state.span_bytes(start, stop)
            state.read_span(track.seq, start, stop, content[at : at + n])
            at += n
        return Span(start, stop, content)

    def moment(self, track: Track, position: int) -> Moment:
        """As of a position that `reach` gives."""
        slots = {c.position: c.slot for c in track.checkpoints} | {track.past: track.slot}
        then = Track(track.seq, position, track.written, slots.get(position, -1))
        return Moment(position, track.written, tuple(state.save(then) for state in self._passing))

    def reach_of(self, moment: Moment, position: int) -> int:
        """The last position, at most `position`, that a moment lets a sequence go on from."""
        then = Track(-1, moment.position, moment.written, checkpoints=[Checkpoint(moment.position, -1)])
        return _reach(self._passing, then, min(position, moment.position))

    def resume(self, track: Track, past: int, spans: Sequence[Span], moment: Moment | None) -> None:
        """Make a sequence what it was after `past` tokens. Raises UsageError, nothing changed."""
        calls.several("spans", spans)
        calls.saved(f"a saved beginning of {past} tokens", self._wrong(past, spans, moment))
        self._slots.forget(track)
        track.past = track.written = moment.position if moment else past
        self._slots.advance(track, self._slots.take())
        for state, part in zip(self._passing, moment.parts if moment else (), strict=True):
            state.restore(track, part)
        for span in spans:
            at, end = 0, min(span.stop, past)
            for cells in self._kept if end > span.start else ():
                n = cells.span_bytes(span.start, span.stop)
                cells.write_span(track.seq, span.start, span.stop, span.content[at : at + n], end)
                at += n
        self.checkpoint(track)
        self.cut(track, past)

    def _wrong(self, past: int, spans: Sequence[Span], moment: Moment | None) -> str:
        reached = 0
        for span in spans:
            if wrong := _no_span(span):
                return wrong
            if not 0 <= span.start <= reached or span.stop < span.start:
                return f"has cells from {span.start} to {span.stop} after those to {reached}"
            if len(span.content) != (need := self.span_bytes(span.start, span.stop)):
                return f"has {len(span.content)} bytes from {span.start} to {span.stop}, must have {need}"
            reached = max(reached, span.stop)
        if reached < past and self._kept:
            return f"has cells of {reached}"
        if moment is None:
            return "has no states" if self._passing else ""
        if wrong := _no_moment(moment):
            return wrong
        if len(moment.parts) != len(self._passing):
            return f"has {len(moment.parts)} states, must have {len(self._passing)}"
        for i, (state, part) in enumerate(zip(self._passing, moment.parts, strict=True)):
            if wrong := _not_bytes(part) or state.check(moment.position, part):
                return f"has a state {i} that {wrong}"
            if isinstance(state, Cells) and (written := state.written(part)) != moment.written:
                return f"has a state {i} of {written} tokens written, not {moment.written}"
        if (at := self.reach_of(moment, past)) != past:
            return f"has states of {moment.position}, from which it goes on at {at}"
        return ""


def _not_bytes(part: object) -> str:
    """What is wrong with a state's content, whoever made it; its size is for the state to check."""
    return "" if isinstance(part, bytes | bytearray) else f"is a {type(part).__name__}, must be bytes"


def _no_span(span: object) -> str:
    if not isinstance(span, Span) or not _are_counts(span.start, span.stop):
        return "has spans that are none"
    content = span.content
    is_bytes = isinstance(content, np.ndarray) and content.dtype == np.uint8 and content.ndim == 1
    return "" if is_bytes else "has a span whose content is no uint8 [n_bytes]"


def _no_moment(moment: object) -> str:
    if not isinstance(moment, Moment) or not _are_counts(moment.position, moment.written):
        return "has a moment that is none"
    return "" if isinstance(moment.parts, tuple) else "has a moment without parts"


def _are_counts(*numbers: object) -> bool:
    """Integers of Python's, which do not wrap, and no more digits than can be written."""
    return all(isinstance(n, int) and abs(n) < 1 << 48 for n in numbers)


def _reach(states: Iterable[State], track: Track, position: int) -> int:
    """The last position, at most `position`, that all these states can go on from."""
    before = -1
    while position != before:
        before = position
        position = min((state.rewind(track, position) for state in states), default=position)
    return position


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
