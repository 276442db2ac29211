"""Several answers at once: their items as one stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TypeVar

T = TypeVar("T")
_AHEAD = 256
"""Items that may wait for who reads."""


async def merged(sources: Sequence[AsyncGenerator[T, None]], at_once: int) -> AsyncGenerator[tuple[int, T], None]:
    """Items of all sources, each with its source's index, as they come; at most `at_once` sources are begun and not
    ended. The first error ends all, and is raised."""
    waiting: asyncio.Queue[tuple[int, T] | None] = asyncio.Queue(_AHEAD)
    gate = asyncio.Semaphore(at_once)

    async def pump(index: int, source: AsyncGenerator[T, None]) -> None:
        async with gate:
            async for item in source:
                await waiting.put((index, item))

    async def run() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for index, source in enumerate(sources):
                    group.create_task(pump(index, source))
        finally:
            if not asyncio.current_task().cancelling():  # type: ignore[union-attr]
                await waiting.put(None)

    running = asyncio.ensure_future(run())
    try:
        while (found := await waiting.get()) is not None:
            yield found
        try:
            await running
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
    finally:
        running.cancel()
        await asyncio.wait({running})
        for source in sources:
            await source.aclose()
