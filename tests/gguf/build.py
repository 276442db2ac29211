"""Builds GGUF files byte by byte, right or wrong ones; it checks nothing on purpose."""

from __future__ import annotations

import struct
from collections.abc import Sequence

U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}


def pack(code: str, *values: object) -> bytes:
    return struct.pack("<" + code, *values)


def string(text: str | bytes) -> bytes:
    raw = text if isinstance(text, bytes) else text.encode()
    return pack("Q", len(raw)) + raw


def scalar(kind: int, value: object) -> bytes:
    return string(value) if kind == STR else pack(CODES[kind], value)  # type: ignore[arg-type]


def kv(key: str | bytes, kind: int, value: object) -> bytes:
    return string(key) + pack("I", kind) + scalar(kind, value)


def array(key: str, element: int, items: Sequence[object], count: int | None = None) -> bytes:
    head = pack("IIQ", ARR, element, len(items) if count is None else count)
    return string(key) + head + b"".join(scalar(element, item) for item in items)


def tensor(
    name: str | bytes = "t", shape: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0, n_dims: int | None = None
) -> bytes:
    dims = b"".join(pack("Q", size % 2**64) for size in shape)
    return string(name) + pack("I", len(shape) if n_dims is None else n_dims) + dims + pack("IQ", kind, offset)


def gguf(
    kvs: list[bytes] | None = None,
    tensors: list[bytes] | None = None,
    data: bytes = b"",
    *,
    version: int = 3,
    n_kv: int | None = None,
    n_tensors: int | None = None,
    alignment: int = 32,
    magic: bytes = b"GGUF",
) -> bytes:
    kvs, tensors = kvs or [], tensors or []
    counts = pack("QQ", len(tensors) if n_tensors is None else n_tensors, len(kvs) if n_kv is None else n_kv)
    body = magic + pack("I", version) + counts + b"".join(kvs) + b"".join(tensors)
    if tensors and data:
        body += b"\0" * (-len(body) % alignment)
    return body + data
