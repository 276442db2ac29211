"""Items of several sources as one stream."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from localllm.server.merged import merged


class Source:
    """Yields `items`; counts how many of its kind are open at once."""

    now = most = 0

    def __init__(self, items, error=None):
        self.items, self.error = items, error

    async def __call__(self):
        Source.now += 1
        Source.most = max(Source.most, Source.now)
        try:
            for item in self.items:
                await asyncio.sleep(0)
                yield item
            if self.error:
                raise self.error
        finally:
            Source.now -= 1


@pytest.fixture(autouse=True)
def counted():
    Source.now = Source.most = 0
    yield
    assert Source.now == 0


async def all_of(sources, at_once=2):
    async with aclosing(merged([source() for source in sources], at_once)) as found:
        return [item async for item in found]


def test_all_items_come_in_the_order_of_their_source():
    found = asyncio.run(all_of([Source(range(i)) for i in range(7)], at_once=3))
    for index in range(7):
        assert [item for i, item in found if i == index] == list(range(index))
    assert Source.most == 3


@pytest.mark.parametrize("n", [1, 3])
def test_an_error_ends_all(n):
    sources = [Source(range(1000)) for _ in range(n - 1)] + [Source([1], ValueError("wrong"))]
    with pytest.raises(ValueError, match="wrong"):
        asyncio.run(all_of(sources, at_once=n))


def test_who_leaves_early_ends_all():
    async def leave():
        async with aclosing(merged([Source(range(10_000))() for _ in range(3)], 3)) as found:
            async for item in found:
                return item

    assert asyncio.run(leave())[1] == 0


def test_who_reads_slowly_is_waited_for():
    async def slowly():
        items = []
        async with aclosing(merged([Source(range(1000))() for _ in range(2)], 2)) as found:
            async for item in found:
                items.append(item)
                await asyncio.sleep(0)
        return items

    assert len(asyncio.run(slowly())) == 2000
