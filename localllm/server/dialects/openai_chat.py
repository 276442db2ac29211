"""/v1/chat/completions: OpenAI's API reference, and llama.cpp's fields beside it (tools/server/README.md)."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from msgspec import UNSET

from localllm.engine.request import Reading
from localllm.generate.dialogue.conversation import Conversation
from localllm.generate.dialogue.deltas import CallArguments, CallBegin, Content, Delta, Reasoning
from localllm.generate.grammar import Grammar
from localllm.generate.piece import TokenLogprob
from localllm.server.call import Call
from localllm.server.chat import Chat, ChatEnd, Limits, Message, Part, Usage, converse, prepared_for, start
from localllm.server.dialects import openai_fields
from localllm.server.dialects.openai_chat_types import (
    AnswerMessage,
    CallFunction,
    ChatBody,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatDelta,
    ChunkChoice,
    DeltaCall,
    InputTokens,
    MessageCall,
)
from localllm.server.dialects.openai_common import (
    FINGERPRINT,
    LogprobsBody,
    Progress,
    logprobs_body,
    new_id,
    now,
    refuse,
    timings,
    usage_body,
)
from localllm.server.dialects.openai_messages import (
    FunctionCall,
    Tool,
    neutral_messages,
    neutral_tools,
    tool_choice,
)
from localllm.server.endpoint import Endpoint
from localllm.server.models import Served
from localllm.server.streams import sse

# --- what is asked


def conversation(body: ChatBody) -> Conversation:
    """What a body asks to be answered. Raises ApiError."""
    messages = neutral_messages(body.messages)
    tools, choice = body.tools, body.tool_choice
    if body.functions is not None:  # the old form
        tools = [*(tools or ()), *(Tool("function", function) for function in body.functions)]
    if choice is None and body.function_call is not None:
        called = body.function_call
        choice = called if isinstance(called, str) else {"type": "function", "function": called}
    chosen, allowed = tool_choice(choice, neutral_tools(tools))
    thinking, variables = openai_fields.thinking(body.chat_template_kwargs, body.enable_thinking, body.reasoning_effort)
    last = messages[-1]
    goes_on = last["role"] == "assistant" and not last.get("tool_calls") and body.continue_final_message is None
    return converse(
        messages=messages,
        tools=allowed,
        tool_choice=chosen,
        parallel_tool_calls=body.parallel_tool_calls is not False and body.functions is None,
        thinking=thinking,
        thinking_budget=_budget(body),
        grammar=_grammar(body)[1],
        template_kwargs=variables,
        prefill=goes_on or bool(body.continue_final_message),
    )


def _budget(body: ChatBody) -> int | None:
    given = body.thinking_budget_tokens if body.thinking_budget_tokens is not None else body.reasoning_budget_tokens
    return None if given == -1 else given


def _grammar(body: ChatBody) -> tuple[str, Grammar | None]:
    """The field that says what form the answer takes, and the grammar."""
    with openai_fields.naming("response_format"):
        by_format = _by_format(body)
    return openai_fields.grammar(body, ("response_format", by_format))


def _by_format(body: ChatBody) -> Grammar | None:
    asked = body.response_format
    if asked is None or asked.type == "text":
        return None
    if asked.type == "json_object":
        return openai_fields.json_grammar(asked.schema)
    if asked.type != "json_schema":
        types = "text, json_object or json_schema"
        raise refuse(f"response_format: type is {asked.type!r:.40}, must be {types}", "response_format.type")
    if asked.json_schema is None:
        raise refuse("response_format: json_schema is missing", "response_format.json_schema")
    return openai_fields.json_grammar(asked.json_schema.schema)


_FORMATS = ("none", "auto", "deepseek")


def limits(body: ChatBody, call: Call) -> Limits:
    if body.top_logprobs is not None and not body.logprobs:
        raise refuse("top_logprobs: needs logprobs to be true", "top_logprobs")
    if body.modalities and body.modalities != ["text"]:
        raise refuse("modalities: models here write texts alone", "modalities")
    if body.reasoning_format not in (None, *_FORMATS):
        raise refuse(f"reasoning_format: must be one of {', '.join(_FORMATS)}", "reasoning_format")
    raw = body.reasoning_format == "none"
    if raw and (body.tools or body.functions):
        raise refuse("reasoning_format: none leaves the text as it is, and calls of tools in it", "reasoning_format")
    return Limits(
        max_tokens=openai_fields.max_tokens(body, body.max_completion_tokens),
        stop=openai_fields.stops(body.stop),
        n=body.n or 1,
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        ignore_eog=bool(body.ignore_eos),
        use_cache=body.cache_prompt is not False,
        user=openai_fields.user(body, call),
        raw=raw,
    )


async def _start(call: Call, served: Served) -> Chat:
    body: ChatBody = call.body
    bounds, sampling = limits(body, call), openai_fields.sampling(body, served)
    with openai_fields.naming(_grammar(body)[0] or "tools"):
        return await start(served, conversation(body), sampling, bounds, call)


# --- what is answered


async def chat_completions(call: Call) -> Any:
    if call.body.stream:
        return await sse(call, _chunks(call))
    async with call.model(call.body.model) as served:
        created = now()
        with await _start(call, served) as chat:
            messages = await chat.messages()
        usage = Usage()
        choices = [_choice(i, message, call.body, served, usage) for i, message in enumerate(messages)]
        assert messages[0].end
        return ChatCompletion(
            id=new_id("chatcmpl-"),
            created=created,
            model=served.name,
            choices=choices,
            usage=usage_body(usage),
            system_fingerprint=FINGERPRINT,
            timings=timings(messages[0].end.stats),
        )


def _choice(index: int, message: Message, body: ChatBody, served: Served, usage: Usage) -> ChatChoice:
    assert message.end
    usage.add(message.end.stats, message.end.reasoning_tokens)
    calls = [MessageCall(call.id, FunctionCall(call.name, call.arguments)) for call in message.calls]
    is_old = body.functions is not None
    answer = AnswerMessage(
        content=message.content if message.content or not calls else None,
        reasoning_content=message.reasoning or UNSET,
        tool_calls=calls if calls and not is_old else UNSET,
        function_call=calls[0].function if calls and is_old else UNSET,
    )
    return ChatChoice(index, answer, _logprobs(message.logprobs, body, served), _reason(message.end, is_old))


def _logprobs(tokens: Sequence[TokenLogprob], body: ChatBody, served: Served) -> LogprobsBody | None:
    return LogprobsBody(logprobs_body(served.model.tokenizer, tokens)) if body.logprobs else None


def _reason(end: ChatEnd, is_old: bool) -> str:
    return "function_call" if is_old and end.reason == "tool_calls" else end.reason


async def _chunks(call: Call) -> AsyncGenerator[Any, None]:
    """Chunks: the role, what is said, the reason of the end, and, where it was asked for, usage."""
    body: ChatBody = call.body
    async with call.model(body.model) as served:
        with_usage = bool(body.stream_options and body.stream_options.include_usage)
        stream = _ChatStream(body, served, with_usage)
        with await _start(call, served) as chat:
            for index in range(body.n or 1):
                yield stream.chunk(index, ChatDelta(role="assistant", content=""))
            async for event in chat:
                for chunk in stream.chunks(event):
                    yield chunk
        if with_usage:
            yield stream.last()
        yield "[DONE]"


class _ChatStream:
    """Makes the chunks of one answer, which share id and time."""

    def __init__(self, body: ChatBody, served: Served, with_usage: bool) -> None:
        self._body, self._served = body, served
        self._is_old = body.functions is not None
        self._head: dict[str, Any] = {
            "id": new_id("chatcmpl-"), "created": now(), "model": served.name, "system_fingerprint": FINGERPRINT,
            "usage": None if with_usage else UNSET,
        }  # fmt: skip
        self._usage = Usage()
        self._timings: Any = UNSET
        self._started = time.monotonic()

    def chunk(self, index: int, delta: ChatDelta, **more: Any) -> ChatChunk:
        reason, logprobs = more.pop("finish_reason", None), more.pop("logprobs", None)
        return ChatChunk(**self._head, choices=[ChunkChoice(index, delta, logprobs, reason)], **more)

    def chunks(self, event: Reading | Part | ChatEnd) -> list[ChatChunk]:
        match event:
            case Reading():
                return self._progress(event) if self._body.return_progress else []
            case Part():
                return self._said(event)
            case ChatEnd():
                self._usage.add(event.stats, event.reasoning_tokens)
                self._timings = timings(event.stats)
                reason = _reason(event, self._is_old)
                return [self.chunk(event.index, ChatDelta(), finish_reason=reason, timings=self._timings)]

    def last(self) -> ChatChunk:
        """The one that tells of usage, without choices."""
        return ChatChunk(**self._head | {"usage": usage_body(self._usage)}, choices=[], timings=self._timings)

    def _progress(self, event: Reading) -> list[ChatChunk]:
        elapsed = round(1000 * (time.monotonic() - self._started))
        progress = Progress(event.total, event.cached, event.done, elapsed)
        return [self.chunk(index, ChatDelta(), prompt_progress=progress) for index in range(self._body.n or 1)]

    def _said(self, part: Part) -> list[ChatChunk]:
        logprobs = _logprobs(part.logprobs, self._body, self._served) if part.logprobs else None
        deltas = part.deltas or (Content(""),)  # tokens whose text was never told
        chunks = []
        for delta in deltas:
            has_them = isinstance(delta, Content)
            chunks.append(self.chunk(part.index, self._delta(delta), logprobs=logprobs if has_them else None))
            logprobs = None if has_them else logprobs
        if logprobs is not None:
            chunks.append(self.chunk(part.index, ChatDelta(content=""), logprobs=logprobs))
        return chunks

    def _delta(self, delta: Delta) -> ChatDelta:
        match delta:
            case Content(text):
                return ChatDelta(content=text)
            case Reasoning(text):
                return ChatDelta(reasoning_content=text)
            case CallBegin(_, _, name) if self._is_old:
                return ChatDelta(function_call=CallFunction("", name))
            case CallArguments(_, text) if self._is_old:
                return ChatDelta(function_call=CallFunction(text))
            case CallBegin(index, call_id, name):
                return ChatDelta(tool_calls=[DeltaCall(index, CallFunction("", name), call_id, "function")])
            case CallArguments(index, text):
                return ChatDelta(tool_calls=[DeltaCall(index, CallFunction(text))])


async def count(call: Call) -> InputTokens:
    """How many tokens a conversation has (llama.cpp's input_tokens)."""
    async with call.model(call.body.model) as served:
        return InputTokens(len((await prepared_for(served, conversation(call.body))).ids))


_ASK = "Answer a conversation"
_COUNT = "Tokens of a conversation"

ENDPOINTS = (
    *(
        Endpoint("POST", path, chat_completions, ChatBody, ChatCompletion, _ASK, ChatChunk)
        for path in ("/v1/chat/completions", "/chat/completions")
    ),
    *(
        Endpoint("POST", path, count, ChatBody, InputTokens, _COUNT)
        for path in ("/v1/chat/completions/input_tokens", "/chat/completions/input_tokens")
    ),
)
