"""What is no model at all: files of other kinds, what is no regular file, models in parts that do not fit together."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shutil
import socket
import sqlite3
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests.gguf import build as b
from tests.gguf.parts import split
from tests.malformed.base import model
from tests.malformed.case import Case, Stage


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/version", b"3\n")
    return out.getvalue()


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../etc/passwd"), io.BytesIO())
    return out.getvalue()


def _npy() -> bytes:
    out = io.BytesIO()
    np.save(out, np.zeros(100, np.float32))
    return out.getvalue()


def _database(folder: Path) -> Path:
    path = folder / "bad.gguf"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE a (b)")
    database.close()
    return path


def _safetensors() -> bytes:
    header = json.dumps({"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(8)


OTHER_KINDS: dict[str, bytes | Callable[[], bytes]] = {
    "a PyTorch checkpoint": _zip,
    "a pickle": lambda: pickle.dumps({"a": [1] * 100}),
    "a tar archive that leaves its folder": _tar,
    "a gzip of a model": lambda: gzip.compress(model().bytes(), 1),
    "a gzip bomb": lambda: gzip.compress(bytes(10_000_000)),
    "an array of NumPy": _npy,
    "safetensors, whole": _safetensors,
    "safetensors of which the header is 2^63 long": lambda: struct.pack("<Q", 2**63) + b'{"a":1}'.ljust(100),
    "an ONNX model": lambda: b"\x08\x07\x12\x07pytorch" + bytes(200),
    "an ELF program": lambda: b"\x7fELF\x02\x01\x01" + bytes(200),
    "a script": lambda: b"#!/bin/sh\ntouch pwned\n".ljust(100),
    "a picture": lambda: b"\x89PNG\r\n\x1a\n" + bytes(200),
    "a model with a byte-order mark": lambda: b"\xef\xbb\xbf" + model().bytes(),
    "a model behind a page of HTTP": lambda: b"HTTP/1.1 200 OK\r\n\r\n" + model().bytes(),
    "a model in hexadecimal digits": lambda: model().bytes().hex().encode(),
    "an error in JSON": lambda: b'{"error":"Invalid username or password."}',
    "10 MB of zeros": lambda: bytes(10_000_000),
    "10 MB of ones": lambda: b"\xff" * 10_000_000,
    "the magic over and over": lambda: b"GGUF" * 1000,
    "all lines": lambda: b"\n" * 1000,
}


def _sparse(folder: Path) -> Path:
    """1 TB of zeros behind a header: whoever reads all of it never ends."""
    path = folder / "bad.gguf"
    path.write_bytes(b.gguf(n_kv=2**16))
    os.truncate(path, 2**40)
    return path


def _sparse_model(folder: Path) -> Path:
    """A valid directory of one tensor of 4 TB, which the file has, as a hole."""
    path = folder / "bad.gguf"
    path.write_bytes(b.gguf([b.kv("general.architecture", b.STR, "llama")], [b.tensor("t", (2**40,))], bytes(1)))
    os.truncate(path, 2**42 + 2**20)
    return path


def _pipe(folder: Path) -> Path:
    path = folder / "bad.gguf"
    os.mkfifo(path)
    return path


def _socket(folder: Path) -> Path:
    path = folder / "bad.gguf"
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
    return path


def _link_to(target: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "bad.gguf"
        path.symlink_to(target)
        return path

    return make


def _directory(folder: Path) -> Path:
    path = folder / "bad.gguf"
    path.mkdir()
    return path


def _links_to_each_other(folder: Path) -> Path:
    (folder / "bad.gguf").symlink_to("other.gguf")
    (folder / "other.gguf").symlink_to("bad.gguf")
    return folder / "bad.gguf"


NO_FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "1 TB of nothing": (_sparse, ""),
    "a pipe": (_pipe, "is a pipe"),
    "a socket": (_socket, "is a socket"),
    "a directory": (_directory, "is a directory"),
    "/dev/zero": (_link_to("/dev/zero"), "is a device"),
    "/dev/full": (_link_to("/dev/full"), "is a device"),
    "/dev/tty": (_link_to("/dev/tty"), "is a device"),
    "a link to itself": (_link_to("bad.gguf"), ""),
    "links to each other": (_links_to_each_other, ""),
    "a link to nothing": (_link_to("none/at/all"), ""),
    "a link to a process's memory": (_link_to("/proc/self/mem"), ""),
    "a link to a file that says it is empty": (_link_to("/proc/self/environ"), "0 bytes long"),
    "a link to the folder of descriptors": (_link_to("/proc/self/fd"), "is a directory"),
    "a name that is a path": (lambda folder: folder / "none" / "bad.gguf", ""),
}


def _parts(folder: Path) -> list[Path]:
    whole = folder / "whole.gguf"
    whole.write_bytes(model().bytes())
    return split(whole, folder / "bad", 8)


def _part(edit: Callable[[list[Path]], object], first: int = 0) -> Callable[[Path], Path]:
    """Three parts, of which something is changed; the one that is opened."""

    def make(folder: Path) -> Path:
        paths = _parts(folder)
        edit(paths)
        return paths[first]

    return make


def _patch(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


def _count(number: int) -> bytes:
    return b.kv("split.count", b.U16, number)


def _swap(paths: list[Path]) -> None:
    first, second = paths[1].read_bytes(), paths[2].read_bytes()
    paths[1].write_bytes(second)
    paths[2].write_bytes(first)


def _relink(path: Path, target: str | Path) -> None:
    path.unlink()
    path.symlink_to(target)


def _replace(paths: list[Path], make: Callable[[Path], None] | None) -> None:
    for path in paths:
        path.unlink()
        if make:
            make(path)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


SPLIT: dict[str, Callable[[Path], Path]] = {
    "a part is missing": _part(lambda paths: _replace(paths[1:2], None)),
    "two parts are missing": _part(lambda paths: _replace(paths[1:], None)),
    "parts in each other's place": _part(_swap),
    "the same part twice": _part(lambda paths: shutil.copy(paths[1], paths[2])),
    "a part that is a link to another": _part(lambda paths: _relink(paths[2], paths[1].name)),
    "a part that is a link to itself": _part(lambda paths: _relink(paths[2], paths[2].name)),
    "a part that is a link to a device": _part(lambda paths: _relink(paths[2], "/dev/zero")),
    "a part that is a link to a secret": _part(lambda paths: _relink(paths[2], "/etc/passwd")),
    "a part that is a directory": _part(lambda paths: _replace(paths[2:], os.mkdir)),
    "a part that is a pipe": _part(lambda paths: _replace(paths[2:], os.mkfifo)),
    "a part that is empty": _part(lambda paths: paths[2].write_bytes(b"")),
    "a part that is cut": _part(lambda paths: _cut(paths[2])),
    "a part of no tensors that says it has some": _part(lambda paths: paths[2].write_bytes(b.gguf(n_tensors=8))),
    "a part that is a whole model": _part(lambda paths: paths[2].write_bytes(model().bytes())),
    "split.count of 0 in the middle": _part(lambda paths: _patch(paths[1], _count(3), _count(0))),
    "split.count of 65535": _part(lambda paths: _patch(paths[0], _count(3), _count(65535))),
    "split.count of 2 where the name says 3": _part(lambda paths: _patch(paths[0], _count(3), _count(2))),
    "split.count as a text": _part(
        lambda paths: paths[0].write_bytes(model().with_keys({"split.count": "3", "split.no": "0"}).bytes())
    ),
    "split.count of 2^32-1": _part(
        lambda paths: paths[0].write_bytes(model().with_keys({"split.count": 2**32 - 1, "split.no": 0}).bytes())
    ),
    "split.count of -1": _part(
        lambda paths: paths[0].write_bytes(model().with_keys({"split.count": -1, "split.no": 0}).bytes())
    ),
    "split.no of 3": _part(lambda paths: _patch(paths[2], b.kv("split.no", b.U16, 2), b.kv("split.no", b.U16, 3))),
    "split.no that is missing": _part(lambda paths: _patch(paths[2], b"split.no", b"split.on")),
    "more tensors by split.tensors.count": _part(
        lambda paths: _patch(paths[0], b.kv("split.tensors.count", b.I32, 20), b.kv("split.tensors.count", b.I32, 21))
    ),
}  # fmt: skip


def _misnamed(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        paths = _parts(folder)
        path.write_bytes(paths[0].read_bytes())
        return path

    return make


MISNAMED = {
    "a part whose name is no part's": "bad.gguf",
    "a part whose name counts from 0": "bad-00000-of-00003.gguf",
    "a part whose name is past the count": "bad-00004-of-00003.gguf",
    "a part whose name says 99999": "bad-00001-of-99999.gguf",
    "a part whose name leaves the folder": "..-00001-of-00004.gguf",
}


def cases() -> Iterator[Case]:
    for name, content in OTHER_KINDS.items():
        yield Case(f"{name}", (3,), content, "not a GGUF file" if name != "the magic over and over" else "version")
    yield Case("a database", (3,), None, "not a GGUF file", make=_database)
    yield Case("a tensor of 4 TB that is a hole", (47,), None, "", Stage.MODEL, make=_sparse_model)
    for name, (make, words) in NO_FILES.items():
        yield Case(name, (80,), None, words, make=make)
    for name, make in SPLIT.items():
        yield Case(f"split: {name}", (79,), None, "", make=make)
    for name, path in MISNAMED.items():
        yield Case(f"split: {name}", (79,), None, "", make=_misnamed(path))
