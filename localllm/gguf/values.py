"""Values of GGUF metadata: the table of types, and a cursor that reads them without ever leaving the file.

Layout and type ids: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Sums are Python integers: nothing wraps.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from mmap import mmap
from typing import Any

from localllm.errors import FileError, FormatError, NeedMoreError

Bytes = mmap | bytes
"""A mapped file, or the beginning of one."""
Value = Any
"""int | float | bool | str | list of these; `Any`, because `GGUFFile.get` checks the type, not the type checker."""

STRING, ARRAY, BOOL = 8, 9, 7
MAX_ARRAY = 1 << 22
"""Elements in one array: eight times the largest vocabulary's merges. Bounds what a hostile file can take."""
MAX_ARRAYS, MAX_DEPTH = 1 << 14, 4
"""Arrays in one file, those in arrays included, and how deep they may be nested."""
MAX_METADATA = 1 << 27
"""Bytes from the start of the file to the end of the tensor directory; large vocabularies take 1 << 24."""


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
_U64 = struct.Struct("<Q")


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
        self.end = min(size, MAX_METADATA)
        self.size = size
        self.path = path
        self.pos = 0
        self.n_arrays = 0

    def fail(self, field: str, problem: str, offset: int | None = None) -> FormatError:
        """The error to raise: file, field, what is wrong, byte offset."""
        return FormatError(f"{self.path}: {field}: {problem} (byte offset {self.pos if offset is None else offset})")

    def need(self, n_bytes: int, field: str) -> None:
        """Raises FormatError unless the file has `n_bytes` more bytes, NeedMoreError unless they are at hand."""
        left = self.end - self.pos
        if n_bytes <= left:
            self.need_at_hand(self.pos + n_bytes)
            return
        if self.end < self.size:
            raise self.fail(field, f"needs {n_bytes} bytes, metadata may take {MAX_METADATA} in all, {left} are left")
        raise self.fail(field, f"needs {n_bytes} bytes, the file has {left} left; it may be truncated: fetch it again")

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

    def string(self, field: str, limit: int | None = None) -> str:
        """A string: u64 length, then UTF-8 bytes; at most `limit` bytes."""
        start = self.pos
        length = self.number("Q", f"length of {field}")
        if limit is not None and length > limit:
            raise self.fail(field, f"length {length}, the limit is {limit} bytes", start)
        self.need(length, field)
        raw = self.data[self.pos : self.pos + length]
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise self.fail(field, f"not UTF-8: {raw[:32]!r}", self.pos + error.start) from None
        self.pos += length
        return text

    def identifier(self, field: str, limit: int) -> str:
        """A name: a string that is not empty and can be shown: no NUL, nothing that would steer a terminal."""
        start = self.pos
        text = self.string(field, limit)
        if not text or not text.isprintable():
            raise self.fail(field, f"{text[:64]!r} is no name: it must not be empty or hold control characters", start)
        return text

    def value(self, kind: int, field: str) -> Value:
        """A metadata value of type id `kind`; arrays come as LazyArray."""
        if kind == STRING:
            return self.string(field)
        if kind == ARRAY:
            return self._array(field)
        if kind not in SCALARS:
            raise self.fail(field, f"value type {kind} is unknown; types are 0 to 12", self.pos - 4)
        value = self.number(SCALARS[kind].code, field)
        if kind != BOOL:
            return value
        if value > 1:
            raise self.fail(field, f"bool is {value}, must be 0 or 1", self.pos - 1)
        return bool(value)

    def _array(self, field: str, depth: int = 1) -> LazyArray:
        start = self.pos
        if depth > MAX_DEPTH:
            raise self.fail(field, f"arrays nested deeper than {MAX_DEPTH}", start)
        self.n_arrays += 1
        if self.n_arrays > MAX_ARRAYS:
            raise self.fail(field, f"more than {MAX_ARRAYS} arrays in one file", start)
        element = self.number("I", f"element type of {field}")
        count = self.number("Q", f"element count of {field}")
        if element not in TYPE_NAMES:
            raise self.fail(field, f"array element type {element} is unknown; types are 0 to 12", start)
        if count > MAX_ARRAY:
            raise self.fail(field, f"{count} array elements, the limit is {MAX_ARRAY}", start + 4)
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
        raw = data[start : self.pos]
        if raw.strip(b"\0\1"):
            raise self.fail(field, "an array of bool holds other bytes than 0 and 1", start)
        return LazyArray(element, count, lambda: [byte == 1 for byte in raw])

    def _strings(self, field: str, count: int) -> LazyArray:
        """Walks over `count` strings by their lengths alone: 0.1 µs each, where decoding takes 0.3."""
        data, start, path, length_at = self.data, self.pos, self.path, _U64.unpack_from
        pos, last = start, min(self.end, self.at_hand) - 8
        for index in range(count):
            if pos > last:
                if pos <= self.end - 8:
                    self.need_at_hand(min(pos + 8 * (count - index), self.end))
                raise self._cut(field, index, pos)
            pos += 8 + length_at(data, pos)[0]
        if pos > self.end:
            raise self._cut(field, count, pos)
        self.need_at_hand(pos)
        self.pos = pos

        def decode() -> list[Value]:
            block = _open(data, path)[start:pos]
            at, texts = 0, []
            for _ in range(count):
                stop = at + 8 + length_at(block, at)[0]
                texts.append(block[at + 8 : stop])
                at = stop
            try:
                return [text.decode() for text in texts]
            except UnicodeDecodeError:
                index = next(i for i, text in enumerate(texts) if not _is_utf8(text))
                raise FormatError(f"{path}: {field}: element {index} is not UTF-8: {texts[index][:32]!r}") from None

        return LazyArray(STRING, count, decode)

    def _cut(self, field: str, index: int, pos: int) -> FormatError:
        limit = "the file ends" if self.end == self.size else "metadata may end"
        problem = f"its string reaches byte {pos}, {limit} at {self.end}"
        return self.fail(f"{field}, element {max(index - 1, 0)}", problem)


def _open(data: Bytes, path: str) -> Bytes:
    if isinstance(data, mmap) and data.closed:
        raise FileError(f"{path}: was closed before its metadata was read")
    return data


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
