"""The interface of a layer's state, and how far a sequence has come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class StateOptions:
    """What a context asks of its states: n_seq sequences of n_ctx tokens. kv_type: how keys and values are stored.
    swa_full: layers with a window keep all positions. one_batch: a sequence is one batch, so that no layer reads what
    another batch wrote, and layers share the same memory, one after another."""

    n_ctx: int
    n_seq: int
    kv_type: str
    swa_full: bool = False
    one_batch: bool = False


@dataclass
class Checkpoint:
    """The recurrent states after `position` tokens lie in `slot`."""

    position: int
    slot: int


@dataclass
class Track:
    """How far sequence `seq` has come: `past` tokens; once it had `written` (layers with a window have forgotten what
    lies too far before that). slot: of its recurrent states, below 0 while they are all zeros; checkpoints: earlier
    ones."""

    seq: int
    past: int = 0
    written: int = 0
    slot: int = -1
    checkpoints: list[Checkpoint] = field(default_factory=list)


class State(Protocol):
    """What one layer keeps of all sequences. Making it takes no memory: `n_bytes` is known first, then `allocate`."""

    slot_bytes: int
    """Of these, what each slot takes; 0: it is not kept in slots."""
    by_position: bool
    """It keeps every position's own, for as long as the sequence lasts (then it is `Cells`): what was saved of some
    positions serves any sequence that begins alike."""

    @property
    def kind(self) -> str:
        """States of one kind understand what another one has saved."""

    @property
    def n_bytes(self) -> int:
        """Beside what lies in slots."""

    def allocate(self, n_slots: int) -> None:
        """Reserve the memory; the system gives it as it is written."""

    def rewind(self, track: Track, position: int) -> int:
        """The last position, at most `position`, from which the sequence can go on."""

    def copy(self, source: Track, target: Track) -> None:
        """Give a sequence what another holds, but for what lies in slots."""

    def save(self, track: Track) -> bytes: ...
    def saved_bytes(self, past: int) -> int:
        """Of what `save` gives for a sequence of `past` tokens."""

    def check(self, past: int, content: bytes) -> str:
        """What is wrong with the content that `save` gave for a sequence of `past` tokens, or nothing."""

    def restore(self, track: Track, content: bytes) -> None:
        """The inverse of `save`, for content that was checked; the track says where it goes."""
