"""Named points of a recorded plan: rows of floats in memory, and the place between two stages where they can be read.

They are found in the recorded operations: nothing is recorded for them but the marks of a plan, so that a plan is the
same whether anybody looks at it or not. A point is read where its memory is sure to hold it: an input right before
the stage that first reads it, an output right after the stage that writes it, since another buffer may take the memory
later. A product that is added to the residual stream in the same kernel is told apart by running its stage over -0.0,
to which x + -0.0 is x: the sum is made here, by the same addition.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from localllm.errors import UsageError
from localllm.model.attention_scores import scores_of
from localllm.runtime.plan import Buffer, Operation, Place, Value, memory

F32 = 4
Shape = tuple[int | str, ...]
"""Of an array: "n_rows" is the rows of the batch, "n_out" those whose logits are wanted, "n_seen" the cells seen."""


@dataclass(frozen=True)
class Batch:
    """The one under way. positions, seqs: int32 [n_rows]; logits: float32 [n_out, n_vocab], if any."""

    n_rows: int
    n_out: int
    positions: np.ndarray
    seqs: np.ndarray
    logits: np.ndarray | None


@dataclass(frozen=True)
class View:
    """Rows of floats in memory; strides: bytes from row to row, then along each axis of `shape`."""

    value: Value
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, n_rows: int) -> np.ndarray:
        """The memory itself, float32 [n_rows, *shape]."""
        shape = (n_rows, *self.shape)
        size = sum((n - 1) * stride for n, stride in zip(shape, self.strides, strict=True)) + F32 if n_rows else 0
        raw = memory(address_of(self.value), size // F32, np.float32)
        return np.lib.stride_tricks.as_strided(raw, shape, self.strides)


def plain_view(value: Value, n: int) -> View:
    """Rows of n floats, one after another."""
    return View(value, (n,), (n * F32, F32))


class Point(ABC):
    """A name, and how the array is read and written. at: operations that are done by then; begin: those that are done
    when the point wants to be told (None: it does not)."""

    begin: int | None = None

    def __init__(self, name: str, shape: Shape, at: int) -> None:
        self.name, self.shape, self.at = name, shape, at

    def start(self, batch: Batch) -> None:  # noqa: B027 (most points need nothing then)
        """Called at `begin`."""

    @abstractmethod
    def read(self, batch: Batch) -> np.ndarray:
        """A copy."""

    def finish(self, batch: Batch) -> None:  # noqa: B027 (the same)
        """Called at `at`, before anything else there is read."""

    @property
    def place(self) -> object:
        """What is equal for points that are the same array at the same time."""
        return id(self)


class Editable(Point):
    """A point whose array is memory that the plan goes on with."""

    @abstractmethod
    def write(self, batch: Batch, x: np.ndarray) -> None:
        """Put x in its place."""


class Rows(Editable):
    """Pieces of each row, side by side."""

    def __init__(self, name: str, views: Sequence[View], at: int, rows: str = "n_rows") -> None:
        first = views[0].shape
        width = first if len(views) == 1 else (sum(v.shape[0] for v in views),)
        super().__init__(name, (rows, *width), at)
        self.views, self._rows = tuple(views), rows

    def _n(self, batch: Batch) -> int:
        return batch.n_rows if self._rows == "n_rows" else batch.n_out

    def read(self, batch: Batch) -> np.ndarray:
        arrays = [view.array(self._n(batch)) for view in self.views]
        return arrays[0].copy() if len(arrays) == 1 else np.concatenate(arrays, axis=1)

    def write(self, batch: Batch, x: np.ndarray) -> None:
        first = 0
        for view in self.views:
            last = first + view.shape[0]
            view.array(self._n(batch))[...] = x if len(self.views) == 1 else x[:, first:last]
            first = last

    @property
    def place(self) -> object:
        return self.at, *((address_key(v.value), v.shape, v.strides) for v in self.views)


class Added(Rows):
    """What a stage adds to something else, and stores as the sum."""

    def __init__(self, name: str, out: View, add: View, begin: int, at: int, rows: str) -> None:
        super().__init__(name, [out], at, rows)
        self.begin, self._add = begin, add
        self._kept = self._own = np.zeros(0, np.float32)

    def start(self, batch: Batch) -> None:
        added = self._add.array(self._n(batch))
        self._kept = added.copy()
        added[...] = np.float32(-0.0)

    def read(self, batch: Batch) -> np.ndarray:
        return self._own.copy()

    def finish(self, batch: Batch) -> None:
        self._own = super().read(batch)
        self._add.array(self._n(batch))[...] = self._kept
        self.write(batch, self._own)

    def write(self, batch: Batch, x: np.ndarray) -> None:
        self._own = x
        super().write(batch, x + self._kept)


class Copies(Editable):
    """Rows in order of experts, given as [n_rows, n_used, n]: a row for each expert that it goes to."""

    def __init__(self, name: str, value: Value, n: int, at: int, group: Operation, begin: int) -> None:
        self._n_used = int(group.values["n_used"])  # type: ignore[arg-type]
        super().__init__(name, ("n_rows", self._n_used, n), at)
        self.begin, self._group, self._view = begin, group, plain_view(value, n)
        self._places = self.experts = np.zeros((0, 0), np.int32)
        """experts: int32 [n_rows, n_used], of the batch."""

    @property
    def n_experts(self) -> int:
        return int(self._group.values["n_expert"])  # type: ignore[arg-type]

    def start(self, batch: Batch) -> None:
        places, ids = (address_of(self._group.values[field]) for field in ("places", "ids"))
        shape = batch.n_rows, self._n_used
        self._places = memory(places, batch.n_rows * self._n_used, np.int32).reshape(shape).copy()
        self.experts = memory(ids, batch.n_rows * self._n_used, np.int32).reshape(shape).copy()

    def _all(self) -> np.ndarray:
        return self._view.array(int(self._places.max()) + 1)

    def read(self, batch: Batch) -> np.ndarray:
        return self._all()[self._places]

    def write(self, batch: Batch, x: np.ndarray) -> None:
        self._all()[self._places] = x

    @property
    def place(self) -> object:
        return self.at, address_key(self._view.value)


class Scores(Point):
    """Shares of attention, computed from the queries and the cells; they exist nowhere else."""

    def __init__(self, name: str, operation: Operation, at: int) -> None:
        super().__init__(name, ("n_rows", int(operation.values["n_head"]), "n_seen"), at)  # type: ignore[arg-type]
        self._operation = operation

    def read(self, batch: Batch) -> np.ndarray:
        o = self._operation
        values = {name: address_of(v) if isinstance(v, Buffer | Place) else v for name, v in o.values.items()}
        return scores_of(values, o.key.arguments, batch.positions, batch.seqs)


class Logits(Editable):
    def read(self, batch: Batch) -> np.ndarray:
        assert batch.logits is not None
        return batch.logits.copy()

    def write(self, batch: Batch, x: np.ndarray) -> None:
        assert batch.logits is not None
        batch.logits[...] = x


def address_of(value: Value) -> int:
    """Of memory in a plan that is bound."""
    if isinstance(value, Buffer):
        return value.address
    if isinstance(value, Place):
        return value.buffer.address + value.offset
    return int(value)


def address_key(value: Value) -> object:
    """Equal for the same memory, in a plan that may not be bound yet."""
    if isinstance(value, Place):
        return id(value.buffer), value.offset
    return (id(value), 0) if isinstance(value, Buffer) else value


def check(point: Point, x: object, before: np.ndarray) -> np.ndarray:
    """What an edit gave. Raises UsageError."""
    if not isinstance(x, np.ndarray) or x.shape != before.shape or x.dtype.kind not in "fiu":
        given = f"{x.dtype} {list(x.shape)}" if isinstance(x, np.ndarray) else type(x).__name__
        raise UsageError(f"the edit of {point.name} gave {given}, must give float32 {list(before.shape)}")
    return np.ascontiguousarray(x, np.float32)
