"""What directs an answer with thinking and calls: free text, up to where a grammar begins; a budget of thinking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from localllm.errors import LocalllmError
from localllm.generate.constraint import Constraint, NewConstraint
from localllm.generate.dialogue.thinking import Thinking
from localllm.generate.sequence import Decoder

_KEPT = 512
"""Characters of the text so far in which markers are looked for."""


@dataclass(frozen=True)
class Trigger:
    """Where `text` comes in an answer, `calls` hold what follows it."""

    text: str
    calls: NewConstraint
    at_start: bool = False
    """It counts only as the beginning of the answer."""
    first: int | None = None
    """Its first token, where a grammar of content would not let it come."""


@dataclass(frozen=True)
class Directions:
    """How one answer is directed; called, it makes its constraint."""

    new_stream: Callable[[], Decoder]
    """Decodes tokens, control tokens too."""
    encode: Callable[[str], list[int]]
    """Tokens of a text within an answer, control tokens as such."""
    end_ids: frozenset[int]
    thinking: Thinking | None = None
    is_thinking: bool = False
    """The prompt ended in the midst of it."""
    budget: int | None = None
    """Tokens of thinking."""
    body: NewConstraint | None = None
    """What the answer keeps to, after thinking."""
    triggers: tuple[Trigger, ...] = ()
    banned: tuple[int, ...] = ()
    """Tokens that never come."""
    head: str = ""
    """The prompt's end, where triggers begin in it."""
    thinking_stops: tuple[str, ...] = ()
    """Triggers that end thinking, too."""

    def __call__(self) -> Direction:
        return Direction(self)


class Direction:
    """The constraint of one answer (localllm.generate.constraint).

    It passes through: the beginning, where it is open whether the model thinks; thinking; the body; calls.
    """

    def __init__(self, plan: Directions) -> None:
        self._plan = plan
        self._stream = plan.new_stream()
        self._text = plan.head
        """The end of what was said in this phase."""
        self._said = ""
        """All that was said since the beginning, while that counts."""
        self._phase = "thinking" if plan.is_thinking else "beginning" if plan.thinking else "body"
        self._thought = 0
        self._at_start = True
        self._inner = None if plan.is_thinking or plan.body is None else plan.body()
        self._opening = plan.encode(plan.thinking.opening) if plan.thinking and self._inner else []
        self._banned = np.asarray(plan.banned, np.int64)
        self._ends = np.asarray(sorted(plan.end_ids), np.int64)
        self._let_in: set[int] = set()

    @property
    def finished(self) -> bool:
        """Nothing may follow."""
        return self._phase in ("body", "calls") and self._inner is not None and self._inner.finished

    def mask(self, logits: NDArray[np.float32]) -> None:
        """See Constraint."""
        if self._phase == "thinking":
            if self._plan.body is not None:  # the answer is still to come
                logits[self._ends] = -np.inf
            return
        logits[self._banned] = -np.inf
        if self._inner is None:
            return
        others = self._other_beginnings()
        values = logits[others]
        self._inner.mask(logits)
        self._let_in = {token for token in others if logits[token] == -np.inf}
        logits[others] = values

    def _other_beginnings(self) -> list[int]:
        """Tokens that may begin the answer beside what its grammar lets in: of thinking, and of calls."""
        if not self._at_start or self._phase == "calls":
            return []
        return [*self._opening[:1], *(t.first for t in self._plan.triggers if t.first is not None)]

    def accept(self, token: int) -> Sequence[int]:
        """See Constraint."""
        piece = self._stream.push(token)
        self._text = (self._text + piece)[-_KEPT - len(piece) :]
        if self._at_start:
            self._said += piece
        let_in, self._let_in = token in self._let_in, set()
        if let_in:
            return self._begin_otherwise(token)
        return self._ACCEPT[self._phase](self, token, piece)

    def _begin_otherwise(self, token: int) -> Sequence[int]:
        """The answer begins with a token that its grammar did not expect."""
        if self._opening[:1] == [token]:
            rest = self._opening[1:]
            self._enter("thinking")
            return self._pushed(rest)
        trigger = next(t for t in self._plan.triggers if t.first == token)
        rest = self._plan.encode(trigger.text)[1:]
        return [*self._pushed(rest), *self._call(trigger, "")]

    def _accept_beginning(self, token: int, piece: str) -> Sequence[int]:
        thinking = self._plan.thinking
        assert thinking is not None
        said = self._said.lstrip()
        if said.startswith(thinking.opening):
            self._enter("thinking")
            return self._accept_thinking(token, piece)
        if self._inner is None and thinking.opening.startswith(said):
            return ()
        self._phase = "body"
        return self._accept_body(token, piece)

    def _accept_thinking(self, token: int, piece: str) -> Sequence[int]:
        thinking = self._plan.thinking
        assert thinking is not None
        self._thought += 1
        _, found, rest = self._text.partition(thinking.closing)
        if found:
            return self._leave_thinking(rest, thinking.after)
        for stop in self._plan.thinking_stops:
            if stop in self._text:
                self._enter("body")
                self._text = stop + self._text.partition(stop)[2]
                return self._look_for_triggers()
        if self._plan.budget is not None and self._thought >= self._plan.budget and piece:  # whole characters
            forced = thinking.tail + thinking.closing + thinking.after + ("" if self._plan.body else thinking.header)
            self._enter("body")
            self._begin_body()
            return self._pushed(self._plan.encode(forced))
        return ()

    def _leave_thinking(self, rest: str, after: str) -> Sequence[int]:
        """Thinking ended; rest: what was said since, within the same token."""
        self._enter("body")
        self._text = rest
        if self._plan.body is None:
            return ()
        self._begin_body()
        return () if rest else self._pushed(self._plan.encode(after))

    def _begin_body(self) -> None:
        self._inner = self._plan.body() if self._plan.body else None

    def _accept_body(self, token: int, _piece: str) -> Sequence[int]:
        if self._inner is not None:
            self._at_start = False
            return self._inner.accept(token)
        thinking = self._plan.thinking
        if thinking and thinking.anywhere and thinking.opening in self._text:
            self._enter("thinking")
            return ()
        return self._look_for_triggers()

    def _accept_calls(self, token: int, _piece: str) -> Sequence[int]:
        return self._inner.accept(token) if self._inner else ()

    def _look_for_triggers(self) -> Sequence[int]:
        for trigger in self._plan.triggers:
            text = self._said.lstrip() if trigger.at_start else self._text
            before, found, rest = text.partition(trigger.text)
            if found and not (trigger.at_start and before):
                return self._call(trigger, rest)
        starts = [t.text for t in self._plan.triggers if t.at_start]
        said = self._said.lstrip()
        self._at_start = any(text.startswith(said) for text in starts)
        return ()

    def _call(self, trigger: Trigger, rest: str) -> Sequence[int]:
        """A call begins. rest: what was said of it within the trigger's last token. Where that is no call, nothing is
        held to anything."""
        calls = trigger.calls()
        forced: list[int] = []
        try:
            for token in self._plan.encode(rest):
                if forced and forced[0] == token:
                    forced.pop(0)
                    continue
                if forced:
                    raise LocalllmError("no call")
                forced = list(calls.accept(token))
        except LocalllmError:
            self._text = ""
            return ()
        self._enter("calls")
        self._inner = calls
        return self._pushed(forced)

    def _enter(self, phase: str) -> None:
        self._phase, self._text, self._said = phase, "", ""
        self._at_start = phase == "body"
        self._opening = []

    def _pushed(self, tokens: Sequence[int]) -> list[int]:
        for token in tokens:
            self._stream.push(token)
        return list(tokens)

    _ACCEPT: ClassVar[dict[str, Callable[[Direction, int, str], Sequence[int]]]] = {
        "beginning": _accept_beginning,
        "thinking": _accept_thinking,
        "body": _accept_body,
        "calls": _accept_calls,
    }


class Prefixed:
    """A constraint after some tokens that come first."""

    def __init__(self, tokens: Sequence[int], inner: Constraint) -> None:
        self._tokens, self._inner = list(tokens), inner

    @property
    def finished(self) -> bool:
        return not self._tokens and self._inner.finished

    def mask(self, logits: NDArray[np.float32]) -> None:
        """See Constraint."""
        if not self._tokens:
            self._inner.mask(logits)
            return
        value = logits[self._tokens[0]]
        logits[:] = -np.inf
        logits[self._tokens[0]] = value

    def accept(self, token: int) -> Sequence[int]:
        """See Constraint."""
        if not self._tokens:
            return self._inner.accept(token)
        rest = self._tokens[1:]
        self._tokens = []
        return rest
