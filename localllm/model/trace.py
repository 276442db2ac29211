"""Looking inside a forward pass: named arrays are read, or replaced, while it runs.

The plan is the one that is always replayed, in slices that end where something was asked for: the same kernels over the
same memory, so that logits have the same bits. `docs/inside.md` shows what this is good for.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from localllm.errors import UsageError
from localllm.gate import calls
from localllm.kernels.thread import Step
from localllm.model.context import Context, Loaded
from localllm.model.find_points import points_of
from localllm.model.points import Batch, Copies, Editable, Point, Shape, check
from localllm.model.recorder import MATVEC_MAX_ROWS

Edit = Callable[[np.ndarray], np.ndarray]
Callback = Callable[[str, np.ndarray], object]
_MIN_BATCH = 2
"""A single row has kernels of its own for experts, without an order of experts: it takes the plan of a few rows."""


@dataclass
class _Wish:
    """What is asked of one point."""

    keep: bool = False
    edits: list[Edit] = field(default_factory=list)
    callbacks: list[Callback] = field(default_factory=list)


class TracedContext(Context):
    """A context whose plans stop where `wishes` say so. partial: they end with the last wish, and logits are not
    computed."""

    def __init__(self, model: Loaded, n_ctx: int, n_seq: int, n_batch: int, swa_full: bool, partial: bool) -> None:
        super().__init__(model, n_ctx, n_seq, max(n_batch, _MIN_BATCH), swa_full)
        self.partial = partial
        self.wishes: dict[str, _Wish] = {}
        self.kept: dict[str, list[np.ndarray]] = {}
        self.points: dict[str, Point] = {}
        """Those of the batch under way, or of the last one, by name."""
        self._points: dict[tuple[str, int], list[Point]] = {}

    def found(self) -> dict[str, Point]:
        """All points by name, in the order in which they come."""
        return {p.name: p for part in self._traced_parts() for p in self._points_of(part, MATVEC_MAX_ROWS)}

    def shapes(self) -> dict[str, Shape]:
        """Of all points."""
        return {name: point.shape for name, point in self.found().items()}

    def head_is_wanted(self) -> bool:
        """A wish lies behind the body."""
        return any(p.name in self.wishes for part in self._traced_parts()[1:] for p in self._points_of(part, 2))

    def _traced_parts(self) -> list[str]:
        network = self.model.network
        return ["body"] + (["head"] if network.output else ["norm"] if network.output_norm else [])

    def _phase(self, n_rows: int) -> int:
        return super()._phase(max(n_rows, _MIN_BATCH))

    def _points_of(self, part: str, n_rows: int) -> list[Point]:
        key = part, self._phase(n_rows)
        if key not in self._points:
            if key not in self._recorded:
                self._recorded[key] = self.record(*key)
            self._points[key] = points_of(self._recorded[key], "n_out" if part == "head" else "n_rows")
        return self._points[key]

    def _run(self, n_rows: int, part: str, n_out: int, logits: np.ndarray | None) -> None:
        self.points = {}
        batch = Batch(n_rows, n_out, self._rows[1, :n_rows].copy(), self._rows[2, :n_rows].copy(), logits)
        self._slices("body", n_rows, batch, to_end=not self.partial)
        if part:
            self._slices(part, n_out, batch, to_end=logits is not None)

    def _slices(self, part: str, n_rows: int, batch: Batch, to_end: bool) -> None:
        plan = self._plan(part, self._phase(n_rows))
        points = [p for p in self._points_of(part, n_rows) if p.name in self.wishes]
        self.points |= {p.name: p for p in points}
        reads, starts = defaultdict(list), defaultdict(list)
        for point in points:
            reads[point.at].append(point)
            if point.begin is not None:
                starts[point.begin].append(point)
        done = 0
        for at in sorted({*reads, *starts, *([len(plan)] if to_end else [])}):
            if at > done:
                self.model.team.run(plan.part(done, at), self._stop, batch.n_rows)
            done = at
            for point in reads[at]:
                point.finish(batch)
            for point in reads[at]:
                self._grant(point, batch)
            for point in starts[at]:
                point.start(batch)

    def _grant(self, point: Point, batch: Batch) -> None:
        wish = self.wishes[point.name]
        x = point.read(batch)
        for edit in wish.edits:
            x = check(point, edit(x.copy()), x)
            assert isinstance(point, Editable)  # `Trace.edit` refuses others
            point.write(batch, x)
        for callback in wish.callbacks:
            callback(point.name, x)
        if wish.keep:
            self.kept.setdefault(point.name, []).append(x)


class Trace:
    """A context with arrays of what happens inside; see `Model.trace`. A context manager.

    Names are those of `Model.taps`, or patterns of them with * and ?. Arrays are float32, fresh, rows in the order of
    the batch's tokens: [n_rows, k]. "_exps" tensors have [n_rows, n_used, k], a row for each expert that a token goes
    to (`experts` tells which ones).
    """

    def __init__(self, context: TracedContext, patterns: Sequence[str], n_batch: int, path: str) -> None:
        self.context, self.n_batch, self._path = context, n_batch, path
        self._found = context.found()
        for pattern in patterns:
            self._wishes(pattern, keep=True)

    # --- what is wanted

    @property
    def names(self) -> list[str]:
        """Points that are read, kept or edited."""
        return list(self.context.wishes)

    def matching(self, pattern: str) -> list[str]:
        """Points of this name or pattern. Raises UsageError where there are none."""
        found = fnmatch.filter(self._found, calls.text("pattern", pattern))
        if not found:
            near = difflib.get_close_matches(pattern, self._found, n=4, cutoff=0.5) or list(self._found)[:4]
            raise UsageError(
                f"{self._path}: has no point {pattern!r} to look at; near are {', '.join(near)} (taps() lists all; "
                "what a kernel keeps to itself has no name)"
            )
        return found

    def _wishes(self, pattern: str, keep: bool = False) -> list[_Wish]:
        wishes = []
        for name in self.matching(pattern):
            wish = self.context.wishes.setdefault(name, _Wish())
            wish.keep = wish.keep or keep
            wishes.append(wish)
        return wishes

    def edit(self, pattern: str, fn: Edit) -> None:
        """From now on, put fn(array) in the place of the array; fn may change its argument and return it. What else
        reads the same memory sees the change: the input of attn_q is that of attn_k, too. Raises UsageError for points
        that exist only when asked for."""
        for name in self.matching(pattern):
            if not isinstance(self._found[name], Editable):
                raise UsageError(f"{name} cannot be edited: it is computed for whoever reads it")
        for wish in self._wishes(pattern):
            wish.edits.append(fn)

    def on(self, pattern: str, fn: Callback) -> None:
        """From now on, call fn(name, array) for each batch; nothing is kept for it. It sees edits that were asked for
        before."""
        for wish in self._wishes(pattern):
            wish.callbacks.append(fn)

    # --- running

    def forward(
        self,
        tokens: Sequence[int],
        positions: Sequence[int] | None = None,
        seq_ids: Sequence[int] | None = None,
        want_logits: Sequence[bool] | None = None,
    ) -> np.ndarray:
        """Evaluate a batch as `Context.forward` does, and return its logits; points of the head ("result_norm",
        "logits") have the rows whose logits are wanted."""
        if self.context.partial:
            raise UsageError("this trace is partial: it has no logits, feed it")
        calls.batch_rows(calls.several("tokens", tokens), self.n_batch)
        self.context.kept = {}
        return self.context.forward(tokens, positions, seq_ids, want_logits)

    def feed(self, tokens: Sequence[int], seq_id: int = 0) -> None:
        """Evaluate any number of tokens, n_batch at a time, for what is inside alone: no logits are returned, and the
        head is computed, for all rows, as far as it was asked for. Arrays of all batches are kept, one below the
        other."""
        calls.several("tokens", tokens)
        self.context.kept = {}
        for start in range(0, len(tokens), self.n_batch):
            self._feed(tokens[start : start + self.n_batch], seq_id)

    def _feed(self, tokens: Sequence[int], seq_id: int) -> None:
        context, n = self.context, len(tokens)
        ids = context._fill(tokens, None, [seq_id] * n, n)
        part = context._traced_parts()[-1] if context.head_is_wanted() else ""
        logits = None
        if "logits" in context.wishes:
            logits = np.empty((n, context.model.network.config.n_vocab), np.float32)
        context._rows[3, :n] = range(n)
        context._evaluate(ids, part, n, logits)

    def __getitem__(self, name: str) -> np.ndarray:
        """What the last `forward` or `feed` left of a point. Attention scores of several batches are those of the last,
        since each sees more cells."""
        arrays = self.context.kept.get(name)
        if arrays is None:
            self.matching(name)
            asked = name in self.context.wishes and self.context.wishes[name].keep
            what = "run forward or feed first" if asked else "name it in trace(...)"
            raise UsageError(f"{name} was not kept: {what}")
        return arrays[-1] if name.endswith(".attn_scores") else np.concatenate(arrays)

    def experts(self, name: str) -> np.ndarray:
        """Which expert each row of a "_exps" point went to, in the last batch or the one under way: int32 [n_rows,
        n_used]."""
        point = self.context.points.get(name)
        if not isinstance(point, Copies):
            raise UsageError(f"{name} has no experts, or no batch has run")
        return point.experts

    def shape(self, name: str) -> Shape:
        """As `Model.taps` has it."""
        return self._found[name].shape

    def n_experts(self, name: str) -> int:
        """Of how many these are; 0 for a point without experts."""
        points = self.context._points_of("body", self.n_batch)
        return next((p.n_experts for p in points if p.name == name and isinstance(p, Copies)), 0)

    def shared(self) -> list[list[str]]:
        """The points in use, those together that are the same array."""
        groups: dict[object, list[str]] = {}
        for part in self.context._traced_parts():
            for point in self.context._points_of(part, self.n_batch):
                if point.name in self.context.wishes:
                    groups.setdefault((part, point.place), []).append(point.name)
        return list(groups.values())

    def unembed(self, hidden: np.ndarray) -> np.ndarray:
        """Logits of hidden states, float32 [n, n_embd] as in "l_out-N", through the last norm and the output matrix:
        float32 [n, n_vocab]. Raises UnsupportedError for an encoder."""
        context = self.context
        config = context.model.network.config
        calls.has_logits(self._path, config.architecture, context.model.network.output is not None)
        calls.hidden_width(np.shape(hidden), config.n_embd)
        out = np.empty((len(hidden), config.n_vocab), np.float32)
        for first in range(0, len(hidden), self.n_batch):
            some = np.asarray(hidden[first : first + self.n_batch], np.float32)
            n = len(some)
            context._hidden[:n], context._rows[3, :n] = some, range(n)
            context._step[Step.offset("n_out") // 8] = n
            context._step[Step.offset("logits") // 8] = out[first:].ctypes.data
            context._cancel[0] = 0
            context.model.team.run(context._plan("head", context._phase(n)), context._cancel, n)
        return out

    def clear(self) -> None:
        """Forget all sequences; what was asked for stays."""
        self.context.clear()
        self.context.kept = {}

    def close(self) -> None:
        self.context.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def taps(model: Loaded) -> Mapping[str, Shape]:
    """See `Model.taps`."""
    context = TracedContext(model, 1, 1, MATVEC_MAX_ROWS, False, False)
    try:
        return context.shapes()
    finally:
        context.close()
