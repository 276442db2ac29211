"""What /v1/responses answers: the parts of a message become items, and events that tell how each of them grows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from localllm.generate.dialogue.deltas import CallArguments, CallBegin, Content, Delta, Reasoning
from localllm.server.chat import Part
from localllm.server.dialects.openai_common import TokenLogprobBody, logprobs_body, new_id
from localllm.server.dialects.openai_responses_types import (
    CallItem,
    MessageItem,
    OutputItem,
    OutputText,
    ReasoningItem,
    ResponseEvent,
    Status,
    ThinkingText,
)
from localllm.server.endpoint import Named

if TYPE_CHECKING:
    from localllm.text.tokenizer import Tokenizer


class Events:
    """Numbers the events of one stream."""

    def __init__(self) -> None:
        self._next = 0

    def make(self, kind: str, **fields: Any) -> Named:
        event = ResponseEvent(type=kind, sequence_number=self._next, **fields)
        self._next += 1
        return Named(kind, event)


class _Growing(ABC):
    """An item that grows. `item`: as it is so far, or in the end."""

    def __init__(self, events: Events, output_index: int, item_id: str) -> None:
        self.id = item_id
        self._events, self._place = events, {"item_id": item_id, "output_index": output_index}
        self._text = ""

    @abstractmethod
    def item(self, status: Status) -> OutputItem: ...

    def begin(self) -> list[Named]:
        return [self._added(), *self._begun()]

    def end(self, status: Status) -> list[Named]:
        place = self._place["output_index"]
        return [
            *self._ended(),
            self._events.make("response.output_item.done", output_index=place, item=self.item(status)),
        ]

    def _added(self) -> Named:
        place = self._place["output_index"]
        return self._events.make("response.output_item.added", output_index=place, item=self.item("in_progress"))

    def _begun(self) -> list[Named]:
        return []

    def _ended(self) -> list[Named]:
        return []

    def _event(self, kind: str, **fields: Any) -> Named:
        return self._events.make(f"response.{kind}", **self._place, **fields)


class _Message(_Growing):
    def __init__(self, events: Events, output_index: int) -> None:
        super().__init__(events, output_index, new_id("msg_"))
        self._parts: list[OutputText] = []
        self._logprobs: list[TokenLogprobBody] = []

    def item(self, status: Status) -> MessageItem:
        return MessageItem(id=self.id, status=status, content=self._parts)

    def _begun(self) -> list[Named]:
        return [self._event("content_part.added", content_index=0, part=OutputText(""))]

    def add(self, text: str, logprobs: list[TokenLogprobBody]) -> list[Named]:
        self._text += text
        self._logprobs += logprobs
        return [self._event("output_text.delta", content_index=0, delta=text, logprobs=logprobs)]

    def _ended(self) -> list[Named]:
        self._parts = [OutputText(self._text, self._logprobs)]
        return [
            self._event("output_text.done", content_index=0, text=self._text, logprobs=self._logprobs),
            self._event("content_part.done", content_index=0, part=self._parts[0]),
        ]


class _Thoughts(_Growing):
    """Told as they are, or, where a summary is asked for, as one."""

    def __init__(self, events: Events, output_index: int, as_summary: bool) -> None:
        super().__init__(events, output_index, new_id("rs_"))
        self._as_summary = as_summary
        self._parts: list[ThinkingText] = []
        self._part_kind = "reasoning_summary_part" if as_summary else "content_part"
        self._text_kind = "reasoning_summary_text" if as_summary else "reasoning_text"
        self._index = {"summary_index" if as_summary else "content_index": 0}

    def item(self, status: Status) -> ReasoningItem:
        summary, content = (self._parts, []) if self._as_summary else ([], self._parts)
        return ReasoningItem(id=self.id, status=status, summary=summary, content=content)

    def _part(self) -> ThinkingText:
        return ThinkingText(self._text, "summary_text" if self._as_summary else "reasoning_text")

    def _begun(self) -> list[Named]:
        return [self._event(f"{self._part_kind}.added", **self._index, part=self._part())]

    def add(self, text: str) -> list[Named]:
        self._text += text
        return [self._event(f"{self._text_kind}.delta", **self._index, delta=text)]

    def _ended(self) -> list[Named]:
        self._parts = [self._part()]
        return [
            self._event(f"{self._text_kind}.done", **self._index, text=self._text),
            self._event(f"{self._part_kind}.done", **self._index, part=self._parts[0]),
        ]


class _Call(_Growing):
    def __init__(self, events: Events, output_index: int, call_id: str, name: str) -> None:
        super().__init__(events, output_index, new_id("fc_"))
        self._call_id, self._name = call_id, name

    def item(self, status: Status) -> CallItem:
        return CallItem(id=self.id, status=status, call_id=self._call_id, name=self._name, arguments=self._text)

    def add(self, text: str) -> list[Named]:
        self._text += text
        return [self._event("function_call_arguments.delta", delta=text)]

    def _ended(self) -> list[Named]:
        return [self._event("function_call_arguments.done", name=self._name, arguments=self._text)]


class Output:
    """The items of one response. `items`: those that are complete."""

    def __init__(self, events: Events, tokenizer: Tokenizer | None, with_logprobs: bool, as_summary: bool) -> None:
        self.items: list[OutputItem] = []
        self._events, self._tokenizer = events, tokenizer
        self._with_logprobs, self._as_summary = with_logprobs, as_summary
        self._open: _Growing | None = None

    def add(self, part: Part) -> list[Named]:
        """The events that tell of a part."""
        logprobs = logprobs_body(self._tokenizer, part.logprobs) if self._with_logprobs else []
        deltas: Sequence[Delta] = part.deltas or (Content(""),)  # tokens whose text was never told
        events: list[Named] = []
        for delta in deltas:
            events += self._delta(delta, logprobs)
            logprobs = [] if isinstance(delta, Content) else logprobs
        return events

    def finish(self, status: Status) -> list[Named]:
        """The last item ends so; an answer that says nothing is an empty message."""
        begun = [] if self.items or self._open else self._begin(_Message(self._events, 0))
        return [*begun, *self._end(status)]

    def _end(self, status: Status) -> list[Named]:
        if self._open is None:
            return []
        events = self._open.end(status)
        self.items.append(self._open.item(status))
        self._open = None
        return events

    def _delta(self, delta: Delta, logprobs: list[TokenLogprobBody]) -> list[Named]:
        match delta:
            case Content(text):
                events = [] if isinstance(self._open, _Message) else self._begin(_Message(self._events, self._n))
                assert isinstance(self._open, _Message)
                return [*events, *self._open.add(text, logprobs)]
            case Reasoning(text):
                is_open = isinstance(self._open, _Thoughts)
                events = [] if is_open else self._begin(_Thoughts(self._events, self._n, self._as_summary))
                assert isinstance(self._open, _Thoughts)
                return [*events, *self._open.add(text)]
            case CallBegin(_, call_id, name):
                return self._begin(_Call(self._events, self._n, call_id, name))
            case CallArguments(_, text):
                assert isinstance(self._open, _Call)
                return self._open.add(text)

    @property
    def _n(self) -> int:
        """The index of the next item."""
        return len(self.items) + (self._open is not None)

    def _begin(self, item: _Growing) -> list[Named]:
        events = self._end("completed")
        self._open = item
        return [*events, *item.begin()]
