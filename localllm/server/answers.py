"""The engine's events in asyncio: an answer that is read, and given up when nobody reads it any more."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from localllm.engine.request import Ended, Event, Failed, Request
from localllm.generate.stats import Stats
from localllm.server.endpoint import ApiError, api_error
from localllm.server.logs import log_prompt

if TYPE_CHECKING:
    from localllm.server.call import Call
    from localllm.server.models import Served

MAX_WAITING = 8192
"""Events that may wait for a reader; a client that lags behind by more is given up."""


class Events:
    """An asynchronous iterator over the events of one request, submitted when it is made.

    It ends after the last Ended; a Failed is raised as ApiError. Leaving the `with` block, and cancelling who reads,
    cancels the request.
    """

    def __init__(self, served: Served, request: Request, on_end: Callable[[Stats], None]) -> None:
        """Raises ContextFullError, QueueFullError or UsageError."""
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._is_waking = False
        self._overrun = False
        self._left, self._on_end = request.n, on_end
        self._handle = served.generating().submit(request, self._on_event)

    def _on_event(self, event: Event) -> None:
        """In the engine's thread. The loop is woken once, however many events arrive until it runs."""
        if len(self._waiting) >= MAX_WAITING:
            self._overrun = True
            self._handle.cancel()
            return
        self._waiting.append(event)
        if not self._is_waking:
            self._is_waking = True
            self._loop.call_soon_threadsafe(self._woken)

    def _woken(self) -> None:
        self._is_waking = False
        self._wake.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._left == 0:
            raise StopAsyncIteration
        while not self._waiting:
            if self._overrun:
                self._left = 0
                raise ApiError(408, f"the answer is read too slowly: {MAX_WAITING} events wait")
            self._wake.clear()
            if not self._waiting:
                try:
                    await self._wake.wait()
                except BaseException:
                    self.close()
                    raise
        event = self._waiting.popleft()
        if isinstance(event, Failed):
            self._left = 0
            raise api_error(event.error)
        if isinstance(event, Ended):
            self._left -= 1
            self._on_end(event.stats)
        return event

    def stop(self) -> None:
        """Let the answers end here; what they came to is still told."""
        self._handle.cancel()

    def close(self) -> None:
        """Cancel what still runs."""
        if self._left:
            self._left = 0
            self._handle.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self.close()


def events(served: Served, request: Request, call: Call) -> Events:
    """Submit a request of a call: with its user, and the server's limit of time where it has none of its own.

    Use it as `with events(...) as answer: async for event in answer: ...`. Raises ContextFullError, QueueFullError or
    UsageError at once, before anything is computed.
    """
    if call.server.options.log_prompts and served.model.tokenizer is not None:
        log_prompt(call.id, served.model.tokenizer.decode(request.ids, special=True))
    deadline = request.deadline if request.deadline is not None else call.server.options.timeout

    def ended(stats: Stats) -> None:
        call.server.metrics.ended(served.name, stats)

    return Events(served, replace(request, user=request.user or call.user, deadline=deadline), ended)
