"""Plans: operations recorded once, replayed for every token without Python.

A plan is a list of stages; the operations of a stage do not depend on each other, and a stage begins when
the one before it has ended.
Buffers live from the stage that first names them to the last one; those that do not overlap in time share memory.
"""

from __future__ import annotations

import ctypes
import math
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from localllm.kernels.objects import Key
from localllm.kernels.simd.types import Struct
from localllm.kernels.team import Op as OpBlock
from localllm.kernels.variants import load
from localllm.runtime.arrays import ALIGNMENT, SLACK, aligned
from localllm.runtime.turn import lazy


@dataclass
class Buffer:
    """Memory that operations share: `bytes` of it, at an address known once the plan is bound."""

    name: str
    bytes: int
    address: int = 0
    first: int = -1
    last: int = -1

    @property
    def room(self) -> int:
        """Bytes of the arena: whole cache lines, with what may be read behind the buffer."""
        return -(-(self.bytes + SLACK) // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Place:
    """A byte offset into a buffer."""

    buffer: Buffer
    offset: int


Value = int | float | Buffer | Place
"""A parameter: a number or an address, a float (its bits as float64 are stored), or memory of the arena."""


@dataclass(frozen=True)
class Mark:
    """A name for rows of n floats at `value`, as they are once the first `at` operations are done."""

    name: str
    value: Value
    n: int
    at: int


@dataclass
class Operation:
    """One kernel with its parameters, as recorded. `shape` is that of its output, for people who inspect a plan."""

    name: str
    key: Key
    block: Struct
    values: dict[str, Value]
    shape: tuple[int, ...]
    stage: int


@dataclass
class Bound:
    """A plan in memory: what the team replays."""

    operations: list[Operation]
    ops: np.ndarray
    counters: np.ndarray
    """A line an operation: its claim counter, then its cycles."""
    blocks: np.ndarray
    seconds_a_row: float = math.inf
    """What the last run took, as far as it is known."""

    @lazy
    def address(self) -> int:
        return int(self.ops.ctypes.data)

    def then(self, other: Bound) -> Bound:
        """Both as one plan; their memory must live as long."""
        ops = aligned((len(self) + len(other)) * OpBlock.size).view(OpBlock.dtype)
        ops[: len(self)], ops[len(self) :] = self.ops, other.ops
        none = np.zeros(0, np.int64)
        return Bound([*self.operations, *other.operations], ops, none, none)

    def part(self, first: int, last: int) -> Bound:
        """Operations from number `first` up to `last`, excluded, whole stages; its memory is this plan's."""
        lines = slice(first * ALIGNMENT // 8, last * ALIGNMENT // 8)
        return Bound(self.operations[first:last], self.ops[first:last], self.counters[lines], self.blocks)

    def ends(self) -> list[int]:
        """Numbers of the operations that follow each stage's last one."""
        n = len(self)
        return [i + 1 for i in range(n) if i + 1 == n or self.operations[i + 1].stage != self.operations[i].stage]

    def __len__(self) -> int:
        return len(self.ops)

    def cycles(self) -> np.ndarray:
        """Cycles of the stage that ends with each operation, added up by a team that times them: int64, a view."""
        return self.counters[1 :: ALIGNMENT // 8]


class Plan:
    """Records operations; `bind` turns them into memory."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.operations: list[Operation] = []
        self.buffers: list[Buffer] = []
        self.marks: list[Mark] = []
        """For people who look inside; see localllm.model.points."""
        self._stage = 0
        self._in_stage = False
        self._offsets: list[tuple[Buffer, int]] = []

    def buffer(self, name: str, bytes_: int) -> Buffer:
        """Memory of the arena, whose life its users decide."""
        buffer = Buffer(name, bytes_)
        self.buffers.append(buffer)
        return buffer

    def op(self, name: str, key: Key, block: Struct, shape: tuple[int, ...], /, **values: Value) -> None:
        """Record an operation, in a stage of its own unless one is open. Every field of `block` must be given."""
        if set(values) != set(block.fields):
            raise ValueError(f"{name}: {block.name} has fields {block.fields}, given {tuple(values)}")
        self.operations.append(Operation(name, key, block, values, shape, self._stage))
        for value in values.values():
            buffer = value.buffer if isinstance(value, Place) else value
            if isinstance(buffer, Buffer):
                buffer.first = self._stage if buffer.first < 0 else buffer.first
                buffer.last = self._stage
        if not self._in_stage:
            self._stage += 1

    def mark(self, name: str, value: Value, n: int) -> None:
        """Name rows of n floats at `value`, as the operations so far leave them."""
        self.marks.append(Mark(name, value, n, len(self.operations)))

    @contextmanager
    def stage(self) -> Iterator[None]:
        """Operations recorded inside may run at the same time."""
        self._in_stage = True
        yield
        self._in_stage = False
        self._stage += 1

    def keys(self) -> Iterable[Key]:
        return (o.key for o in self.operations)

    def place(self) -> int:
        """Lay the buffers out in an arena; the bytes that it takes. First fit, the largest first."""
        placed: list[tuple[Buffer, int]] = []
        alive: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        """Where buffers lie that a stage finds, from and to."""
        for buffer in sorted(self.buffers, key=lambda b: -b.room):
            stages = range(buffer.first, buffer.last + 1)
            offset = 0
            for start, end in sorted({place for stage in stages for place in alive[stage]}):
                if offset + buffer.room <= start:
                    break
                offset = max(offset, end)
            for stage in stages:
                alive[stage].append((offset, offset + buffer.room))
            placed.append((buffer, offset))
        self._offsets = placed
        return max((o + b.room for b, o in placed), default=0)

    def lay(self, arena: int) -> None:
        """Give each buffer its address in an arena there."""
        if not self._offsets:
            self.place()
        for buffer, offset in self._offsets:
            buffer.address = arena + offset

    def bind(self, arena: int, resolve: Callable[[Iterable[Key]], dict[Key, int]] = load) -> Bound:
        """Fill in addresses, the arena's being at `arena`, and make the blocks that kernels read."""
        self.lay(arena)
        addresses = resolve(self.keys())
        n = len(self.operations)
        counters = aligned(n * 8 * ALIGNMENT // 8).view(np.int64)
        blocks = aligned(sum(-(-o.block.size // ALIGNMENT) * ALIGNMENT for o in self.operations)).view(np.int64)
        ops = aligned(n * OpBlock.size).view(OpBlock.dtype)
        at = 0
        for i, o in enumerate(self.operations):
            numbers = [_number(o.values[name]) for name in o.block.fields]
            blocks[at : at + len(numbers)] = numbers
            ends_stage = i + 1 == n or self.operations[i + 1].stage != o.stage
            counter = counters.ctypes.data + i * ALIGNMENT
            ops[i] = (addresses[o.key], blocks.ctypes.data + 8 * at, counter, int(ends_stage))
            at += -(-o.block.size // ALIGNMENT) * ALIGNMENT // 8
        return Bound(self.operations, ops, counters, blocks)


def memory(address: int, n: int, dtype: Any) -> np.ndarray:
    """n elements of a NumPy type there: the memory itself, which must live as long."""
    raw = (ctypes.c_uint8 * (n * np.dtype(dtype).itemsize)).from_address(address)
    return np.frombuffer(raw, dtype)


def _number(value: Value) -> int:
    if isinstance(value, Buffer):
        return value.address
    if isinstance(value, Place):
        return value.buffer.address + value.offset
    if isinstance(value, float):
        return int(struct.unpack("<q", struct.pack("<d", value))[0])
    return int(value)
