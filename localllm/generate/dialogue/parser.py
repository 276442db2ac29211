"""The text of an answer, piece by piece, taken apart into content, thinking and calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localllm.generate.dialogue.deltas import Delta
from localllm.generate.dialogue.formats import Format
from localllm.generate.dialogue.reader import Markers, Step
from localllm.generate.dialogue.thinking import FINAL, HARMONY, Thinking
from localllm.generate.dialogue.turn import Turn


@dataclass(frozen=True)
class Reading:
    """How an answer is to be read."""

    format: Format | None = None
    """None: it has no calls."""
    tools: Sequence[Mapping[str, Any]] = ()
    """Those that it may call."""
    thinking: Thinking | None = None
    """None: it does not think."""
    is_thinking: bool = False
    """The prompt ended in the midst of thinking."""
    is_continued: bool = False
    """The prompt ended in the midst of content."""


class OutputParser:
    """Takes one answer's text as it comes. What is certain is given out at once, and every character only once."""

    def __init__(self, reading: Reading | None = None, seed: int | None = None) -> None:
        """seed: for the ids of calls, which are random otherwise."""
        self._reading = reading or Reading()
        row = self._reading.format
        ids = (row.id_prefix, row.id_length) if row else ("", 0)
        self._turn = Turn(self._reading.tools, *ids, seed=seed)
        if row and row.is_whole and (self._reading.is_thinking or self._reading.is_continued):
            self._turn.feed(HARMONY.opening if self._reading.is_thinking else FINAL)  # it stands in the prompt
        self._answer = _answer(self._turn, self._reading)

    def push(self, text: str) -> list[Delta]:
        """What a piece of text makes certain."""
        if text:
            self._turn.feed(text)
            next(self._answer, None)
        return self._turn.drain()

    def finish(self) -> list[Delta]:
        """What was held back, now that nothing follows."""
        self._turn.end()
        next(self._answer, None)
        return self._turn.drain()


def _answer(turn: Turn, reading: Reading) -> Step[None]:
    if reading.format and reading.format.is_whole:
        yield from reading.format.read(turn)
        return
    thinking = reading.thinking
    if thinking and not reading.is_continued:
        begins = yield from turn.after_space(thinking.opening)
        if begins:
            yield from turn.space()
            yield from turn.accept(thinking.opening)
        if begins or reading.is_thinking:
            yield from _thoughts(turn, thinking, reading.format)
    yield from _content(turn, reading)


def _thoughts(turn: Turn, thinking: Thinking, row: Format | None) -> Step[None]:
    """Up to their end. White space around them belongs to nobody."""
    yield from turn.space()
    starts = row.starts if row and row.ends_thinking else ()
    yield from turn.until(Markers([thinking.closing, *starts]), turn.reasoning)
    yield from turn.space()
    if (yield from turn.accept(thinking.closing)):
        yield from turn.space()


def _content(turn: Turn, reading: Reading) -> Step[None]:
    row, thinking = reading.format, reading.thinking
    starts, drops = (row.starts, row.drops) if row else ((), ())
    if thinking and thinking.anywhere:
        drops = (*drops, thinking.closing)
        starts = (*starts, thinking.opening)
    markers = Markers([*starts, *drops])
    if row and row.at_start and not reading.is_continued and (yield from turn.after_space("{", "[")):
        yield from _call(turn, row)
    while marker := (yield from turn.until(markers, turn.content, keep_space=not starts)):
        space = yield from turn.at_space()
        if marker in drops:
            turn.content(turn.take(len(space)))
            turn.take(len(marker))
        elif thinking and marker == thinking.opening:
            turn.take(len(space + marker))
            yield from _thoughts(turn, thinking, row)
        elif row and not (yield from _call(turn, row)):
            turn.content(turn.take(len(space + marker)))


def _call(turn: Turn, row: Format) -> Step[bool]:
    """Calls and the white space around them, if there are any."""

    def read() -> Step[None]:
        yield from turn.space()
        yield from row.read(turn)

    found = yield from turn.attempt(read())
    if found:
        yield from turn.space()
    return found
