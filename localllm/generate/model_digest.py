"""Digests of a model's content and of what computes with it: saved states are of use to no other.

To digest a file takes about a second for 1 to 2 GB: what was found is kept in a small file whose name tells which open
file it was (device, inode, size, times).
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Protocol

from localllm.generate import saved_file
from localllm.gguf.reader import GGUFFile
from localllm.runtime.files import replace

_CHUNK = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEPT = 64
"""Digests of models, the latest."""
_ROOMS = ("kernels", "model", "gguf")
"""Folders whose sources decide what is computed."""
_one_at_a_time = threading.Lock()


class DigestedModel(Protocol):
    file: GGUFFile
    target: str


class DigestedContext(Protocol):
    """What a key needs of a context (localllm.model's Context has it)."""

    @property
    def model(self) -> DigestedModel: ...
    @property
    def kind(self) -> str: ...


def known_content(file: GGUFFile, folder: Path) -> str:
    """SHA-256 of a model's file (or parts, one after another), hexadecimal; "" where it is not known."""
    with suppress(OSError, ValueError):
        text = _kept(file, folder).read_text("ascii")
        if _SHA256.fullmatch(text):
            return text
    return ""


def find_content(file: GGUFFile, folder: Path, stop: threading.Event) -> str:
    """The same, worked out and kept; "" when `stop` was set meanwhile. Raises FileError for a file that changes, and
    OSError."""
    with _one_at_a_time:  # the descriptors of one model share an offset
        if known := known_content(file, folder):
            return known
        path, total = _kept(file, folder), hashlib.sha256()
        with ExitStack() as stack:
            for content in [stack.enter_context(open(fd, "rb", buffering=0)) for fd in file.duplicates()]:
                content.seek(0)
                while chunk := content.read(_CHUNK):
                    if stop.is_set():
                        return ""
                    total.update(chunk)
        file.check_unchanged()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as written:
        written.write(total.hexdigest())
    replace(part, path)
    _forget_old(folder)
    return total.hexdigest()


def key(context: DigestedContext, content: str) -> str:
    """Names what was computed by the same code, in the same way, of the same model, hexadecimal."""
    fused = "products and sums apart" if context.model.target == "generic" else "fused"
    parts = [content, context.kind, code(), fused, str(saved_file.VERSION)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@cache
def code() -> str:
    """Digest of the sources that decide what is computed."""
    total, root = hashlib.sha256(), Path(__file__).parents[1]
    for room in _ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            total.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return total.hexdigest()


def _kept(file: GGUFFile, folder: Path) -> Path:
    return folder / f"model-{hashlib.sha256(repr(file.identity).encode()).hexdigest()[:32]}.sha256"


def _forget_old(folder: Path) -> None:
    with suppress(OSError):
        files = sorted(folder.glob("model-*.sha256"), key=lambda path: path.stat().st_mtime_ns)
        for old in files[:-_KEPT]:
            old.unlink(missing_ok=True)
