"""A command line that meets a bad file, and what it must end with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Call:
    """A command line and what it must end with. names: what the line of an error names."""

    words: list[str]
    statuses: tuple[int, ...] = (1,)
    names: str = "bad"
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""


Make = Callable[[Path], Call]
