"""A GGUF file as records that can be changed one by one, and back to bytes: whatever they say is written."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from localllm.kernels.formats.table import BY_ID
from tests.gguf.build import ARR, CODES, STR

WIDTHS = {kind: struct.calcsize(code) for kind, code in CODES.items()}


@dataclass(frozen=True, slots=True)
class Pair:
    """A key with its value: type id and bytes."""

    key: bytes
    kind: int
    raw: bytes

    def suffix(self, architecture: str) -> str:
        return self.key.decode(errors="replace").removeprefix(f"{architecture}.")


@dataclass(frozen=True, slots=True)
class Info:
    """A tensor: its record and its data. offset: None where it follows from the data before."""

    name: bytes
    dims: tuple[int, ...]
    kind: int
    data: bytes
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Number:
    """A number that the file holds at a place: `width` bytes, little-endian."""

    what: str
    at: int
    width: int


@dataclass
class Written:
    """The bytes of a file, and what is where."""

    content: bytearray
    numbers: list[Number]
    records: list[int]
    """Where records begin and end, ascending; the last is where the data begin."""


@dataclass
class Layout:
    """A file. counts: None where they are those of the records."""

    pairs: list[Pair]
    infos: list[Info]
    version: int = 3
    alignment: int = 32
    counts: tuple[int, int] | None = None
    written_cache: Written | None = field(default=None, repr=False)

    @property
    def architecture(self) -> str:
        value = next((p.raw[8:] for p in self.pairs if p.key == b"general.architecture"), b"")
        return value.decode(errors="replace")

    def copy(self) -> Layout:
        """One whose lists may be changed."""
        return Layout(list(self.pairs), list(self.infos), self.version, self.alignment, self.counts)

    def as_written(self) -> Written:
        """Of a layout that does not change any more; not to be changed itself."""
        if self.written_cache is None:
            self.written_cache = written(self)
        return self.written_cache


def string_at(data: bytes, at: int) -> tuple[bytes, int]:
    """A string with its length before it, and where it ends."""
    end = at + 8 + int.from_bytes(data[at : at + 8], "little")
    return data[at + 8 : end], end


def value_end(data: bytes, kind: int, at: int) -> int:
    """Where a value ends."""
    if kind == STR:
        return string_at(data, at)[1]
    if kind != ARR:
        return at + WIDTHS[kind]
    element, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if element not in (STR, ARR):
        return at + int(count) * WIDTHS[element]
    for _ in range(count):
        at = value_end(data, element, at)
    return at


def parsed(data: bytes) -> Layout:
    """The records of a valid file."""
    n_infos, n_pairs = struct.unpack_from("<QQ", data, 8)
    at, pairs, heads = 24, [], []
    for _ in range(n_pairs):
        key, at = string_at(data, at)
        kind = int.from_bytes(data[at : at + 4], "little")
        end = value_end(data, kind, at + 4)
        pairs.append(Pair(key, kind, data[at + 4 : end]))
        at = end
    for _ in range(n_infos):
        name, at = string_at(data, at)
        n_dims = int.from_bytes(data[at : at + 4], "little")
        dims = struct.unpack_from(f"<{n_dims}Q", data, at + 4)
        kind, offset = struct.unpack_from("<IQ", data, at + 4 + 8 * n_dims)
        heads.append((name, dims, kind, offset))
        at += 16 + 8 * n_dims
    start = -(-at // 32) * 32
    infos = [Info(n, d, k, data[start + o : start + o + n_bytes(d, k)]) for n, d, k, o in heads]
    return Layout(pairs, infos)


def n_bytes(dims: tuple[int, ...], kind: int) -> int:
    """Of a tensor's data; of dims that are no whole blocks, about so many."""
    n = 1
    for size in dims:
        n *= size
    format = BY_ID.get(kind, BY_ID[0])
    return n * format.bytes // format.block


def written(layout: Layout) -> Written:
    """The file."""
    out, numbers, records = bytearray(b"GGUF"), [], []
    counts = layout.counts or (len(layout.infos), len(layout.pairs))
    out += struct.pack("<IQQ", layout.version, *counts)
    numbers += [Number("version", 4, 4), Number("n_tensors", 8, 8), Number("n_kv", 16, 8)]
    for pair in layout.pairs:
        records.append(len(out))
        _write_pair(out, numbers, pair)
    at = 0
    for info in layout.infos:
        records.append(len(out))
        _write_info(out, numbers, info, at)
        at += len(info.data) + -len(info.data) % layout.alignment
    records.append(len(out))
    if layout.infos:
        out += bytes(-len(out) % layout.alignment)
    records.append(len(out))
    for info in layout.infos:
        out += info.data
        out += bytes(-len(info.data) % layout.alignment)
    return Written(out, numbers, records)


def _write_pair(out: bytearray, numbers: list[Number], pair: Pair) -> None:
    at = len(out)
    kind_at = at + 8 + len(pair.key)
    out += struct.pack("<Q", len(pair.key)) + pair.key + struct.pack("<I", pair.kind & 0xFFFFFFFF) + pair.raw
    numbers += [Number("key length", at, 8), Number("value type", kind_at, 4)]
    if pair.kind == STR:
        numbers.append(Number("string length", kind_at + 4, 8))
    elif pair.kind == ARR:
        numbers += [Number("element type", kind_at + 4, 4), Number("element count", kind_at + 8, 8)]
    elif pair.kind in WIDTHS:
        numbers.append(Number("value", kind_at + 4, WIDTHS[pair.kind]))


def _write_info(out: bytearray, numbers: list[Number], info: Info, offset: int) -> None:
    at = len(out)
    dims_at = at + 12 + len(info.name)
    kind_at = dims_at + 8 * len(info.dims)
    dims = b"".join(struct.pack("<Q", size % 2**64) for size in info.dims)
    out += struct.pack("<Q", len(info.name)) + info.name + struct.pack("<I", len(info.dims)) + dims
    out += struct.pack("<IQ", info.kind & 0xFFFFFFFF, (offset if info.offset is None else info.offset) % 2**64)
    numbers += [Number("name length", at, 8), Number("n_dims", dims_at - 4, 4)]
    numbers += [Number("dimension", dims_at + 8 * i, 8) for i in range(len(info.dims))]
    numbers += [Number("tensor type", kind_at, 4), Number("tensor offset", kind_at + 4, 8)]
