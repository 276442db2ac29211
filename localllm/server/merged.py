"""Several answers at once: their items as one stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from typing import TypeVar

T = TypeVar("T")
_AHEAD = 256
"""Items that may wait for who reads."""


async def merged(sources: Sequence[AsyncGenerator[T, None]], at_once: int) -> AsyncGenerator[tuple[int, T], None]:
    """Items of all sources, each with its source's index, as they come; at most `at_once` sources are begun and not
    ended. The first error ends all, and is raised."""
    waiting: deque[tuple[int, T]] = deque()
    news, room = asyncio.Event(), asyncio.Event()
    gate = asyncio.Semaphore(at_once)

    async def pump(index: int, source: AsyncGenerator[T, None]) -> None:
        async with gate:
            async for item in source:
                while len(waiting) >= _AHEAD:
                    room.clear()
                    await room.wait()
                waiting.append((index, item))
                news.set()

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for index, source in enumerate(sources):
                group.create_task(pump(index, source))

    running = asyncio.ensure_future(run())
    running.add_done_callback(lambda _: news.set())
    try:
        while True:
            while waiting:
                yield waiting.popleft()
                room.set()
            if running.done():
                break
            news.clear()
            await news.wait()
        try:
            await running
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
    finally:
        running.cancel()
        await asyncio.wait({running})
        for source in sources:
            await source.aclose()
