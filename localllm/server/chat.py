"""Chat, as all dialects share it: a conversation goes in, parts of a message come out, an end for each answer.

Nothing here belongs to a dialect: `openai_chat`, `openai_responses` and the others translate to and from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from localllm.engine.request import Ended, PromptRead, Reading, Request, Said
from localllm.generate.dialogue.conversation import Conversation, ConversationError
from localllm.generate.dialogue.deltas import CallArguments, CallBegin, Content, Delta, Reasoning
from localllm.generate.dialogue.parser import OutputParser
from localllm.generate.dialogue.prepare import Prepared, prepare
from localllm.generate.params import Sampling, defaults_of
from localllm.generate.piece import TokenLogprob
from localllm.generate.stats import Stats
from localllm.server.answers import events
from localllm.server.endpoint import ApiError

if TYPE_CHECKING:
    from localllm.server.call import Call
    from localllm.server.models import Served


@dataclass(frozen=True)
class Limits:
    """Where an answer ends, how many there are, and what is told of them."""

    max_tokens: int | None = None
    """None: until the context is full."""
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: int | None = None
    """How many of the likeliest tokens are told beside each token of the content; None: none, nor the token itself."""
    deadline: float | None = None
    """Seconds; None: the server's own limit."""
    ignore_eog: bool = False
    use_cache: bool = True
    user: str = ""
    """Whose request it is: users take turns; "": the call's."""
    raw: bool = False
    """All text is content: thinking and calls are not looked for."""


@dataclass(frozen=True)
class Part:
    """What a step adds to answer number `index`. logprobs: of tokens of the content, when their text is told."""

    index: int
    deltas: tuple[Delta, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class ChatEnd:
    """Answer number `index` is complete.

    reason: "stop", "length" (max_tokens, a full context or the deadline: stats.stop_reason says which) or "tool_calls".
    stop_text: the stop string that was found. reasoning_tokens: how many of the answer's tokens were thinking.
    """

    index: int
    reason: str
    stats: Stats
    stop_text: str = ""
    reasoning_tokens: int = 0


ChatEvent = Reading | Part | ChatEnd

_REASONS = {"stop": "stop", "length": "length", "context": "length", "deadline": "length"}


def reason_of(stats: Stats) -> str:
    """ "stop" or "length". ApiError for an answer that the server gave up: it is not complete, and must not look so."""
    if stats.stop_reason not in _REASONS:
        raise ApiError(503, "the answer was ended by the server before it was complete", retry_after=1.0)
    return _REASONS[stats.stop_reason]


@dataclass
class Usage:
    """Tokens of all answers to one prompt, which counts once."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0

    def add(self, stats: Stats, reasoning_tokens: int = 0) -> None:
        self.prompt = stats.prompt_tokens
        self.cached = max(self.cached, stats.cached_tokens)
        self.completion += stats.answer_tokens
        self.reasoning += reasoning_tokens


@dataclass
class ToolCall:
    id: str
    name: str
    arguments: str = ""
    """JSON, as the model wrote it."""

    def object(self) -> dict[str, Any]:
        """The arguments as an object. What was cut off, or is none, stays the text that it is, under "arguments"."""
        try:
            return msgspec.json.decode(self.arguments or "{}", type=dict[str, Any])
        except msgspec.DecodeError:
            return {"arguments": self.arguments}


@dataclass
class Message:
    """An answer, put together from its parts."""

    content: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    end: ChatEnd | None = None

    def add(self, part: Part) -> None:
        self.logprobs += part.logprobs
        for delta in part.deltas:
            match delta:
                case Content(text):
                    self.content += text
                case Reasoning(text):
                    self.reasoning += text
                case CallBegin(_, call_id, name):
                    self.calls.append(ToolCall(call_id, name))
                case CallArguments(index, text):
                    self.calls[index].arguments += text


class _Choice:
    """One answer on its way: its parser, and which of its tokens were thinking, content or calls."""

    def __init__(self, index: int, prepared: Prepared) -> None:
        self.index = index
        self._parser = prepared.new_parser()
        self._kind: type[Delta] | None = None
        self._undecided = 0
        self._held: list[TokenLogprob] = []
        self._thought = 0
        self._has_calls = False

    def said(self, event: Said) -> Part | None:
        """None where nothing can be told yet."""
        piece = event.piece
        return self._part(self._parser.push(piece.text) if piece.text else (), len(piece.tokens), piece.logprobs)

    def ended(self, event: Ended) -> tuple[Part | None, ChatEnd]:
        """What was held back, and the end. ApiError for an answer that the server gave up."""
        reason = reason_of(event.stats)
        part = self._part(self._parser.finish(), 0, ())
        if self._held:  # the text that they belong to never came: the head of a character, a stop string
            part = Part(self.index, part.deltas if part else (), (*(part.logprobs if part else ()), *self._held))
            self._held = []
        if self._has_calls and reason == "stop":
            reason = "tool_calls"
        return part, ChatEnd(self.index, reason, event.stats, event.stop_text, self._thought)

    def _part(self, deltas: Iterable[Delta], n_tokens: int, logprobs: Sequence[TokenLogprob]) -> Part | None:
        """Tokens belong to what their text turns out to be; those that bring none to what is being said."""
        deltas = tuple(deltas)
        if deltas:
            self._kind = type(deltas[0])
            n_tokens, self._undecided = n_tokens + self._undecided, 0
        elif self._kind is None:
            self._undecided += n_tokens
        if self._kind is Reasoning:
            self._thought += n_tokens
        if self._kind is None or self._kind is Content:
            self._held += logprobs
        else:
            self._held = []
        if not deltas:
            return None
        self._kind = type(deltas[-1])
        self._has_calls |= any(isinstance(delta, CallBegin) for delta in deltas)
        told: tuple[TokenLogprob, ...] = ()
        if any(isinstance(delta, Content) for delta in deltas):
            told, self._held = tuple(self._held), []
        return Part(self.index, deltas, told)


class Chat:
    """The answers to one conversation, on their way: an asynchronous iterator of ChatEvent.

    `with await start(...) as chat: async for event in chat: ...`; leaving the block cancels what still runs.
    """

    def __init__(self, prepared: Prepared, request: Request, served: Served, call: Call) -> None:
        """Raises QueueFullError or UsageError: the request is submitted here."""
        self.prepared = prepared
        self._choices = [_Choice(index, prepared) for index in range(request.n)]
        self._events = events(served, request, call)

    def __aiter__(self) -> AsyncIterator[ChatEvent]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[ChatEvent]:
        async for event in self._events:
            match event:
                case Reading():
                    yield event
                case Said():
                    if part := self._choices[event.index].said(event):
                        yield part
                case Ended():
                    last, end = self._choices[event.index].ended(event)
                    if last:
                        yield last
                    yield end
                case PromptRead():
                    pass  # nobody asks for it here

    async def messages(self) -> list[Message]:
        """All answers, complete, by their index."""
        messages = [Message() for _ in self._choices]
        async for event in self:
            match event:
                case Part():
                    messages[event.index].add(event)
                case ChatEnd():
                    messages[event.index].end = event
        return messages

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.close()


async def start(served: Served, conversation: Conversation, sampling: Sampling, limits: Limits, call: Call) -> Chat:
    """Prepare a conversation and submit it.

    Raises before anything is computed: ApiError for a prompt longer than the context, TemplateError for a conversation
    that the template refuses, UsageError for a grammar that is wrong, QueueFullError.
    """
    served.generating()
    prepared = await prepared_for(served, conversation, lambda text: check_may_fit([text], served, "messages"))
    return begin(served, prepared, sampling, limits, call)


def begin(served: Served, prepared: Prepared, sampling: Sampling, limits: Limits, call: Call) -> Chat:
    """Submit what was prepared. Raises as `start`."""
    check_fits(len(prepared.ids), served, "messages")
    if limits.raw:
        prepared = replace(prepared, new_parser=OutputParser)
    request = Request(
        ids=prepared.ids,
        sampling=sampling,
        max_tokens=limits.max_tokens,
        stop=(*limits.stop, *prepared.stop),
        n=limits.n,
        constraint=prepared.constraint,
        logprobs=limits.logprobs,
        show_special=prepared.show_special,
        ignore_eog=limits.ignore_eog,
        use_cache=limits.use_cache,
        user=limits.user,
        deadline=limits.deadline,
    )
    return Chat(prepared, request, served, call)


def converse(**fields: Any) -> Conversation:
    """A Conversation of these fields; ApiError that names the place for one that cannot be answered."""
    try:
        return Conversation(**fields)
    except ConversationError as error:
        raise ApiError(400, str(error), param=error.where) from None


async def prepared_for(
    served: Served, conversation: Conversation, check: Callable[[str], object] | None = None
) -> Prepared:
    """Rendering and compiling a grammar can take a while: a thread does it, and the server goes on."""
    try:
        return await asyncio.to_thread(prepare, served.model, conversation, check)
    except ConversationError as error:
        raise ApiError(400, str(error), param=error.where) from None


def check_fits(n_prompt: int, served: Served, param: str) -> None:
    """ApiError for a prompt that the context does not hold: nothing is ever cut off."""
    n_ctx = served.generating().n_ctx
    if n_prompt > n_ctx:
        text = f"the prompt has {n_prompt} tokens, the context holds {n_ctx}"
        raise too_long(f"{text}: shorten it, or start the server with a larger context (-c)", n_prompt, n_ctx, param)


def check_may_fit(texts: Iterable[str], served: Served, param: str) -> None:
    """As `check_fits`, for texts that are not tokenized yet, and need not be where they are far too long."""
    n_ctx = served.generating().n_ctx
    if (least := served.at_least(*texts)) > n_ctx:
        text = f"the prompt has at least {least} tokens, the context holds {n_ctx}"
        raise too_long(f"{text}: shorten it, or start the server with a larger context (-c)", least, n_ctx, param)


def too_long(message: str, n_tokens: int, n_ctx: int, param: str) -> ApiError:
    """What is told of a text that has more tokens than there is room for."""
    details = {"n_prompt_tokens": n_tokens, "n_ctx": n_ctx}
    return ApiError(400, message, "exceed_context_size_error", param, "context_length_exceeded", details=details)


def default_sampling(served: Served) -> Sampling:
    """How tokens are chosen where a request says nothing: as the model's file has it."""
    return defaults_of(served.model.metadata)
