"""Mutations of GGUF files that know their records, so that what is behind lengths and counts is reached, too.

A file is taken apart leniently, one record is changed, and it is written again with counts, lengths and offsets that
fit; now and then one of them lies. What cannot be taken apart is mutated as bytes.
"""

from __future__ import annotations

import copy
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fuzz.mutators import NUMBERS, REALS, STRINGS, of_bytes
from tests.gguf import build as b

SCALARS = tuple(b.CODES)
_MAX_ITEMS = 1 << 16


@dataclass
class Entry:
    """A key with its value; of arrays `element` is the type of the items."""

    key: bytes
    kind: int
    value: Any
    element: int = -1


@dataclass
class Tensor:
    name: bytes
    shape: list[int]
    kind: int
    offset: int


@dataclass
class Parsed:
    version: int
    entries: list[Entry] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    rest: bytes = b""
    """What stands behind the directory: padding and data."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.pos = data, 0

    def number(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self.data, self.pos)
        self.pos += struct.calcsize("<" + code)
        return value

    def string(self) -> bytes:
        size = self.number("Q")
        if size > len(self.data) - self.pos:
            raise ValueError("a string over the end")
        self.pos += size
        return self.data[self.pos - size : self.pos]

    def item(self, kind: int) -> Any:
        return self.string() if kind == b.STR else self.number(b.CODES[kind])

    def entry(self) -> Entry:
        key, kind = self.string(), self.number("I")
        if kind != b.ARR:
            return Entry(key, kind, self.item(kind))
        element, count = self.number("I"), self.number("Q")
        if count > _MAX_ITEMS:
            raise ValueError("too many items")
        return Entry(key, kind, [self.item(element) for _ in range(count)], element)

    def tensor(self) -> Tensor:
        name, n_dims = self.string(), self.number("I")
        if n_dims > 8:
            raise ValueError("too many dimensions")
        return Tensor(name, [self.number("Q") for _ in range(n_dims)], self.number("I"), self.number("Q"))


def parsed(data: bytes) -> Parsed:
    """Raises ValueError, KeyError or struct.error for what cannot be taken apart."""
    reader = _Reader(data)
    reader.pos = 4
    version, n_tensors, n_kv = reader.number("I"), reader.number("Q"), reader.number("Q")
    if n_tensors + n_kv > _MAX_ITEMS:
        raise ValueError("too many records")
    entries = [reader.entry() for _ in range(n_kv)]
    tensors = [reader.tensor() for _ in range(n_tensors)]
    return Parsed(version, entries, tensors, data[reader.pos :])


def built(file: Parsed, counts: tuple[int, int] = (0, 0)) -> bytes:
    """The bytes of a file; `counts` is what the header's numbers of tensors and keys lie by."""
    body = b"".join(map(_entry, file.entries)) + b"".join(map(_tensor, file.tensors))
    numbers = (len(file.tensors) + counts[0]) % 2**64, (len(file.entries) + counts[1]) % 2**64
    return b"GGUF" + b.pack("IQQ", file.version % 2**32, *numbers) + body + file.rest


def _entry(entry: Entry) -> bytes:
    head = b.string(entry.key) + b.pack("I", entry.kind % 2**32)
    if entry.kind != b.ARR:
        return head + _scalar(entry.kind, entry.value)
    items = b"".join(_scalar(entry.element, item) for item in entry.value)
    return head + b.pack("IQ", entry.element % 2**32, len(entry.value)) + items


def _scalar(kind: int, value: Any) -> bytes:
    if kind == b.STR:
        return b.string(value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass"))
    code = b.CODES.get(kind, "Q")
    if isinstance(value, bytes | str | list):
        value = len(value)
    if code in "fd":
        limit = 3.4e38 if code == "f" else 1.7e308
        real = float(value) if abs(value) < 1e300 or value != value or value in (float("inf"), -float("inf")) else limit
        return b.pack(code, real if not limit < abs(real) < float("inf") else limit)
    size = struct.calcsize("<" + code)
    whole = int(value) if value == value and abs(value) != float("inf") else 0
    return (whole % 256**size).to_bytes(size, "little")


def _tensor(tensor: Tensor) -> bytes:
    dims = b"".join(b.pack("Q", size % 2**64) for size in tensor.shape)
    head = b.string(tensor.name) + b.pack("I", len(tensor.shape))
    return head + dims + b.pack("IQ", tensor.kind % 2**32, tensor.offset % 2**64)


def of_gguf(keys: Sequence[str] = (), names: Sequence[str] = ()) -> Callable[[bytes, random.Random], bytes]:
    """A mutator of GGUF files. keys, names: of metadata and of tensors that readers look for."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.1:
            return of_bytes(data, rng)
        try:
            file = parsed(data)
        except (ValueError, KeyError, struct.error):
            return of_bytes(data, rng)
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            changes = [_change_entry] * 6 * bool(file.entries) + [_change_tensor] * 3 * bool(file.tensors)
            rng.choice([*changes, _change_list, _change_rest])(file, rng, keys, names)
        if file.tensors and rng.random() < 0.7:
            fit(file)
        lies = (rng.choice((-1, 1)), 0) if rng.random() < 0.02 else (0, 0)
        return built(file, lies)

    return mutate


def _change_entry(file: Parsed, rng: random.Random, keys: Sequence[str], _: Sequence[str]) -> None:
    entry = rng.choice(file.entries)
    match rng.randrange(6):
        case 0:
            entry.key = _name(entry.key, [*keys, *(e.key.decode("utf-8", "replace") for e in file.entries)], rng)
        case 1 if entry.kind == b.ARR:
            entry.element = rng.choice((*SCALARS, b.STR))
        case 1:
            entry.kind = rng.choice((*SCALARS, b.STR, b.ARR))
            if entry.kind == b.ARR:
                entry.element, entry.value = rng.choice((*SCALARS, b.STR)), [entry.value] * rng.choice((0, 1, 3, 32))
        case _ if entry.kind == b.ARR:
            _change_items(entry, rng)
        case _:
            entry.value = any_value(entry.kind, entry.value, rng)


def _change_items(entry: Entry, rng: random.Random) -> None:
    items = entry.value
    at = rng.randrange(len(items)) if items else 0
    match rng.randrange(6):
        case 0 | 1 | 2 if items:
            items[at] = any_value(entry.element, items[at], rng)
        case 3:
            del items[at : at + rng.choice((1, 1, 5, 1000))]
        case 4 if items:
            items[at:at] = items[at : at + rng.choice((1, 3))] * rng.choice((1, 2, 30))
        case 5 if len(items) > 1:
            other = rng.randrange(len(items))
            items[at], items[other] = items[other], items[at]
        case _:
            items.append(any_value(entry.element, b"", rng))


def any_value(kind: int, old: Any, rng: random.Random) -> Any:
    """Another value for one of type `kind`."""
    if kind == b.STR:
        raw = old if isinstance(old, bytes) else str(old).encode()
        return rng.choice((of_bytes(raw, rng), rng.choice(STRINGS).encode(), raw + rng.choice(STRINGS).encode()))
    if kind in (b.F32, b.F64):
        return rng.choice(REALS)
    near = [old + d for d in (-1, 1)] + [old * 2, old // 2] if isinstance(old, int) else []
    return rng.choice([*near, rng.choice(NUMBERS), -rng.choice(NUMBERS)])


def _change_tensor(file: Parsed, rng: random.Random, _: Sequence[str], names: Sequence[str]) -> None:
    tensor = rng.choice(file.tensors)
    match rng.randrange(5):
        case 0:
            tensor.name = _name(tensor.name, [*names, *(t.name.decode("utf-8", "replace") for t in file.tensors)], rng)
        case 1:
            tensor.kind = rng.choice((*range(45), rng.choice(NUMBERS)))
        case 2:
            tensor.offset = rng.choice((rng.choice(NUMBERS), tensor.offset + rng.choice((-32, -1, 1, 32))))
        case 3:
            at = rng.randint(0, len(tensor.shape))
            tensor.shape[at : at + rng.randrange(2)] = [rng.choice(NUMBERS)][: rng.randrange(2)]
        case _ if tensor.shape:
            at = rng.randrange(len(tensor.shape))
            tensor.shape[at] = any_value(b.U64, tensor.shape[at], rng) % 2**64


def _change_list(file: Parsed, rng: random.Random, keys: Sequence[str], names: Sequence[str]) -> None:
    rows: list[Any] = rng.choice((file.entries, file.tensors))
    at = rng.randint(0, len(rows))
    match rng.randrange(3):
        case 0:
            del rows[at : at + 1]
        case 1 if rows:
            rows.insert(at, copy.deepcopy(rng.choice(rows)))
        case _ if rows is file.entries and keys:
            kind = rng.choice((b.U32, b.F32, b.BOOL, b.STR, b.I32))
            rows.insert(at, Entry(rng.choice(keys).encode(), kind, any_value(kind, 0, rng)))
        case _ if rows is file.tensors and names:
            rows.insert(at, Tensor(rng.choice(names).encode(), [32], rng.choice((0, 1, 2, 8)), 0))


def _change_rest(file: Parsed, rng: random.Random, *_: Any) -> None:
    file.rest = of_bytes(file.rest, rng)


def _name(old: bytes, known: Sequence[str], rng: random.Random) -> bytes:
    return rng.choice(known).encode() if known and rng.random() < 0.7 else of_bytes(old, rng)


def fit(file: Parsed) -> None:
    """Offsets one after another, and as much data as they say, up to a megabyte."""
    from localllm.kernels.formats.table import BY_ID

    offset = 0
    for tensor in file.tensors:
        tensor.offset = offset
        n = 1
        for size in tensor.shape:
            n *= size
        known = BY_ID.get(tensor.kind)
        offset += known.row_bytes(n) if known and n % known.block == 0 else 0
        offset = -(-offset // 32) * 32
    wanted = min(offset + 32, 1 << 20)
    file.rest = file.rest[:wanted].ljust(wanted, b"\0")
