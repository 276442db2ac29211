"""Embeddings: texts are evaluated several to a batch, and each text's hidden states are pooled into one row.

A text's embedding has the same bits whatever texts are beside it, and however it is cut into batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from localllm.errors import ContextFullError, UsageError
from localllm.gate.check import shown
from localllm.gguf.reader import GGUFFile
from localllm.model.context import Context
from localllm.model.network import Network
from localllm.model.plans import PHASES
from localllm.model.pooling import POOLINGS
from localllm.model.sequences import Sequences
from localllm.model.states.cells import n_cells
from localllm.model.states.state import StateOptions
from localllm.runtime.turn import Turn

_MAX_SEQUENCES = 64
"""Texts in one batch."""
_STATE_BYTES = 256 << 20
"""What the states of all of them may take, as long as there can be one."""
_POOLED = POOLINGS[1:]


class Loaded(Protocol):
    """What embedding needs of a model (localllm.model.model's Model is one)."""

    path: str
    kv_type: str
    file: GGUFFile
    network: Network
    default_n_ctx: int

    def context(self, n_ctx: int | None = None, n_seq: int = 1, n_batch: int = PHASES[-1]) -> Context: ...


class Embedder:
    """Embeds texts of a model, in a context that is kept for the next ones. Several threads may share it; they wait for
    each other."""

    def __init__(self, model: Loaded) -> None:
        self.model = model
        self._context: Context | None = None
        self._turn = Turn()

    def close(self) -> None:
        with self._turn:
            self._drop()

    def _drop(self) -> None:
        if self._context:
            self._context.close()
        self._context = None

    def embed(self, texts: Sequence[Sequence[int]], pooling: str | None = None, normalize: bool = True) -> np.ndarray:
        """See Model.embed."""
        kind, first = self._kinds(pooling)
        self._check(texts)
        n = self._n_out(kind)
        pooled = np.zeros((len(texts), self.model.network.config.n_embd), np.float32)
        with self._turn:
            for i, row in self._pooled(texts, first):
                pooled[i] = row
            out = self._projected("classifier" if kind == "rank" else "dense", pooled)
            self._drop_long()
        out = out.reshape(len(texts), n)
        return out if kind == "rank" or not normalize else _normalized(out)

    def hidden_states(self, ids: Sequence[int]) -> np.ndarray:
        """See Model.hidden_states."""
        self._check([ids])
        with self._turn:
            context = self._context_for([ids])
            out = self._projected("dense", np.concatenate(list(_chunks(context, ids))))
            self._drop_long()
        return out

    def _drop_long(self) -> None:
        """A context for long texts takes memory for all their rows at once: it is not kept."""
        if self._context and self._context.n_batch > PHASES[-1]:
            self._drop()

    # --- what the caller wants

    def _kinds(self, pooling: str | None) -> tuple[str, str]:
        """The pooling, and how hidden states are pooled for it."""
        of_file = self.model.network.pooling
        kind = of_file.kind if pooling is None else pooling
        if not isinstance(kind, str) or kind not in _POOLED:
            does_not = f"{self.model.path}: does not say how it pools"
            asked = does_not if pooling is None else f"pooling is {shown(pooling)}"
            raise UsageError(
                f"{asked}: ask for one of {', '.join(_POOLED)} (--pooling on the command line, pooling in Python), "
                "or for hidden_states, a row a token"
            )
        if kind != "rank":
            return kind, kind
        if of_file.classifier is None:
            raise UsageError(f"{self.model.path}: has no classifier (tensors cls, cls.output), which ranks")
        return kind, of_file.classifier.pooling

    def _check(self, texts: Sequence[Sequence[int]]) -> None:
        n_ctx, learned = self.model.default_n_ctx, self.model.network.max_positions
        advice = "shorten it" if learned <= n_ctx else "shorten it, or load the model with a larger n_ctx"
        for i, ids in enumerate(texts):
            if not len(ids):
                raise UsageError(f"text {i} has no tokens: there is nothing to embed")
            if len(ids) > min(n_ctx, learned):
                limit = min(n_ctx, learned)
                raise ContextFullError(f"text {i} has {len(ids)} tokens, {limit} are the most here: {advice}")

    def _n_out(self, kind: str) -> int:
        of_file = self.model.network.pooling
        projection = of_file.classifier if kind == "rank" else of_file.dense
        return projection.n_out if projection else self.model.network.config.n_embd

    # --- contexts and batches

    def _context_for(self, texts: Sequence[Sequence[int]]) -> Context:
        """A context that holds the longest text, and as many beside it as are good for a batch."""
        model, longest = self.model, max(map(len, texts))
        # Where the context's length chooses the factors of RoPE, it must not depend on the texts.
        chooses = "rope_factors_long.weight" in model.file.tensors
        n_ctx = n_cells(model.default_n_ctx if chooses else longest)
        n_seq = min(len(texts), self._n_seq(n_ctx))
        known = self._context
        if known and known.n_ctx >= n_ctx and known.n_seq >= n_seq:
            known.clear()
            return known
        self._drop()
        # Where a text has to be one batch, batches are as long.
        n_batch = PHASES[-1] if model.network.causal else max(PHASES[-1], n_ctx)
        self._context = model.context(n_ctx=n_ctx, n_seq=n_seq, n_batch=n_batch)
        return self._context

    def _n_seq(self, n_ctx: int) -> int:
        options = StateOptions(n_ctx, 1, self.model.kv_type, one_batch=not self.model.network.causal)
        n_bytes = Sequences(self.model.network.mixers, options, 1).n_bytes
        return max(1, min(_MAX_SEQUENCES, _STATE_BYTES // max(1, n_bytes)))

    def _pooled(self, texts: Sequence[Sequence[int]], kind: str) -> Iterator[tuple[int, np.ndarray]]:
        """The number and the pooled row of each text; long ones apart, of which fewer fit into a context."""
        by_length = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        n_long = sum(len(ids) > PHASES[-1] for ids in texts)
        for group in by_length[:n_long], by_length[n_long:]:
            if group:
                context = self._context_for([texts[i] for i in group])
                yield from _batches(context, {i: texts[i] for i in group}, kind)

    def _projected(self, part: str, rows: np.ndarray) -> np.ndarray:
        """What follows the pooling, if anything."""
        projection = getattr(self.model.network.pooling, part)
        if projection is None or not len(rows):
            return rows
        context = self._context
        assert context
        n = context.n_batch
        out = np.concatenate([context.project(part, rows[i : i + n]) for i in range(0, len(rows), n)])
        return _softmax(out) if part == "classifier" and projection.softmax else out


def _chunks(context: Context, ids: Sequence[int]) -> Iterator[np.ndarray]:
    """Hidden states of a text that is alone, batch by batch."""
    for start in range(0, len(ids), context.n_batch):
        yield context.embed(ids[start : start + context.n_batch])


def _batches(context: Context, texts: Mapping[int, Sequence[int]], kind: str) -> Iterator[tuple[int, np.ndarray]]:
    """The texts of these numbers, as many to a batch as it holds; what is longer than that alone."""
    batch: list[int] = []
    for i, ids in texts.items():
        if len(ids) > context.n_batch:
            yield i, _pool(kind, _chunks(context, ids))
            context.clear()
            continue
        if len(batch) == context.n_seq or sum(len(texts[j]) for j in [*batch, i]) > context.n_batch:
            yield from _together(context, texts, batch, kind)
            batch = []
        batch.append(i)
    if batch:
        yield from _together(context, texts, batch, kind)


def _together(
    context: Context, texts: Mapping[int, Sequence[int]], batch: Sequence[int], kind: str
) -> Iterator[tuple[int, np.ndarray]]:
    """The texts of these numbers in one batch."""
    seqs = [seq for seq, i in enumerate(batch) for _ in texts[i]]
    rows = context.embed([token for i in batch for token in texts[i]], seq_ids=seqs)
    context.clear()
    first = 0
    for i in batch:
        yield i, _pool(kind, [rows[first : first + len(texts[i])]])
        first += len(texts[i])


def _pool(kind: str, chunks: Iterable[np.ndarray]) -> np.ndarray:
    """One row of a text's hidden states."""
    if kind == "cls":
        row: np.ndarray = next(iter(chunks))[0]
        return row
    n, last = 0, np.zeros(0)
    total: np.ndarray | None = None
    for rows in chunks:
        last = rows[-1]
        n += len(rows)
        # Row by row: how they come in chunks does not show.
        for row in rows if kind == "mean" else ():
            total = row.astype(np.float64) if total is None else total + row
    return last if total is None else total / n


def _normalized(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; of zeros as they are."""
    exact = rows.astype(np.float64)
    length = np.sqrt((exact * exact).sum(-1, keepdims=True))
    return (exact / np.where(length > 0, length, 1.0)).astype(np.float32)


def _softmax(rows: np.ndarray) -> np.ndarray:
    e = np.exp(rows.astype(np.float64) - rows.max(-1, keepdims=True))
    shares: np.ndarray = e / e.sum(-1, keepdims=True)
    return shares.astype(np.float32)
