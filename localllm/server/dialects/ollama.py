"""/api/chat and /api/generate of Ollama (its docs/api.md): lines of JSON, calls of tools whole."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from msgspec import UNSET

from localllm.generate.constraint import NewConstraint
from localllm.generate.dialogue.deltas import CallArguments, CallBegin, Content, Reasoning
from localllm.generate.dialogue.parser import OutputParser
from localllm.generate.dialogue.prepare import Prepared
from localllm.generate.grammar import Grammar, compile_grammar
from localllm.generate.piece import TokenLogprob
from localllm.generate.stats import Stats
from localllm.server.call import Call
from localllm.server.chat import Chat, ChatEnd, Part, ToolCall, begin, check_may_fit, start
from localllm.server.dialects import ollama_models
from localllm.server.dialects import ollama_types as types
from localllm.server.dialects.ollama_messages import (
    chat_conversation,
    form,
    generate_conversation,
    keep_alive,
    limits,
    sampling,
)
from localllm.server.dialects.openai_common import logprobs_body, refuse, timestamp
from localllm.server.endpoint import ApiError, Dialect, Endpoint
from localllm.server.models import Served
from localllm.server.streams import ndjson
from localllm.text.infill import infill_prompt


async def chat(call: Call) -> Any:
    body: types.ChatBody = call.body
    if not body.messages:
        return await _load(call, lambda head: types.ChatAnswer(**head, message=types.AnswerMessage()))
    return await _answer(call, _ChatLines)


async def generate(call: Call) -> Any:
    body: types.GenerateBody = call.body
    for name in ("images", "context", "template"):
        if getattr(body, name):
            raise refuse(f"{name}: {_REFUSED[name]}", name)
    if not body.prompt and not body.suffix:
        return await _load(call, lambda head: types.GenerateAnswer(**head, response=""))
    return await _answer(call, _GenerateLines)


_REFUSED = {
    "images": "models here read texts alone",
    "context": "earlier turns are given to /api/chat, as messages; what they share with others is not read again",
    "template": "the model's own is used; with raw the prompt is taken as it is",
}


async def _load(call: Call, make: Any) -> Any:
    """Nothing is asked: the model is loaded, or dropped."""
    seconds = keep_alive(call.body.keep_alive)
    if seconds == 0:
        name = call.server.models.name(call.body.model)
        await call.server.models.unload(name)
        return make(_head(name) | {"done": True, "done_reason": "unload"})
    async with call.model(call.body.model, seconds) as served:
        return make(_head(served.name) | {"done": True, "done_reason": "load"})


async def _answer(call: Call, kind: type[_Lines]) -> Any:
    if call.body.stream is not False:
        return await ndjson(call, _stream(call, kind))
    whole: types.Answer | None = None
    async for line in _stream(call, kind):
        whole = line if whole is None else kind.joined(whole, line)
    return whole


async def _stream(call: Call, kind: type[_Lines]) -> AsyncGenerator[Any, None]:
    begun = time.perf_counter_ns()
    async with call.model(call.body.model, keep_alive(call.body.keep_alive)) as served:
        loaded = time.perf_counter_ns() - begun
        lines = kind(call, served)
        with await lines.start() as answer:
            async for event in answer:
                match event:
                    case Part():
                        for line in lines.said(event):
                            yield line
                    case ChatEnd():
                        for line in lines.ended(event, begun, loaded):
                            yield line


def _head(name: str) -> dict[str, Any]:
    return {"model": name, "created_at": timestamp(time.time())}


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


class _Lines(ABC):
    """Makes the lines of one answer. Calls of tools are told whole, since that is how Ollama's clients read them."""

    def __init__(self, call: Call, served: Served) -> None:
        self._call, self._served = call, served
        self._open: ToolCall | None = None
        self._n_calls = 0

    @abstractmethod
    async def start(self) -> Chat:
        """Submit what the body asks for."""

    @abstractmethod
    def line(self, head: dict[str, Any], content: str = "", thinking: Any = UNSET, calls: Any = UNSET) -> Any:
        """A line in the endpoint's form."""

    @staticmethod
    @abstractmethod
    def joined(whole: Any, line: Any) -> Any:
        """An answer that is not streamed: what came so far, and one line more."""

    def said(self, part: Part) -> list[Any]:
        lines, logprobs = [], self._logprobs(part.logprobs)
        for delta in part.deltas or (Content(""),):
            match delta:
                case Content(text):
                    lines.append(self._line(content=text, logprobs=logprobs))
                    logprobs = UNSET
                case Reasoning(text):
                    lines.append(self._line(thinking=text))
                case CallBegin(_, call_id, name):
                    lines += self._called()
                    self._open = ToolCall(call_id, name)
                case CallArguments(_, text):
                    assert self._open
                    self._open.arguments += text
        return lines

    def ended(self, end: ChatEnd, begun: int, loaded: int) -> list[Any]:
        stats: Stats = end.stats
        told = {
            "done": True,
            "done_reason": "length" if end.reason == "length" else "stop",
            "total_duration": time.perf_counter_ns() - begun,
            "load_duration": loaded,
            "prompt_eval_count": stats.prompt_tokens,
            "prompt_eval_duration": _nanoseconds(stats.prompt_seconds),
            "eval_count": stats.answer_tokens,
            "eval_duration": _nanoseconds(stats.answer_seconds),
        }
        return [*self._called(), self.line(_head(self._served.name) | told)]

    def _line(self, content: str = "", thinking: Any = UNSET, calls: Any = UNSET, logprobs: Any = UNSET) -> Any:
        return self.line(_head(self._served.name) | {"done": False, "logprobs": logprobs}, content, thinking, calls)

    def _called(self) -> list[Any]:
        """The call that has come to its end, if there is one."""
        called, self._open = self._open, None
        if called is None:
            return []
        function = types.CallFunction(name=called.name, arguments=called.object(), index=self._n_calls)
        self._n_calls += 1
        return [self._line(calls=[types.ToolCallBody(function=function, id=called.id)])]

    def _logprobs(self, tokens: Sequence[TokenLogprob]) -> Any:
        if not tokens:
            return UNSET
        wants_top = bool(self._call.body.top_logprobs)
        told = []
        for entry in logprobs_body(self._served.model.tokenizer, tokens):
            top = [types.TopLogprob(t.token, t.logprob, t.bytes) for t in entry.top_logprobs]
            told.append(types.Logprob(entry.token, entry.logprob, entry.bytes, top if wants_top else UNSET))
        return told


def _more(a: Any, b: Any) -> Any:
    """Both, one after the other, where either may be unset."""
    return b if a is UNSET else a if b is UNSET else a + b


class _ChatLines(_Lines):
    async def start(self) -> Chat:
        body: types.ChatBody = self._call.body
        chosen = sampling(body.options or types.Options(), self._served)
        return await start(self._served, chat_conversation(body), chosen, limits(body, self._call), self._call)

    def line(self, head: dict[str, Any], content: str = "", thinking: Any = UNSET, calls: Any = UNSET) -> Any:
        return types.ChatAnswer(
            **head, message=types.AnswerMessage(content=content, thinking=thinking, tool_calls=calls)
        )

    @staticmethod
    def joined(whole: types.ChatAnswer, line: types.ChatAnswer) -> types.ChatAnswer:
        a, b = whole.message, line.message
        line.message = types.AnswerMessage(
            content=a.content + b.content,
            thinking=_more(a.thinking, b.thinking),
            tool_calls=_more(a.tool_calls, b.tool_calls),
        )
        line.logprobs = _more(whole.logprobs, line.logprobs)
        return line


class _GenerateLines(_Lines):
    async def start(self) -> Chat:
        body: types.GenerateBody = self._call.body
        chosen, bounds = sampling(body.options or types.Options(), self._served), limits(body, self._call)
        if body.suffix or body.raw:
            check_may_fit([body.prompt or "", body.suffix or ""], self._served, "prompt")
        if body.suffix:
            ids = infill_prompt(self._served.tokenizer(), body.prompt or "", body.suffix)
        elif body.raw:
            ids = await self._served.encode(body.prompt or "", True, True)
        else:
            return await start(self._served, generate_conversation(body), chosen, bounds, self._call)
        grammar = form(body.format)
        constraint = None if grammar is None else await asyncio.to_thread(self._compiled, grammar)
        prepared = Prepared("", list(ids), OutputParser, constraint)
        return begin(self._served, prepared, chosen, bounds, self._call)

    def _compiled(self, grammar: Grammar) -> NewConstraint:
        return compile_grammar(self._served.tokenizer(), grammar)

    def line(self, head: dict[str, Any], content: str = "", thinking: Any = UNSET, calls: Any = UNSET) -> Any:
        return types.GenerateAnswer(**head, response=content, thinking=thinking)

    @staticmethod
    def joined(whole: types.GenerateAnswer, line: types.GenerateAnswer) -> types.GenerateAnswer:
        line.response = whole.response + line.response
        line.thinking = _more(whole.thinking, line.thinking)
        line.logprobs = _more(whole.logprobs, line.logprobs)
        return line


def error_body(error: ApiError) -> types.ErrorBody:
    return types.ErrorBody(error.message)


DIALECT = Dialect(
    "Ollama",
    (
        Endpoint("POST", "/api/chat", chat, types.ChatBody, types.ChatAnswer, "Answer messages", types.ChatAnswer),
        Endpoint(
            "POST", "/api/generate", generate, types.GenerateBody, types.GenerateAnswer, "Answer a prompt",
            types.GenerateAnswer,
        ),
        *ollama_models.ENDPOINTS,
    ),
    error_body,
    prefixes=("/api/",),
    stream_type="application/x-ndjson",
)  # fmt: skip
