"""/v1/messages: Anthropic's Messages API (its API reference), with its stream of events and its counting of tokens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Any

from localllm.engine.request import Reading
from localllm.generate.dialogue.deltas import CallArguments, CallBegin, Content, Delta, Reasoning
from localllm.generate.params import Sampling
from localllm.generate.stats import Stats
from localllm.server.call import Call
from localllm.server.chat import Chat, ChatEnd, Limits, Message, Part, prepared_for, start
from localllm.server.dialects import anthropic_types as types
from localllm.server.dialects.anthropic_messages import conversation
from localllm.server.dialects.openai_common import new_id
from localllm.server.dialects.openai_fields import own_sampling, stops
from localllm.server.endpoint import ApiError, Dialect, Endpoint, Named
from localllm.server.models import Served
from localllm.server.streams import sse

_KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error",
}  # fmt: skip
"""Status -> the reference's word for the error."""


def error_body(error: ApiError) -> types.ErrorBody:
    """{"type": "error", "error": {type, message}}."""
    default = "invalid_request_error" if error.status < 500 else "api_error"
    return types.ErrorBody(types.ErrorDetails(_KINDS.get(error.status, default), error.message))


def _sampling(body: types.MessagesBody, served: Served) -> Sampling:
    given = {name: value for name in ("temperature", "top_p", "top_k") if (value := getattr(body, name)) is not None}
    return own_sampling(served, given)


async def _start(call: Call, served: Served) -> Chat:
    body: types.MessagesBody = call.body
    limits = Limits(
        max_tokens=body.max_tokens,
        stop=stops(body.stop_sequences),
        user=call.behind(body.metadata.user_id if body.metadata else None),
    )
    return await start(served, conversation(body), _sampling(body, served), limits, call)


async def messages(call: Call) -> Any:
    if call.body.stream:
        return await sse(call, _named(call))
    async with call.model(call.body.model) as served:
        with await _start(call, served) as chat:
            (message,) = await chat.messages()
    assert message.end
    return types.AnswerMessage(
        id=new_id("msg_"),
        model=served.name,
        content=list(_blocks(message)),
        stop_reason=_reason(message.end, call.body),
        stop_sequence=_stop_text(message.end, call.body),
        usage=_usage(message.end.stats),
    )


def _blocks(message: Message) -> Iterator[types.AnswerBlock]:
    if message.reasoning:
        yield types.ThinkingBlock(message.reasoning)
    if message.content or not (message.calls or message.reasoning):
        yield types.TextBlock(message.content)
    for call in message.calls:
        yield types.ToolUseBlock(call.id, call.name, call.object())


_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def _reason(end: ChatEnd, body: types.MessagesBody) -> str:
    if _stop_text(end, body) is not None:
        return "stop_sequence"
    if end.stats.stop_reason == "context":
        return "model_context_window_exceeded"
    return _REASONS[end.reason]


def _stop_text(end: ChatEnd, body: types.MessagesBody) -> str | None:
    """The client's stop sequence that was found; those of the template are the model's own affair."""
    return end.stop_text if end.stop_text in (body.stop_sequences or ()) and end.stop_text else None


def _usage(stats: Stats) -> types.AnswerUsage:
    return types.AnswerUsage(stats.prompt_tokens - stats.cached_tokens, stats.answer_tokens, stats.cached_tokens)


# --- the stream


async def _named(call: Call) -> AsyncGenerator[Any, None]:
    async for event in _events(call):
        yield Named(str(type(event).__struct_config__.tag), event)


async def _events(call: Call) -> AsyncGenerator[types.StreamEvent, None]:
    body: types.MessagesBody = call.body
    async with call.model(body.model) as served:
        with await _start(call, served) as chat:
            n_prompt, cached, blocks, begun = len(chat.prepared.ids), 0, _Blocks(), False
            async for event in chat:
                if isinstance(event, Reading):
                    cached = event.cached
                if not begun:  # only now is it known how much of the prompt was
                    usage = types.AnswerUsage(n_prompt - cached, 0, cached)
                    yield types.MessageStart(_empty(served, usage))
                    begun = True
                match event:
                    case Part():
                        for delta in event.deltas:
                            for told in blocks.tell(delta):
                                yield told
                    case ChatEnd():
                        for told in blocks.close():
                            yield told
                        end = types.MessageDelta(_reason(event, body), _stop_text(event, body))
                        yield types.MessageEnd(end, _usage(event.stats))
            yield types.MessageStop()


def _empty(served: Served, usage: types.AnswerUsage) -> types.AnswerMessage:
    return types.AnswerMessage(
        id=new_id("msg_"), model=served.name, content=[], stop_reason=None, stop_sequence=None, usage=usage
    )


class _Blocks:
    """Which block is open, and the events that open, fill and close it."""

    def __init__(self) -> None:
        self._index = -1
        self._kind: type[Delta] | None = None

    def tell(self, delta: Delta) -> Iterator[types.StreamEvent]:
        match delta:
            case Content(text):
                yield from self._open(Content, types.TextBlock(""))
                yield types.BlockDelta(self._index, types.TextDelta(text))
            case Reasoning(text):
                yield from self._open(Reasoning, types.ThinkingBlock(""))
                yield types.BlockDelta(self._index, types.ThinkingDelta(text))
            case CallBegin(_, call_id, name):
                yield from self.close()
                yield from self._open(CallBegin, types.ToolUseBlock(call_id, name, {}))
            case CallArguments(_, text):
                yield types.BlockDelta(self._index, types.InputDelta(text))

    def close(self) -> Iterator[types.StreamEvent]:
        if self._kind is Reasoning:
            yield types.BlockDelta(self._index, types.SignatureDelta())
        if self._kind is not None:
            yield types.BlockStop(self._index)
        self._kind = None

    def _open(self, kind: type[Delta], block: types.AnswerBlock) -> Iterator[types.StreamEvent]:
        if self._kind is kind:
            return
        yield from self.close()
        self._kind, self._index = kind, self._index + 1
        yield types.BlockStart(self._index, block)


async def count_tokens(call: Call) -> types.TokenCount:
    async with call.model(call.body.model) as served:
        return types.TokenCount(len((await prepared_for(served, conversation(call.body))).ids))


DIALECT = Dialect(
    "Anthropic",
    (
        Endpoint(
            "POST", "/v1/messages", messages, types.MessagesBody, types.AnswerMessage, "Answer messages",
            types.StreamEvent,
        ),
        Endpoint(
            "POST", "/v1/messages/count_tokens", count_tokens, types.CountBody, types.TokenCount, "Tokens of messages"
        ),
    ),
    error_body,
    prefixes=("/v1/messages",),
    stream_error=lambda error: (Named("error", error_body(error)),),
    ping=Named("ping", types.Ping()),
)  # fmt: skip
