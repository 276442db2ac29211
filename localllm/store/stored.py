"""A model that lies on this machine, whichever program put it there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StoredModel:
    """A model file, or all parts of a split one. `name`: what MODEL accepts, such as "org/repo:Q4_K_M", "llama3.2:3b"
    or a file's stem. `path`: the file, or the first part. `origin`: a name of ORIGINS. `size`: bytes of all parts.
    `owned`: we downloaded it, so `rm` may delete it. `last_used`: seconds since 1970, None where we never used it."""

    name: str
    path: Path
    origin: str
    parts: tuple[Path, ...]
    size: int
    owned: bool = False
    last_used: float | None = None
