"""Files of the prompt cache, with checksums that fit again after most changes: one that is accepted is whole."""

from __future__ import annotations

import contextlib
import json
import random
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from localllm.generate import saved_file
from localllm.generate.saved_file import DamagedError, Header
from tests.fuzz.mutators import dumped, json_once, of_bytes
from tests.fuzz.target import Finding, Target, written

_FIXED = struct.Struct("<8sII")


def seeds() -> Iterator[bytes]:
    path = written(b"", "new.prompt")
    parts = [np.arange(n, dtype=np.uint8) for n in (0, 7, 64)]
    for header in (Header("key", "name", "", 0, 5, -1), Header("key", "name", "parent", 5, 5, 9)):
        saved_file.write(path, header, np.arange(5 * header.is_cells, dtype=np.int32), parts, 1)
        yield path.read_bytes()


def mutate(data: bytes, rng: random.Random) -> bytes:
    if len(data) < _FIXED.size or rng.random() < 0.2:
        return of_bytes(data, rng)
    _, length, _ = _FIXED.unpack_from(data)
    text, rest = data[_FIXED.size : _FIXED.size + length], data[_FIXED.size + length :]
    try:
        said = json.loads(text)
        if rng.random() < 0.5:
            rest = of_bytes(rest, rng)
        else:
            said = json_once(said, ("key", "name", "", 0, 5, -1, [0, 7, 64]), rng)
        if isinstance(said, dict) and rng.random() < 0.7:
            _fit(said, rest)
        text = dumped(said)
    except (ValueError, RecursionError, TypeError, OverflowError):
        return of_bytes(data, rng)
    return _FIXED.pack(saved_file.MAGIC, len(text), zlib.crc32(text)) + text + rest


def _fit(said: dict[str, object], rest: bytes) -> None:
    """Sizes and checksums as the content has them."""
    start, stop, sizes = said.get("start"), said.get("stop"), said.get("sizes")
    if not (isinstance(start, int) and isinstance(stop, int) and isinstance(sizes, list) and sizes):
        return
    at = 4 * max(0, min(stop - start, 2000)) if isinstance(said.get("written"), int) and said["written"] < 0 else 0  # type: ignore[operator]
    said["ids_crc"] = zlib.crc32(rest[:at])
    ends = [at + sum(size for size in sizes[:i] if isinstance(size, int)) for i in range(len(sizes))]
    sizes[-1] = max(0, len(rest) - ends[-1])
    said["checksums"] = [
        zlib.crc32(rest[end : end + size]) if isinstance(size, int) else 0
        for end, size in zip(ends, sizes, strict=True)
    ]


def run(data: bytes) -> None:
    path = written(data, "some.prompt")
    with contextlib.suppress(DamagedError):  # never leaves the cache
        header, ids = saved_file.read_header(path)
        again, parts = saved_file.read(path, header.name, header.sizes)
        if again != header or len(ids) != (header.stop - header.start if header.is_cells else 0):
            raise Finding(f"{header} with {len(ids)} tokens, and then {again}")
        content = ids.astype("<i4").tobytes() + b"".join(part.tobytes() for part in parts)
        if not data.endswith(content) or [zlib.crc32(part.data) for part in parts] != list(header.checksums):
            raise Finding("what was read is not what stands in the file")


TARGET = Target(seeds, run, mutate)
