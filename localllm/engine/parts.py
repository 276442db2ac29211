"""Which rows a pass has: those of all answers, then pieces of the prompts that are read."""

from __future__ import annotations

from dataclasses import dataclass

from localllm.engine.lane import Lane, Slot

MAX_LOGITS_BYTES = 64 << 20
"""Of logits of prompts in one pass."""


@dataclass(frozen=True)
class Part:
    """The rows of one lane in a pass: its next tokens."""

    lane: Lane
    slot: Slot
    tokens: list[int]
    reading: bool
    """They are of the prompt."""
    whole: bool
    """With them all that is known of the sequence is evaluated: it can be fed."""
    want: list[bool]
    """Whose logits are wanted, a flag a row."""

    @classmethod
    def of(cls, lane: Lane, room: int) -> Part:
        """At most `room` rows, up to a place where the lane is to stop."""
        slot, ids = lane.slot, lane.sequence.ids
        assert slot is not None
        start, reading = slot.n_held, lane.reading
        stop = min(start + room, len(ids), lane.marks[-1] if lane.marks else len(ids))
        tokens, whole = ids[start:stop], stop == len(ids)
        every = reading and lane.tells_prompt
        want = [True] * len(tokens) if every else [False] * (len(tokens) - 1) + [whole]
        return cls(lane, slot, tokens, reading, whole, want)

    @property
    def n_rows(self) -> int:
        return len(self.tokens)


def pick(answering: list[Lane], reading: list[Lane], room: int, n_vocab: int) -> list[Part]:
    """A row for each answer, and `room` rows beside them: for tokens that constraints have set, then for prompts."""
    parts = []
    for lane in answering:
        parts.append(Part.of(lane, 1 + room))
        room -= parts[-1].n_rows - 1
    logit_rows = max(1, MAX_LOGITS_BYTES // (4 * n_vocab))
    for lane, most in _shares(reading, room):
        piece = min(most, logit_rows) if lane.tells_prompt else most
        if piece > 0:
            parts.append(Part.of(lane, piece))
            logit_rows -= parts[-1].n_rows if lane.tells_prompt else 0
    return parts


def _shares(reading: list[Lane], room: int) -> list[tuple[Lane, int]]:
    """Rows for each prompt that is read: half of them for the one that came first, so that none waits forever; of the
    rest the shortest prompts have what they need, since they are done with it."""
    if not reading:
        return []
    first, *others = reading
    left = room - min(first.pending, -(-room // 2))
    shares = []
    for lane in sorted(others, key=lambda lane: lane.pending):
        shares.append((lane, min(left, lane.pending)))
        left -= shares[-1][1]
    return [(first, room - sum(share for _, share in shares)), *shares]
