"""`/read`: files that go along with the next message."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from localllm.errors import FileError, UsageError

_BYTES_A_TOKEN = 256
"""No text has more on average: a file that is larger than the context by this count is not even read."""


def paths(text: str) -> list[Path]:
    """The files that a line names: quotes and backslashes as in a shell, ~ is the home. Where backslashes separate
    folders (Windows) they do nothing else. Raises UsageError."""
    words = shlex.shlex(text, posix=True, punctuation_chars="")
    words.whitespace_split, words.commenters = True, ""
    words.escape = "" if os.sep == "\\" else words.escape
    try:
        return [Path(word).expanduser() for word in words]
    except ValueError as error:
        raise UsageError(f"/read {text}: {error}; names with spaces stand in quotes") from None


def read(path: Path, n_ctx: int) -> str:
    """A file's text. Raises FileError for one that is missing, no text in UTF-8, or far too long for a context."""
    try:
        if not path.is_file():
            what = "is a folder: name the files in it" if path.is_dir() else "is no regular file"
            raise FileError(f"{path}: {what if path.exists() else 'no such file'}")
        if path.stat().st_size > _BYTES_A_TOKEN * n_ctx:
            raise FileError(f"{path}: {path.stat().st_size:,} bytes are too many for a context of {n_ctx:,} tokens")
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: byte {error.start:,} is no UTF-8: only text can be read") from None


def message(files: dict[str, str], text: str) -> str:
    """The message that is sent: each file under its name in a fence, then what was asked."""
    parts = []
    for name, content in files.items():
        fence = "```"
        while fence in content:
            fence += "`"
        ending = "" if content.endswith("\n") else "\n"
        parts.append(f"{name}:\n{fence}\n{content}{ending}{fence}\n")
    return "\n".join([*parts, text])


def matching(begun: str) -> Iterator[str]:
    """Paths that go on from what was typed; folders end in a separator."""
    at = max(begun.rfind(separator) for separator in (os.sep, os.altsep or os.sep)) + 1
    shown, name = begun[:at], begun[at:]
    try:
        found = sorted(Path(shown or ".").expanduser().iterdir(), key=lambda path: path.name)
    except OSError:
        return
    for path in found:
        if path.name.startswith(name) and (name.startswith(".") or not path.name.startswith(".")):
            yield f"{shown}{path.name}{os.sep if path.is_dir() else ''}"
