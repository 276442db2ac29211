"""Embeddings of several requests share batches, and do not suffer for each other."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from localllm.errors import ContextFullError, UsageError
from localllm.server.embedding import Embeddings


class Model:
    """A row of a text is its ids' sum; `batches`: what came together."""

    def __init__(self, pooling="mean"):
        self.network = SimpleNamespace(pooling=SimpleNamespace(kind=pooling))
        self.batches, self.kinds = [], []
        self.gate = threading.Event()
        self.gate.set()

    def embed(self, texts, pooling=None, normalize=True):
        self.gate.wait()
        self.kinds.append((pooling, normalize))
        self.batches.append([list(text) for text in texts])
        if any(len(text) > 3 for text in texts):
            raise ContextFullError("too long")
        return np.array([[sum(text)] for text in texts], np.float32)


def run(work):
    return asyncio.run(asyncio.wait_for(work, 20))


def test_texts_that_wait_go_together():
    async def work():
        model = Model()
        model.gate.clear()
        embeddings = Embeddings(model)
        first = asyncio.ensure_future(embeddings.embed([[1]]))
        await asyncio.sleep(0)
        others = [asyncio.ensure_future(embeddings.embed([[k], [k, k]])) for k in (2, 3)]
        await asyncio.sleep(0)
        other_kind = asyncio.ensure_future(embeddings.embed([[9]], "cls"))
        await asyncio.sleep(0)
        model.gate.set()
        rows = await asyncio.gather(first, *others, other_kind)
        assert [row.ravel().tolist() for row in rows] == [[1], [2, 4], [3, 6], [9]]
        assert model.batches[-1] == [[9]]
        assert sorted(map(len, model.batches)) in ([1, 1, 4], [1, 5])

    run(work())


def test_a_file_that_does_not_say_how_texts_are_pooled():
    async def work():
        with pytest.raises(UsageError, match="--pooling"):
            await Embeddings(Model("none")).embed([[1]])
        assert (await Embeddings(Model("none"), "last").embed([[1]])).tolist() == [[1.0]]
        assert (await Embeddings(Model("none")).embed([[1]], "cls")).tolist() == [[1.0]]

    run(work())


def test_one_that_is_refused_does_not_harm_the_others():
    async def work():
        model = Model()
        embeddings = Embeddings(model)
        good, bad = embeddings.embed([[1], [2]]), embeddings.embed([[1, 1, 1, 1]])
        told = await asyncio.gather(good, bad, return_exceptions=True)
        assert isinstance(told[1], ContextFullError)
        assert isinstance(told[0], np.ndarray)
        assert told[0].ravel().tolist() == [1, 2]

    run(work())


def test_what_nobody_wants_any_more_is_not_computed():
    async def work():
        model = Model()
        model.gate.clear()
        embeddings = Embeddings(model)
        first = asyncio.ensure_future(embeddings.embed([[1]]))
        await asyncio.sleep(0.01)
        second = asyncio.ensure_future(embeddings.embed([[2]]))
        await asyncio.sleep(0)
        second.cancel()
        model.gate.set()
        await first
        with pytest.raises(asyncio.CancelledError):
            await second
        assert (await embeddings.embed([[3]])).tolist() == [[3.0]]
        assert [2] not in [text for batch in model.batches for text in batch]

    run(work())


def test_a_long_list_is_cut_into_batches():
    async def work():
        model = Model()
        rows = await Embeddings(model).embed([[k % 50] for k in range(150)])
        assert rows.ravel().tolist() == [k % 50 for k in range(150)]
        assert list(map(len, model.batches)) == [64, 64, 22]

    run(work())


def test_who_says_how_texts_are_pooled():
    async def work():
        model = Model()
        embeddings = Embeddings(model, "last")
        await embeddings.embed([[1]])
        await embeddings.embed([[1]], "cls", normalize=False)
        await Embeddings(model).embed([[1]])
        assert model.kinds == [("last", True), ("cls", False), (None, True)]
        assert embeddings.is_pooled

    run(work())
