"""Calibration: a text goes through a model, and what each matrix reads is summed up.

Chunks are llama.cpp's (tools/imatrix/imatrix.cpp): n_ctx tokens each, from an empty context, the first token replaced
by the beginning-of-text token where the model wants one; what is left of the text is not used. Sums of squares are kept
for all matrices, in float64. Second moments take k * k floats for each input: the text goes through the model several
times, as many inputs at once as memory holds.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from localllm.errors import NotEnoughMemoryError, UnsupportedError, UsageError
from localllm.gguf.config import Config
from localllm.gguf.reader import GGUFFile
from localllm.model.network import Network
from localllm.model.trace import Trace
from localllm.quantize.hessians import HessianWriter, Stored
from localllm.quantize.imatrix import Entry, Imatrix
from localllm.runtime.system import available_memory
from localllm.runtime.whole import check_space, written_whole
from localllm.text.tokenizer import Tokenizer

DEFAULT_N_CTX = 512
EVERY = 8
"""One chunk in so many is held back from second moments, for methods to be judged by."""
_N_BATCH = 512
_TOGETHER = 2048
"""Rows whose products are added to second moments at once."""
_COLUMNS = 256
"""Columns of a second moment that a thread sums up at a time: always the same ones, so that bits do not depend on
threads."""
_NEVER_QUANTIZED = (".ffn_gate_inp.weight",)
"""Names of matrices that stay as they are (llama.cpp, src/llama-quant.cpp): second moments would have no use."""

Progress = Callable[[str, int, int], None]


class Calibrated(Protocol):
    """What calibration needs of a model (localllm.model.model's LoadedModel is one)."""

    path: str
    config: Config
    network: Network
    file: GGUFFile

    @property
    def n_threads_batch(self) -> int: ...
    @property
    def tokenizer(self) -> Tokenizer | None: ...
    def trace(
        self,
        *patterns: str,
        n_ctx: int | None = None,
        n_seq: int = 1,
        n_batch: int = 512,
        swa_full: bool | None = None,
        partial: bool = False,
    ) -> Trace: ...


@dataclass(frozen=True)
class Options:
    """n_ctx: tokens of a chunk; n_chunks: at most so many, or all. outputs: the output matrix is calibrated, too
    (llama-imatrix's --process-output). memory: bytes that second moments may take at once, or half of what is free."""

    n_ctx: int = DEFAULT_N_CTX
    n_chunks: int | None = None
    outputs: bool = False
    memory: int | None = None


@dataclass
class _Input:
    """What one or several matrices read, summed up. points: where it is read, one of each array; shape: of a row,
    without the experts; n_counted: matrices that have a count of their own (experts); n_matrices: in all."""

    names: list[str]
    points: list[str]
    k: int
    n_matrices: int
    n_counted: int
    held_back: bool = False
    """What comes now is."""
    squares: np.ndarray = field(init=False)
    counts: np.ndarray = field(init=False)
    moments: list[np.ndarray] = field(default_factory=list)
    """Sums of x xᵀ, float32 [n_matrices, k, k]: of rows that may be used, and of those held back; the upper triangle,
    and what of the lower one stands beside it."""
    moment_counts: list[np.ndarray] = field(default_factory=list)
    pool: Executor = field(init=False)
    _waiting: dict[tuple[int, int], list[np.ndarray]] = field(default_factory=dict)
    """Rows that are not in the moments yet, by part and matrix."""

    def __post_init__(self) -> None:
        self.squares = np.zeros((self.n_matrices, self.k))
        self.counts = np.zeros(self.n_counted, np.int64)

    @property
    def moment_bytes(self) -> int:
        """While they are summed up: two moments of each matrix, and rows that wait."""
        return 3 * self.n_matrices * self.k * self.k * 4

    def begin_moments(self, pool: Executor) -> None:
        self.pool = pool
        self.moments = [np.zeros((self.n_matrices, self.k, self.k), np.float32) for _ in range(2)]
        self.moment_counts = [np.zeros(self.n_matrices, np.int64) for _ in range(2)]
        self._waiting = {(part, i): [] for part in range(2) for i in range(self.n_matrices)}

    def end_moments(self) -> None:
        for part, i in self._waiting:
            self._multiply(part, i)

    def _multiply(self, part: int, i: int) -> None:
        """Add x xᵀ of the rows that wait: of many at once, since k * k sums are read and written each time."""
        if waiting := self._waiting[part, i]:
            rows, moment = np.concatenate(waiting), self.moments[part][i]

            def add(first: int) -> None:
                last = first + _COLUMNS
                moment[first:last, first:] += rows[:, first:last].T @ rows[:, first:]

            list(self.pool.map(add, range(0, self.k, _COLUMNS)))
            self.moment_counts[part][i] += len(rows)
            self._waiting[part, i] = []

    def add(self, x: np.ndarray, experts: np.ndarray | None) -> None:
        """x: float32 [n_rows, k], or [n_rows, n_matrices, k] of heads, or [n_rows, n_used, k] with its experts."""
        if experts is not None:
            for e in np.unique(experts):
                rows = x[experts == e]
                self._add(int(e), rows)
                self.counts[e] += 0 if self.held_back else len(rows)
            return
        for i in range(self.n_matrices):
            self._add(i, x if x.ndim == 2 else x[:, i])
        self.counts[0] += 0 if self.held_back else len(x)

    def _add(self, i: int, rows: np.ndarray) -> None:
        if not self.held_back:
            self.squares[i] += np.square(rows, dtype=np.float64).sum(axis=0)
        if self.moments:
            part = int(self.held_back)
            self._waiting[part, i].append(rows)
            if sum(map(len, self._waiting[part, i])) >= min(_TOGETHER, self.k // 2):
                self._multiply(part, i)

    def entry(self) -> Entry:
        return Entry(self.squares.reshape(self.n_counted, -1).astype(np.float32), self.counts)


def chunks_of(model: Calibrated, ids: Sequence[int], options: Options) -> list[list[int]]:
    """The chunks that a text is evaluated in. Raises UsageError for a text that has none."""
    n = options.n_ctx
    chunks = [list(ids[at : at + n]) for at in range(0, len(ids) - n + 1, n)][: options.n_chunks]
    if not chunks:
        raise UsageError(
            f"the text has {len(ids)} tokens, a chunk needs {n}: take a longer text, or smaller chunks (-c)"
        )
    tokenizer = model.tokenizer
    if tokenizer and tokenizer.add_bos and tokenizer.bos_id is not None:
        for chunk in chunks:
            chunk[0] = tokenizer.bos_id
    return chunks


def calibrate(
    model: Calibrated,
    ids: Sequence[int],
    options: Options | None = None,
    hessians: str | os.PathLike[str] | None = None,
    dataset: str = "",
    progress: Progress | None = None,
) -> Imatrix:
    """The importance matrix of a text's ids; dataset: its name, which is kept in the file.

    hessians: second moments are written into this file (see localllm.quantize.hessians), whole or not at all; chunks
    that they hold back do not count in the importance matrix either. progress(text, chunks done, chunks in all).
    Raises UsageError (the text is too short), FileError, NotEnoughMemoryError, and what `Model.trace` does.
    """
    options = options or Options()
    chunks = chunks_of(model, ids, options)
    inputs = _inputs(model, options)
    held_back = _held_back(len(chunks), hessians is not None)
    if hessians is None:
        _pass(model, options, chunks, held_back, inputs, progress, "Calibrating")
    else:
        identity = _identity(model, chunks)
        _with_moments(model, options, chunks, held_back, inputs, os.fspath(hessians), identity, progress)
    entries = {name: one.entry() for one in inputs for name in one.names}
    identity = "" if hessians is None else _identity(model, chunks)
    return Imatrix(entries, (dataset,) if dataset else (), len(chunks) - sum(held_back), options.n_ctx, identity)


def hessian_bytes(model: Calibrated, options: Options | None = None) -> int:
    """Bytes of the file of second moments."""
    inputs = _inputs(model, options or Options())
    return sum(_stored(one).n_bytes for one in inputs if _has_moments(one))


def _held_back(n_chunks: int, with_moments: bool) -> list[bool]:
    if not with_moments:
        return [False] * n_chunks
    if n_chunks < 2:
        raise UsageError("second moments need two chunks or more, one of which is held back: take a longer text (-f)")
    return [i % EVERY == min(EVERY, n_chunks) - 1 for i in range(n_chunks)]


def _identity(model: Calibrated, chunks: Sequence[Sequence[int]]) -> str:
    """Tells files that belong together."""
    text = np.asarray(chunks, np.int64).tobytes()
    return hashlib.sha256(f"{os.path.basename(model.path)} {model.file.size} ".encode() + text).hexdigest()[:16]


def _inputs(model: Calibrated, options: Options) -> list[_Input]:
    """What there is to sum up, in the order in which it comes."""
    found: dict[str, _Input] = {}
    outputs = {"output.weight", "token_embd.weight"}
    with model.trace("*.input*", n_ctx=options.n_ctx, n_batch=_n_batch(model, options), partial=True) as t:
        for points in t.shared():
            names = [f"{p.partition('@')[0].removesuffix('.input')}.weight" for p in points]
            if not ("blk." in names[0] or (options.outputs and outputs & set(names))):
                continue
            if names[0] in found:  # a layer that is gone through again
                found[names[0]].points.append(points[0])
                continue
            *middle, k = t.shape(points[0])[1:]
            n_experts = t.n_experts(points[0])
            n = n_experts or (int(middle[0]) if middle else 1)
            found[names[0]] = _Input(names, [points[0]], int(k), n, n_experts or 1)
    if not found:
        raise UnsupportedError(f"{model.path}: has no matrix to calibrate")
    return list(found.values())


def _n_batch(model: Calibrated, options: Options) -> int:
    return min(options.n_ctx, _N_BATCH) if model.network.causal else options.n_ctx


def _pass(
    model: Calibrated,
    options: Options,
    chunks: Sequence[Sequence[int]],
    held_back: Sequence[bool],
    inputs: Sequence[_Input],
    progress: Progress | None,
    what: str,
    done: int = 0,
    total: int = 0,
) -> None:
    """Send all chunks through the model once. done, total: chunks, of all passes."""
    with model.trace(n_ctx=options.n_ctx, n_batch=_n_batch(model, options), partial=True) as t:
        for one in inputs:
            for point in one.points:
                t.on(point, _adder(t, one))
        for chunk, held in zip(chunks, held_back, strict=True):
            for one in inputs:
                one.held_back = held
            t.clear()
            t.feed(chunk)
            done += 1
            if progress:
                progress(what, done, total or len(chunks))


def _adder(t: Trace, one: _Input) -> Callable[[str, np.ndarray], None]:
    has_experts = bool(t.n_experts(one.points[0]))

    def add(name: str, x: np.ndarray) -> None:
        if not np.isfinite(x).all():
            raise UnsupportedError(f"{name} has elements that are no finite numbers: the model file may be damaged")
        one.add(x, t.experts(name) if has_experts else None)

    return add


# --- second moments


def _has_moments(one: _Input) -> bool:
    return not all(name.endswith(_NEVER_QUANTIZED) for name in one.names)


def _stored(one: _Input) -> Stored:
    return Stored([name for name in one.names if not name.endswith(_NEVER_QUANTIZED)], one.k, one.n_matrices)


def _with_moments(
    model: Calibrated,
    options: Options,
    chunks: Sequence[Sequence[int]],
    held_back: Sequence[bool],
    inputs: Sequence[_Input],
    path: str,
    identity: str,
    progress: Progress | None,
) -> None:
    groups = _groups(inputs, available_memory() // 2 if options.memory is None else options.memory)
    stored = [_stored(one) for one in inputs if _has_moments(one)]
    check_space(path, sum(one.n_bytes for one in stored))
    with written_whole(path) as temporary, ThreadPoolExecutor(model.n_threads_batch) as pool:
        writer = HessianWriter(temporary, stored, identity)
        for i, group in enumerate(groups):
            for one in group:
                if _has_moments(one):
                    one.begin_moments(pool)
            what = "Calibrating" if len(groups) == 1 else f"Calibrating (pass {i + 1} of {len(groups)})"
            _pass(model, options, chunks, held_back, group, progress, what, i * len(chunks), len(groups) * len(chunks))
            for one in group:
                if one.moments:
                    one.end_moments()
                    writer.add(zip(one.moments, one.moment_counts, strict=True))
                    one.moments = []
        writer.close()


def _groups(inputs: Sequence[_Input], memory: int) -> list[list[_Input]]:
    """Inputs whose moments fit into memory together."""
    groups: list[list[_Input]] = [[]]
    used = 0
    for one in inputs:
        n = one.moment_bytes if _has_moments(one) else 0
        if n > memory:
            raise NotEnoughMemoryError(
                f"second moments of {one.names[0]} take {n / 1e9:.1f} GB while they are summed up, "
                f"{memory / 1e9:.1f} GB may be used (half of what is free)"
            )
        if used + n > memory:
            groups.append([])
            used = 0
        groups[-1].append(one)
        used += n
    return groups
