"""Values of GGUF metadata: the table of types, and a cursor that reads them without ever leaving the file.

Layout and type ids: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Sums are Python integers: nothing wraps.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from mmap import mmap
from typing import Any

from localllm.errors import FileError, NeedMoreError
from localllm.gate import header as gate
from localllm.gate.check import Place
from localllm.gguf import strings

Bytes = mmap | bytes
"""A mapped file, or the beginning of one."""
Value = Any
"""int | float | bool | str | list of these; `Any`, because `GGUFFile.get` checks the type, not the type checker."""

STRING, ARRAY, BOOL = 8, 9, 7


@dataclass(frozen=True)
class Kind:
    """A scalar type of GGUF metadata: its `struct` letter and what Python makes of it."""

    name: str
    code: str
    python: type

    @property
    def size(self) -> int:
        return struct.calcsize("<" + self.code)


SCALARS: dict[int, Kind] = {
    0: Kind("u8", "B", int),
    1: Kind("i8", "b", int),
    2: Kind("u16", "H", int),
    3: Kind("i16", "h", int),
    4: Kind("u32", "I", int),
    5: Kind("i32", "i", int),
    6: Kind("f32", "f", float),
    BOOL: Kind("bool", "B", bool),
    10: Kind("u64", "Q", int),
    11: Kind("i64", "q", int),
    12: Kind("f64", "d", float),
}
TYPE_NAMES: dict[int, str] = {i: k.name for i, k in SCALARS.items()} | {STRING: "str", ARRAY: "arr"}
PYTHON_TYPES: dict[int, type] = {i: k.python for i, k in SCALARS.items()} | {STRING: str, ARRAY: list}
_MIN_BYTES: dict[int, int] = {i: k.size for i, k in SCALARS.items()} | {STRING: 8, ARRAY: 12}
"""The least bytes an element takes: a count that could not fit is refused before anything is read or allocated."""


@dataclass(frozen=True)
class LazyArray:
    """An array that was bounds-checked, but not decoded: a vocabulary costs 0.1 s that `show` need not pay."""

    element: int
    count: int
    decode: Callable[[], list[Value]]


class Cursor:
    """A reading position in a file of `size` bytes, of which `data` has the first ones at least. Every read names its
    field, for the error message."""

    def __init__(self, data: Bytes, size: int, path: str) -> None:
        self.data = data
        self.at_hand = min(len(data), size)
        self.end = min(size, gate.MAX_METADATA)
        self.size = size
        self.path = path
        self.pos = 0
        self.n_arrays = 0

    def at(self, field: str, offset: int | None = None) -> Place:
        """Where a field stands: here, or at another byte."""
        return Place(self.path, field, self.pos if offset is None else offset)

    def need(self, n_bytes: int, field: str) -> None:
        """Raises FormatError unless the file has `n_bytes` more bytes, NeedMoreError unless they are at hand."""
        gate.room(self.at(field), n_bytes, self.end - self.pos, self.end < self.size)
        self.need_at_hand(self.pos + n_bytes)

    def need_at_hand(self, n_bytes: int) -> None:
        """Raises NeedMoreError unless the first `n_bytes` of the file are at hand."""
        if n_bytes > self.at_hand:
            raise NeedMoreError(self.path, self.at_hand, n_bytes)

    def number(self, code: str, field: str) -> Value:
        """One little-endian number of `struct` letter `code`."""
        reader = struct.Struct("<" + code)
        self.need(reader.size, field)
        (value,) = reader.unpack_from(self.data, self.pos)
        self.pos += reader.size
        return value

    def string(self, field: str, check_length: Callable[[Place, int], int] | None = None) -> str:
        """A string: u64 length, which a check may bound, then UTF-8 bytes."""
        start = self.pos
        length = self.number("Q", f"length of {field}")
        if check_length is not None:
            check_length(self.at(field, start), length)
        self.need(length, field)
        text = gate.utf8(self.at(field), self.data[self.pos : self.pos + length])
        self.pos += length
        return text

    def name(self, field: str, check_length: Callable[[Place, int], int]) -> str:
        """A string that is not empty and can be shown."""
        start = self.pos
        return gate.name(self.at(field, start), self.string(field, check_length))

    def value(self, kind: int, field: str) -> Value:
        """A metadata value of type id `kind`; arrays come as LazyArray."""
        gate.value_type(self.at(field, self.pos - 4), kind, TYPE_NAMES)
        if kind == STRING:
            return self.string(field)
        if kind == ARRAY:
            return self._array(field)
        value = self.number(SCALARS[kind].code, field)
        return gate.bool_value(self.at(field, self.pos - 1), value) if kind == BOOL else value

    def _array(self, field: str, depth: int = 1) -> LazyArray:
        place = self.at(field)
        gate.array_depth(place, depth)
        self.n_arrays += 1
        gate.n_arrays(place, self.n_arrays)
        element = gate.element_type(place, self.number("I", f"element type of {field}"), TYPE_NAMES)
        count = gate.array_length(self.at(field), self.number("Q", f"element count of {field}"))
        self.need(count * _MIN_BYTES[element], f"{field} ({count} elements of type {TYPE_NAMES[element]})")
        if element == STRING:
            return self._strings(field, count)
        if element == ARRAY:
            items = [self._array(field, depth + 1) for _ in range(count)]
            return LazyArray(element, count, lambda: [item.decode() for item in items])
        return self._numbers(field, element, count)

    def _numbers(self, field: str, element: int, count: int) -> LazyArray:
        data, start, path = self.data, self.pos, self.path
        layout = struct.Struct(f"<{count}{SCALARS[element].code}")
        self.pos += layout.size
        if element != BOOL:
            return LazyArray(element, count, lambda: list(layout.unpack_from(_open(data, path), start)))
        raw = gate.bools(self.at(field, start), data[start : self.pos])
        return LazyArray(element, count, lambda: [byte == 1 for byte in raw])

    def _strings(self, field: str, count: int) -> LazyArray:
        """Where `count` strings are; they are decoded when they are wanted."""
        data, start, path = self.data, self.pos, self.path
        heads, pos = strings.walk(data, start, min(self.end, self.at_hand), count)
        if (index := len(heads)) < count:
            self._string_ends(field, index - 1, pos)
            self._string_ends(field, index, pos + 8)
            self.need_at_hand(min(pos + 8 * (count - index), self.end))
        self._string_ends(field, count - 1, pos)
        self.need_at_hand(pos)
        self.pos = pos

        def decode() -> list[Value]:
            block = _open(data, path)[start:pos]
            texts = strings.decode(block, heads)
            if texts is None:
                places = (Place(path, f"{field}, element {i}") for i in range(count))
                texts = list(map(gate.utf8, places, strings.pieces(block, heads)))
            return texts

        return LazyArray(STRING, count, decode)

    def _string_ends(self, field: str, index: int, reached: int) -> None:
        gate.string_end(self.at(f"{field}, element {index}"), reached, self.end, self.end < self.size)


def _open(data: Bytes, path: str) -> Bytes:
    if isinstance(data, mmap) and data.closed:
        raise FileError(f"{path}: was closed before its metadata was read")
    return data
