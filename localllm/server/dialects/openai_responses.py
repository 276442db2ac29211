"""/v1/responses: OpenAI's API reference, with its streaming events; llama.cpp's timings beside them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from localllm.engine.request import Reading
from localllm.errors import LocalllmError
from localllm.generate.dialogue.conversation import Conversation
from localllm.server.call import Call
from localllm.server.chat import Chat, ChatEnd, Limits, Part, Usage, prepared_for, start
from localllm.server.dialects import openai_fields
from localllm.server.dialects.openai_chat_types import InputTokens
from localllm.server.dialects.openai_common import new_id, now, refuse, timings
from localllm.server.dialects.openai_responses_input import conversation, input_items
from localllm.server.dialects.openai_responses_output import Events, Output
from localllm.server.dialects.openai_responses_store import Stored, store_of
from localllm.server.dialects.openai_responses_types import (
    Deleted,
    Incomplete,
    InputDetails,
    InputItem,
    ItemList,
    OutputDetails,
    Reasoning,
    Response,
    ResponseError,
    ResponseEvent,
    ResponsesBody,
    ResponseUsage,
    TextConfig,
    TextFormat,
)
from localllm.server.endpoint import ApiError, Endpoint, Named, api_error
from localllm.server.streams import sse

if TYPE_CHECKING:
    from localllm.generate.params import Sampling
    from localllm.server.models import Served

_LOGPROBS = "message.output_text.logprobs"
_MAX_ITEMS = 100


@dataclass(frozen=True)
class _Asked:
    """`earlier`: the response that this one goes on from; `own`: the body's own items."""

    chat: Chat
    earlier: Stored | None
    own: Sequence[InputItem]
    response: Response
    """As it begins."""
    served: Served


def _earlier(call: Call) -> Stored | None:
    earlier = call.body.previous_response_id
    return None if earlier is None else store_of(call.server).get(earlier, "previous_response_id")


def _conversation(body: ResponsesBody, earlier: Stored | None, own: Sequence[InputItem]) -> Conversation:
    return conversation(body, [*(earlier.conversation if earlier else ()), *own])


@asynccontextmanager
async def _asked(call: Call, served: Served) -> AsyncGenerator[_Asked, None]:
    body: ResponsesBody = call.body
    earlier, own = _earlier(call), input_items(body)
    sampling = openai_fields.sampling(body, served)
    limits = Limits(
        max_tokens=body.max_output_tokens,
        logprobs=(body.top_logprobs or 0) if _with_logprobs(body) else None,
        user=openai_fields.user(body, call),
    )
    with openai_fields.naming("text.format" if body.text and body.text.format else "tools"):
        chat = await start(served, _conversation(body, earlier, own), sampling, limits, call)
    with chat:
        yield _Asked(chat, earlier, own, _begun(body, served, sampling), served)


def _with_logprobs(body: ResponsesBody) -> bool:
    return body.top_logprobs is not None or _LOGPROBS in (body.include or ())


def _begun(body: ResponsesBody, served: Served, sampling: Sampling) -> Response:
    form = body.text.format if body.text and body.text.format else TextFormat(type="text")
    return Response(
        id=new_id("resp_"),
        created_at=now(),
        status="in_progress",
        instructions=body.instructions,
        model=served.name,
        output=[],
        tools=body.tools or [],
        tool_choice=body.tool_choice or "auto",
        parallel_tool_calls=body.parallel_tool_calls is not False,
        text=TextConfig(form),
        reasoning=body.reasoning or Reasoning(),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_logprobs=body.top_logprobs or 0,
        max_output_tokens=body.max_output_tokens,
        previous_response_id=body.previous_response_id,
        store=body.store is not False,
        metadata=body.metadata or {},
        user=body.user,
    )


class _Run:
    """One response on its way: events as its answer comes, and `response` as it is in the end."""

    def __init__(self, asked: _Asked, call: Call) -> None:
        self._asked, self._call = asked, call
        self._events = Events()
        body: ResponsesBody = call.body
        as_summary = bool(body.reasoning and (body.reasoning.summary or body.reasoning.generate_summary))
        tokenizer = asked.served.model.tokenizer
        self._output = Output(self._events, tokenizer, _with_logprobs(body), as_summary)
        self.response = asked.response

    def begin(self) -> list[Named]:
        return [self._whole("created"), self._whole("in_progress")]

    def add(self, event: Reading | Part | ChatEnd) -> list[Named]:
        match event:
            case Part():
                return self._output.add(event)
            case ChatEnd():
                return self._end(event)
        return []

    def fail(self, error: ApiError) -> Named:
        """What is told when something goes wrong in the middle."""
        told = ResponseError("rate_limit_exceeded" if error.status == 429 else "server_error", error.message)
        self.response = replace(self.response, status="failed", error=told, output=self._output.items)
        return self._whole("failed")

    def _end(self, end: ChatEnd) -> list[Named]:
        is_whole = end.reason != "length"
        events = self._output.finish("completed" if is_whole else "incomplete")
        self.response = replace(
            self.response,
            status="completed" if is_whole else "incomplete",
            completed_at=now() if is_whole else None,
            incomplete_details=None if is_whole else Incomplete("max_output_tokens"),
            output=self._output.items,
            usage=_usage(end),
        )
        if self.response.store:
            store_of(self._call.server).put(self.response, self._asked.earlier, self._asked.own)
        kind = "completed" if is_whole else "incomplete"
        return [*events, self._whole(kind, timings=timings(end.stats))]

    def _whole(self, kind: str, **more: Any) -> Named:
        return self._events.make(f"response.{kind}", response=self.response, **more)


def _usage(end: ChatEnd) -> ResponseUsage:
    usage = Usage()
    usage.add(end.stats, end.reasoning_tokens)
    return ResponseUsage(
        usage.prompt,
        usage.completion,
        usage.prompt + usage.completion,
        InputDetails(usage.cached),
        OutputDetails(usage.reasoning),
    )


async def responses(call: Call) -> Any:
    if call.body.stream:
        return await sse(call, _stream(call))
    async with call.model(call.body.model) as served, _asked(call, served) as asked:
        run = _Run(asked, call)
        async for event in asked.chat:
            run.add(event)
        return run.response


async def _stream(call: Call) -> AsyncGenerator[Any, None]:
    async with call.model(call.body.model) as served, _asked(call, served) as asked:
        run = _Run(asked, call)
        for named in run.begin():
            yield named
        try:
            async for event in asked.chat:
                for named in run.add(event):
                    yield named
        except (ApiError, LocalllmError) as error:
            told = error if isinstance(error, ApiError) else api_error(error)
            yield run.fail(call.server.models.without_paths(told))


async def count(call: Call) -> InputTokens:
    """How many tokens an input has."""
    async with call.model(call.body.model) as served:
        asked = _conversation(call.body, _earlier(call), input_items(call.body))
        return InputTokens(len((await prepared_for(served, asked)).ids))


async def get(call: Call) -> Response:
    if call.request.query_params.get("stream", "false") != "false":
        raise refuse("stream: a response that is kept cannot be streamed again", "stream")
    return store_of(call.server).get(call.path("response_id")).response


async def delete(call: Call) -> Deleted:
    response_id = call.path("response_id")
    store_of(call.server).drop(response_id)
    return Deleted(response_id)


async def list_items(call: Call) -> ItemList:
    """What a response was an answer to, a page at a time."""
    items = list(store_of(call.server).get(call.path("response_id")).items)
    query = call.request.query_params
    limit, order, after = query.get("limit", "20"), query.get("order", "desc"), query.get("after")
    if not limit.isdecimal() or not 1 <= int(limit) <= _MAX_ITEMS:
        raise refuse(f"limit is {limit!r:.20}, must be 1 to {_MAX_ITEMS}", "limit")
    if order not in ("asc", "desc"):
        raise refuse(f"order is {order!r:.20}, must be asc or desc", "order")
    if order == "desc":
        items.reverse()
    if after is not None:
        place = next((i for i, item in enumerate(items) if item.id == after), None)
        if place is None:
            raise refuse(f"after: there is no item {after!r:.80}", "after")
        items = items[place + 1 :]
    page = items[: int(limit)]
    first, last = (page[0].id, page[-1].id) if page else (None, None)
    return ItemList(data=page, first_id=first, last_id=last, has_more=len(page) < len(items))


_PREFIXES = ("/v1/responses", "/responses")

ENDPOINTS = tuple(
    endpoint
    for path in _PREFIXES
    for endpoint in (
        Endpoint("POST", path, responses, ResponsesBody, Response, "Answer items", ResponseEvent),
        Endpoint("POST", f"{path}/input_tokens", count, ResponsesBody, InputTokens, "Tokens of items"),
        Endpoint("GET", f"{path}/{{response_id}}", get, None, Response, "A response that is kept"),
        Endpoint("DELETE", f"{path}/{{response_id}}", delete, None, Deleted, "Forget a response"),
        Endpoint("GET", f"{path}/{{response_id}}/input_items", list_items, None, ItemList, "What it answered"),
    )
)
