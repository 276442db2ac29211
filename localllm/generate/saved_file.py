"""One file of a prompt cache: cells of some tokens, or states of one position.

    bytes 0 to 7    magic
    8 to 15         length of the header and its CRC-32, u32 each, little-endian as everything is
    header          JSON
    token ids       i32, of cells
    parts           bytes, one after another

Nothing that a file says is believed before it agrees with the file's size and with what the reader knows, and nothing
is allocated before. Checksums tell damage, not intent: the folder belongs to the user alone.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from localllm.runtime.files import replace, sync

MAGIC = b"LLMPRMT\n"
VERSION = 1
"""Of the format: part of the key."""
MAX_HEADER = 1 << 16
MAX_TOKENS = 1024
"""Of a file of cells: a prompt that needs a few of them reads no more than that."""
MAX_PARTS = 1 << 12
_FIXED = struct.Struct("<8sII")
Bytes = NDArray[np.uint8]


class DamagedError(Exception):
    """A file is not what it should be. It never leaves the cache."""


@dataclass(frozen=True)
class Header:
    key: str
    """What computed it, of which model: see `model_digest`."""
    name: str
    """Digest of the key, the place and all tokens up to there."""
    parent: str
    """Name of the cells before; "": there are none."""
    start: int
    stop: int
    """Of cells; states have their position twice."""
    written: int = 0
    """Of states; below 0: this is cells."""
    ids_crc: int = 0
    sizes: tuple[int, ...] = ()
    checksums: tuple[int, ...] = ()
    """CRC-32 of each part."""

    @property
    def is_cells(self) -> bool:
        return self.written < 0


def write(path: Path, header: Header, ids: NDArray[np.int32], parts: Sequence[Bytes], time_ns: int) -> None:
    """Put a file in place whole or not at all, last used at time_ns. Raises OSError; nothing is left then."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    part.unlink(missing_ok=True)
    tokens = ids.astype("<i4").tobytes()
    filled = asdict(header) | {
        "ids_crc": zlib.crc32(tokens),
        "sizes": [p.nbytes for p in parts],
        "checksums": [zlib.crc32(p.data) for p in parts],
    }
    text = json.dumps(filled, separators=(",", ":")).encode()
    try:
        with open(os.open(part, flags, 0o600), "wb", buffering=0) as file:
            _write_all(file, memoryview(_FIXED.pack(MAGIC, len(text), zlib.crc32(text)) + text + tokens))
            for piece in parts:
                _write_all(file, piece.data.cast("B"))
            sync(file.fileno())
        os.utime(part, ns=(time_ns, time_ns))
        replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _write_all(file: Any, piece: memoryview) -> None:
    while piece:
        piece = piece[file.write(piece) :]


def read_header(path: Path) -> tuple[Header, NDArray[np.int32]]:
    """What a file says of itself, and its token ids. Raises DamagedError, and OSError."""
    with _opened(path) as file:
        header, _ = _header(file)
        return header, _ids(file, header)


def read(path: Path, name: str, sizes: Sequence[int]) -> tuple[Header, list[Bytes]]:
    """The parts of the file of a name, which must have these sizes. Raises DamagedError, and OSError."""
    with _opened(path) as file:
        header, at = _header(file)
        if header.name != name or list(header.sizes) != list(sizes):
            raise DamagedError(f"holds {header.name}, {header.sizes}")
        file.seek(at)
        parts = []
        for size, checksum in zip(header.sizes, header.checksums, strict=True):
            part = np.empty(size, np.uint8)
            _read_all(file, part.data)
            if zlib.crc32(part.data) != checksum:
                raise DamagedError("a part has another checksum")
            parts.append(part)
        return header, parts


def _opened(path: Path) -> BinaryIO:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    fd = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise DamagedError("not a regular file")
    return open(fd, "rb", buffering=0)


def _header(file: BinaryIO) -> tuple[Header, int]:
    """The header, and where the parts begin. The file stands behind the header then."""
    size = os.fstat(file.fileno()).st_size
    magic, length, checksum = _FIXED.unpack(_exactly(file, _FIXED.size))
    if magic != MAGIC or not 2 <= length <= MAX_HEADER:
        raise DamagedError("not a file of this cache")
    text = _exactly(file, length)
    if zlib.crc32(text) != checksum:
        raise DamagedError("the header has another checksum")
    header = _parsed(text)
    n_ids = header.stop - header.start if header.is_cells else 0
    at = _FIXED.size + length + 4 * n_ids
    if at + sum(header.sizes) != size:
        raise DamagedError(f"has {size} bytes, must have {at + sum(header.sizes)}")
    return header, at


def _parsed(text: bytes) -> Header:
    try:
        said = json.loads(text)
        header = Header(**said | {"sizes": tuple(said["sizes"]), "checksums": tuple(said["checksums"])})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DamagedError(f"the header is not one: {error}") from None
    numbers = (header.start, header.stop, header.ids_crc, *header.sizes, *header.checksums)
    if not all(type(n) is int and 0 <= n < 1 << 48 for n in numbers) or type(header.written) is not int:
        raise DamagedError("the header has numbers that cannot be")
    if not all(type(s) is str and len(s) <= 64 for s in (header.key, header.name, header.parent)):
        raise DamagedError("the header has names that cannot be")
    if len(header.sizes) != len(header.checksums) or len(header.sizes) > MAX_PARTS:
        raise DamagedError("the header has too many parts")
    if not 0 <= header.stop - header.start <= MAX_TOKENS:
        raise DamagedError(f"holds tokens from {header.start} to {header.stop}")
    return header


def _ids(file: BinaryIO, header: Header) -> NDArray[np.int32]:
    if not header.is_cells:
        return np.empty(0, np.int32)
    tokens = _exactly(file, 4 * (header.stop - header.start))
    if zlib.crc32(tokens) != header.ids_crc:
        raise DamagedError("the tokens have another checksum")
    return np.frombuffer(tokens, "<i4").astype(np.int32)


def _exactly(file: BinaryIO, n: int) -> bytes:
    content = bytearray(n)
    _read_all(file, memoryview(content))
    return bytes(content)


def _read_all(file: BinaryIO, into: memoryview) -> None:
    while into:
        n = file.readinto(into)  # type: ignore[attr-defined]
        if not n:
            raise DamagedError("ends too soon")
        into = into[n:]
