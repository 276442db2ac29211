"""Embeddings and scores in asyncio: texts of several requests share batches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from localllm.errors import LocalllmError, UsageError

_BATCH = 64
"""Texts that go to the model at once; between two batches others have their turn."""


@dataclass
class _Text:
    ids: Sequence[int]
    kind: tuple[str | None, bool]
    """Pooling, and whether rows have length 1."""
    row: asyncio.Future[np.ndarray] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Embeddings:
    """The embeddings of one model. Texts wait until the batch that is computed has ended, and then go together.

    pooling: how a text's tokens become one row, where a request does not say it (None: as the file says).
    """

    def __init__(self, model: Any, pooling: str | None = None) -> None:
        self._model, self._pooling = model, pooling
        self._waiting: deque[_Text] = deque()
        self._worker: asyncio.Task[None] | None = None

    @property
    def is_pooled(self) -> bool:
        """Whether a text has one row; otherwise it has one a token."""
        return self._pooling is not None or self._model.network.pooling.kind != "none"

    async def embed(
        self, texts: Sequence[Sequence[int]], pooling: str | None = None, normalize: bool = True
    ) -> np.ndarray:
        """Rows of texts, given as ids: see LoadedModel.embed. UsageError where nobody says how a text is pooled."""
        if pooling is None and not self.is_pooled:
            raise UsageError(
                "this model's file does not say how a text becomes one embedding: start the server with --pooling "
                "(mean, cls or last)"
            )
        wanted = [_Text(ids, (pooling or self._pooling, normalize)) for ids in texts]
        self._waiting.extend(wanted)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.ensure_future(self._work())
        try:
            rows = await asyncio.gather(*(text.row for text in wanted))
        except BaseException:
            for text in wanted:  # what has not begun is not computed
                text.row.cancel()
            raise
        return np.stack(rows)

    async def rank(self, query: str, documents: Sequence[str]) -> list[float]:
        """Scores of documents: see LoadedModel.rank."""
        scores: list[float] = []
        for start in range(0, len(documents), _BATCH):
            rows = await asyncio.to_thread(self._model.rank, query, documents[start : start + _BATCH])
            scores += rows.tolist()
        return scores

    async def hidden_states(self, ids: Sequence[int]) -> np.ndarray:
        """See LoadedModel.hidden_states."""
        rows: np.ndarray = await asyncio.to_thread(self._model.hidden_states, ids)
        return rows

    async def _work(self) -> None:
        while batch := self._batch():
            try:
                rows = await self._embed(batch)
            except LocalllmError:
                await self._one_by_one(batch)
            except Exception as error:
                _fail(batch, error)
            else:
                for text, row in zip(batch, rows, strict=True):
                    if not text.row.done():
                        text.row.set_result(row)

    async def _embed(self, batch: Sequence[_Text]) -> np.ndarray:
        pooling, normalize = batch[0].kind
        rows: np.ndarray = await asyncio.to_thread(
            self._model.embed, [text.ids for text in batch], pooling=pooling, normalize=normalize
        )
        return rows

    def _batch(self) -> list[_Text]:
        """The first texts that wait, as far as they are of one kind; those that nobody wants any more are dropped."""
        batch: list[_Text] = []
        while self._waiting and len(batch) < _BATCH:
            if self._waiting[0].row.done():
                self._waiting.popleft()
            elif batch and self._waiting[0].kind != batch[0].kind:
                break
            else:
                batch.append(self._waiting.popleft())
        return batch

    async def _one_by_one(self, batch: Sequence[_Text]) -> None:
        """One text of a batch was refused: the others are not to suffer for it."""
        for text in batch:
            try:
                rows = await self._embed([text])
            except Exception as error:
                _fail([text], error)
            else:
                if not text.row.done():
                    text.row.set_result(rows[0])


def _fail(batch: Sequence[_Text], error: Exception) -> None:
    for text in batch:
        if not text.row.done():
            text.row.set_exception(error)
