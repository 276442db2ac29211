"""Streams of an answer: server-sent events and lines of JSON."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from localllm.errors import LocalllmError
from localllm.server.call import Call
from localllm.server.endpoint import ApiError, Named, api_error, unforeseen

_json = msgspec.json.Encoder().encode
Items = AsyncGenerator[Any, None]


def sse_frame(item: Any) -> bytes:
    """One server-sent event: a text as it is ("[DONE]"), a Named with its name, anything else as JSON."""
    if isinstance(item, str):
        return b"data: " + item.encode() + b"\n\n"
    if isinstance(item, Named):
        return b"event: " + item.event.encode() + b"\ndata: " + _json(item.data) + b"\n\n"
    return b"data: " + _json(item) + b"\n\n"


def ndjson_frame(item: Any) -> bytes:
    return _json(item) + b"\n"


async def sse(call: Call, items: Items) -> StreamingResponse:
    """A stream of server-sent events (see `sse_frame`); the dialect's ping is sent when nothing was for a while.

    The first item is awaited here: what goes wrong before it is an error with a status of its own. What goes wrong
    later is told by the dialect's `stream_error`.
    """
    ping = b":\n\n" if call.dialect.ping is None else sse_frame(call.dialect.ping)
    return await _stream(call, items, sse_frame, "text/event-stream", ping)


async def ndjson(call: Call, items: Items) -> StreamingResponse:
    """A stream of lines, each a JSON value; otherwise as `sse`, but without pings."""
    return await _stream(call, items, ndjson_frame, "application/x-ndjson", b"")


async def _stream(
    call: Call, items: Items, frame: Callable[[Any], bytes], media_type: str, ping: bytes
) -> StreamingResponse:
    try:
        first = [await anext(items)]
    except StopAsyncIteration:
        first = []
    except BaseException:
        await items.aclose()
        raise
    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    frames = _frames(call, first, items, frame)
    return _Stream(frames, items, ping, call.server.options.ping, media_type, headers)


async def _frames(
    call: Call, first: list[Any], items: Items, frame: Callable[[Any], bytes]
) -> AsyncGenerator[bytes, None]:
    try:
        for item in first:
            yield frame(item)
        async for item in items:
            yield frame(item)
    except (ApiError, LocalllmError) as error:
        told = error if isinstance(error, ApiError) else api_error(error)
    except Exception as error:
        told = unforeseen(error, call.id)
    else:
        return
    for item in call.dialect.told_in_stream(call.server.models.without_paths(told)):
        yield frame(item)


class _Stream(StreamingResponse):
    """Closes what it reads at its end, whichever: a generator that is left at a `yield` would keep its slot."""

    def __init__(
        self, frames: AsyncGenerator[bytes, None], items: Items, ping: bytes, pause: float, media_type: str,
        headers: dict[str, str],
    ) -> None:  # fmt: skip
        super().__init__(frames, media_type=media_type, headers=headers)
        self._frames, self._items, self._ping, self._pause = frames, items, ping, pause

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._frames.aclose()
            await self._items.aclose()

    async def stream_response(self, send: Send) -> None:
        sent = time.monotonic()

        async def timed_send(message: Any) -> None:
            nonlocal sent
            sent = time.monotonic()
            await send(message)

        async def keep_alive() -> None:
            while True:
                left = sent + self._pause - time.monotonic()
                if left > 0:
                    await asyncio.sleep(left)
                else:
                    await timed_send({"type": "http.response.body", "body": self._ping, "more_body": True})

        if not self._ping:
            await super().stream_response(send)
            return
        pings: asyncio.Task[None] | None = None

        async def first_send(message: Any) -> None:
            nonlocal pings
            await timed_send(message)
            if pings is None:  # the head of the answer is out
                pings = asyncio.ensure_future(keep_alive())
            if not message.get("more_body", True):
                pings.cancel()

        try:
            await super().stream_response(first_send)
        finally:
            if pings is not None:
                pings.cancel()
