"""A model: configuration, weights and tokenizer of one file. Immutable, shared by contexts and threads."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NoReturn, Self

import numpy as np

from localllm.errors import LocalllmError, UnsupportedError
from localllm.gate import calls
from localllm.gguf.file_types import FILE_TYPES
from localllm.gguf.reader import open_gguf
from localllm.kernels.cells import KV_TYPES
from localllm.kernels.simd.targets import current
from localllm.kernels.variants import load as load_kernels
from localllm.model.context import Context
from localllm.model.embedding import Embedder
from localllm.model.group_sums import PRECISIONS, GroupSums
from localllm.model.memory import STEP, Estimate
from localllm.model.network import build
from localllm.model.nextn.layer import Nextn, read_nextn
from localllm.model.nextn.predictor import Predictor
from localllm.model.plans import MAX_ROWS, PHASES
from localllm.model.recorder import MATVEC_MAX_ROWS
from localllm.model.states.state import StateOptions
from localllm.model.trace import Trace, TracedContext, taps
from localllm.model.weights import Weights
from localllm.runtime import tuned
from localllm.runtime.plan import Operation
from localllm.runtime.team import KEYS
from localllm.runtime.teams import Teams
from localllm.runtime.turn import lazy
from localllm.text import pairs
from localllm.text.tokenizer import Tokenizer, load_tokenizer

Progress = Callable[[str, int, int], None]
DEFAULT_N_CTX = 4096
MAX_THREADS = 512
_MAX_LABEL = 24
"""Characters: "8x7B", "E2B"; a file may say anything."""


class LoadedModel:
    """What `LoadedModel.load` makes of a GGUF file. `file` is the open file, `metadata` its metadata."""

    def __init__(
        self,
        path: str,
        n_ctx: int | None,
        n_threads: int | None,
        kv_type: str,
        swa_full: bool,
        progress: Progress | None,
        n_threads_batch: int | None = None,
        precision: str = "normal",
    ) -> None:
        self.precision = calls.one_of("precision", precision, PRECISIONS)
        self.kv_type, self._progress = calls.one_of("kv_type", kv_type, KV_TYPES), progress
        self.swa_full = calls.flag("swa_full", swa_full)
        n_threads, n_threads_batch = (
            None if number is None else calls.size(name, number, MAX_THREADS)
            for name, number in (("n_threads", n_threads), ("n_threads_batch", n_threads_batch))
        )
        n_ctx = _n_ctx(n_ctx)
        self.target = current().name
        self.file = open_gguf(path)
        self.path = self.file.path
        """Of a split model, the first part."""
        self.metadata = self.file.metadata
        try:
            self._weights = Weights(self.file)
            network, self.skipped = build(self.file, self._weights)
        except BaseException:
            self.file.close()
            raise
        self.network = replace(network, sums=GroupSums()) if precision == "high" else network
        self.config = self.network.config
        self.architecture = self.config.architecture
        self.default_n_ctx = n_ctx or self._own_n_ctx(n_ctx)
        self.notes: list[str] = []
        """What the user should hear of."""
        self.team = Teams(tuned.threads(self.n_bytes, n_threads, n_threads_batch, self.notes.append), MATVEC_MAX_ROWS)
        """The threads, started when first needed."""
        self._estimates: dict[object, Estimate] = {}
        self._closed = False
        try:
            self._check(n_ctx)
        except BaseException:
            self.close()
            raise

    def _own_n_ctx(self, n_ctx: int | None) -> int:
        """The length of a context that is not said (None), or is the model's own (0)."""
        if not self.network.causal:
            return min(self.config.n_ctx_train, MAX_ROWS)
        return min(self.config.n_ctx_train, DEFAULT_N_CTX) if n_ctx is None else self.config.n_ctx_train

    def _check(self, n_ctx: int | None) -> None:
        """Whether there is memory for the weights and a context: of a given length, or any."""
        rows = PHASES[-1] if self.network.causal else 0
        text = self.memory(n_batch=rows).check(STEP if n_ctx is None else self.default_n_ctx)
        trained = self.config.n_ctx_train
        if n_ctx and n_ctx > trained:
            self.notes.append(f"a context of {n_ctx} tokens: this model was trained for {trained}, and may fail beyond")
        self.notes += [text] if text else []

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        n_ctx: int | None = None,
        n_threads: int | None = None,
        kv_type: str = "f16",
        swa_full: bool = False,
        progress: Progress | None = None,
        n_threads_batch: int | None = None,
        precision: str = "normal",
    ) -> Self:
        """Open and check a file; no weight is read yet.

        n_ctx, swa_full: the defaults of contexts (see `context`); an n_ctx of 0 is the length that the model was
        trained for. n_threads: None takes what `localllm bench --tune`
        found, or else one per core; n_threads_batch: those of passes of more than a few rows, such as prompts; None:
        as many. precision: "high" halves the loss by which answers differ from those of exact activations, for a tenth
        of the speed, and 2 bytes more of memory for each 32 weights.
        progress(text, done, total) is called while kernels are compiled, which happens once.
        Raises NotEnoughMemoryError, FileError, FormatError, UnsupportedError, TargetError or UsageError.
        """
        return cls(os.fspath(path), n_ctx, n_threads, kv_type, swa_full, progress, n_threads_batch, precision)

    @lazy
    def tokenizer(self) -> Tokenizer | None:
        """None for a model that runs on ids (`no_vocab`)."""
        return load_tokenizer(self.file.metadata, self.path)

    @property
    def suppressed(self) -> tuple[int, ...]:
        """Tokens that are never generated."""
        return self.network.suppressed

    @property
    def max_positions(self) -> int:
        """Tokens that any sequence can have: learned positions end."""
        return self.network.max_positions

    @property
    def n_threads(self) -> int:
        """Of passes of few rows: generation."""
        return self.team.threads.decode

    @property
    def n_threads_batch(self) -> int:
        """Of passes of many rows: prompts."""
        return self.team.threads.prompt

    @property
    def n_params(self) -> int:
        return sum(t.n_elements for t in self.file.tensors.values())

    def damage(self, operation: Operation, layer: int) -> str:
        """What is wrong with the tensors that an operation reads, or with those of its layer (-1: none); or ""."""
        return self._weights.damage(operation.values.values(), f"blk.{layer}." if layer >= 0 else "")

    @property
    def n_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(t.n_bytes for t in self.file.tensors.values())

    @property
    def description(self) -> str:
        """Like "qwen2 1.5B Q4_K_M": architecture, size label or parameters, and the file's type, or, where it tells
        none, the format of most weights."""
        label = self.file.get("general.size_label", str, "")
        size = label if label.isprintable() and 0 < len(label) <= _MAX_LABEL else _label(self.n_params)
        formats: Counter[str] = Counter()
        for t in self.file.tensors.values():
            formats[t.format.name] += t.n_elements
        stated = FILE_TYPES.get(self.file.get("general.file_type", int, -1))
        return f"{self.architecture} {size} {stated or formats.most_common(1)[0][0]}"

    def memory(self, n_seq: int = 1, n_batch: int = PHASES[-1], swa_full: bool | None = None) -> Estimate:
        """What contexts would take; see `context`. n_batch: 0 where batches are as long as the context."""
        full = self.swa_full if swa_full is None else swa_full
        key = n_seq, n_batch, full
        if key not in self._estimates:
            options = StateOptions(STEP, n_seq, self.kv_type, full, one_batch=not self.network.causal)
            threads = sum({self.n_threads, self.n_threads_batch})
            self._estimates[key] = Estimate(
                self.file, self.network, self._weights.used_bytes, options, n_batch, threads
            )
        return self._estimates[key]

    def context(
        self, n_ctx: int | None = None, n_seq: int = 1, n_batch: int = PHASES[-1], swa_full: bool | None = None
    ) -> Context:
        """A context of n_seq sequences of n_ctx tokens each, fed at most n_batch tokens at a time: 512, or more where a
        model attends in both directions, and a text has to be one batch.

        swa_full: layers with a sliding window keep all cells, not only those of their window; a sequence can
        then be cut back anywhere.
        Compiles the kernels it needs, the first time. Raises NotEnoughMemoryError or UsageError.
        """
        if self._closed:
            raise LocalllmError(f"{self.path}: this model is closed")
        full = self.swa_full if swa_full is None else swa_full
        context = Context(self, _n_ctx(n_ctx) or self.default_n_ctx, n_seq, n_batch, full)
        try:
            load_kernels([*KEYS, *context.keys()], self._report_progress)
            self._make_sums()
        except BaseException:
            context.close()
            raise
        return context

    def _make_sums(self) -> None:
        """With high precision: of the weights that the contexts made so far need."""
        if self.network.sums:
            report = self._progress or (lambda text, done, total: None)
            self.network.sums.make(self.team.run, lambda done, total: report("Adding up weights", done, total))

    @lazy
    def _nextn(self) -> Nextn:
        return read_nextn(self.file, self.network)

    def predictor(self, n_ctx: int | None = None, n_batch: int = PHASES[-1]) -> Predictor:
        """What guesses tokens by the model's own layer for multi-token prediction (MTP), beside a context of as many
        tokens; n_batch: rows that it is fed at most.

        Compiles the kernels it needs, the first time. Raises UsageError for a file without such a layer,
        UnsupportedError where it is not known how it runs, FormatError, or NotEnoughMemoryError.
        """
        if self._closed:
            raise LocalllmError(f"{self.path}: this model is closed")
        predictor = Predictor(self, self._nextn, _n_ctx(n_ctx) or self.default_n_ctx, n_batch)
        load_kernels([*KEYS, *predictor.keys()], self._report_progress)
        return predictor

    def taps(self) -> Mapping[str, tuple[int | str, ...]]:
        """Names of all points of a forward pass that `trace` can read or change, in order, with their shapes ("n_rows":
        of the batch; "n_out": whose logits are wanted; "n_seen": positions that are seen).

        NAME.input and NAME.output for each matrix product, named after its tensor (blk.3.ffn_down.input); norms by
        their tensors (blk.3.attn_norm); blk.3.attn_scores: shares of attention; and llama.cpp's inp_embd, l_out-3 (the
        residual stream after a layer), result_norm, logits.
        """
        return taps(self)

    def trace(
        self,
        *patterns: str,
        n_ctx: int | None = None,
        n_seq: int = 1,
        n_batch: int = PHASES[-1],
        swa_full: bool | None = None,
        partial: bool = False,
    ) -> Trace:
        """A context that keeps what happens at points of these names or patterns (blk.*.ffn_down.input; see `taps`):

            with model.trace("l_out-*", n_ctx=512) as t:
                logits = t.forward(tokens)
                t["l_out-7"]  # float32 [n_rows, n_embd]

        n_ctx, n_seq, n_batch, swa_full: see `context`. partial: nothing is computed beyond the last of them: faster,
        but without logits. Raises UsageError, with near names, for a pattern that matches nothing; and as `context`.
        """
        if self._closed:
            raise LocalllmError(f"{self.path}: this model is closed")
        full = self.swa_full if swa_full is None else swa_full
        context = TracedContext(self, _n_ctx(n_ctx) or self.default_n_ctx, n_seq, n_batch, full, partial)
        try:
            trace = Trace(context, patterns, n_batch, self.path)
            load_kernels([*KEYS, *context.keys()], self._report_progress)
            self._make_sums()
        except BaseException:
            context.close()
            raise
        return trace

    def _report_progress(self, done: int, total: int) -> None:
        if self._progress:
            self._progress("Compiling kernels for this processor (happens once)", done, total)

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """Logits of every position, float32 [len(ids), n_vocab], from an empty context."""
        calls.several("ids", ids)
        context = self.context(n_batch=PHASES[-1] if self.network.causal else max(PHASES[-1], len(ids)))
        try:
            chunks = []
            for start in range(0, len(ids), context.n_batch):
                chunk = ids[start : start + context.n_batch]
                chunks.append(context.forward(chunk, want_logits=[True] * len(chunk)))
            return np.concatenate(chunks) if chunks else np.empty((0, self.config.n_vocab), np.float32)
        finally:
            context.close()

    def embed(
        self, texts: Sequence[str] | Sequence[Sequence[int]], pooling: str | None = None, normalize: bool = True
    ) -> np.ndarray:
        """Embeddings of texts (or of their ids), float32 [len(texts), n_embd].

        pooling: how a text's hidden states become one row, if not as the file says: "mean", "cls" (the first token's),
        "last", or "rank": scores of a classifier, float32 [len(texts), n_classes]. normalize: rows of length 1, but for
        scores. Text gets the special tokens that the model wants; those written in it do not count as such.
        Raises ContextFullError for a text longer than the context, UsageError where the file says nothing of pooling.
        """
        calls.several("texts", texts)
        return self._embedder.embed([self._ids(text) for text in texts], pooling, normalize)

    def hidden_states(self, text: str | Sequence[int]) -> np.ndarray:
        """What the model makes of each token of a text (or of its ids): float32 [n_tokens, n_embd]."""
        return self._embedder.hidden_states(self._ids(text))

    def rank(self, query: str, documents: Sequence[str]) -> np.ndarray:
        """Scores of how well each document answers a query, float32 [len(documents)], of a model that has a classifier
        (a reranker); of one with several classes, the first's.

        Raises ContextFullError for a pair longer than the context, UsageError for a model without a classifier.
        """
        calls.several("documents", documents)
        template = self.file.get(pairs.TEMPLATE_KEY, str, "")
        ids = [pairs.pair_ids(self._vocabulary(), query, document, template) for document in documents]
        return self._embedder.embed(ids, "rank")[:, 0]

    def _ids(self, text: str | Sequence[int]) -> Sequence[int]:
        if not isinstance(text, str):
            return calls.integers("token id", text)
        return self._vocabulary().encode(text, add_special=True)

    def _vocabulary(self) -> Tokenizer:
        if self.tokenizer is None:
            raise UnsupportedError(f"{self.path}: has no vocabulary (tokenizer.ggml.model is no_vocab): it takes ids")
        return self.tokenizer

    @lazy
    def _embedder(self) -> Embedder:
        return Embedder(self)

    def close(self) -> None:
        """Release the file and the threads. Contexts of this model must not be used any more. May be called twice."""
        if not self._closed:
            self._closed = True
            if "_embedder" in self.__dict__:
                self._embedder.close()
            self.team.close()
            self.file.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Model cannot be copied or pickled: give other processes its path, to load it by")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _n_ctx(given: int | None) -> int | None:
    """A context's length as the caller says it; None and 0 leave it to the model."""
    n = None if given is None else calls.integer("n_ctx", given)
    return calls.size("n_ctx", n, calls.MAX_CTX) if n else n


def _label(n_params: int) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if n_params >= size:
            return f"{n_params / size:.2f}{unit}" if size == 1e9 else f"{n_params / size:.0f}{unit}"
    return str(n_params)
