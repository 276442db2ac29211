"""What a malformed file is, and at which of the doors of the command line it must be refused."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class Stage(enum.IntEnum):
    """What refuses a file. What is refused at one stage is refused by every command that gets so far: `show` reads
    the header, `tokenize` the vocabulary as well, `run` and `serve` need the whole model."""

    PARSER = 0
    VOCABULARY = 1
    MODEL = 2
    USE = 3
    """It is loaded, and what it computes is refused."""
    NEVER = 4
    """It is strange and legal: whatever is done with it must end well."""
    ANY = 5
    """Either is right, whichever command it is: an error, or an answer."""


@dataclass(frozen=True)
class Case:
    """A file. classes: numbers of `localllm.gate.classes`; words: what the line of the error must hold; source: the
    public report that it is rebuilt from."""

    name: str
    classes: tuple[int, ...]
    content: bytes | Callable[[], bytes] | None
    """None: `make` does it."""
    words: str
    stage: Stage = Stage.PARSER
    source: str = ""
    make: Callable[[Path], Path] | None = None
    """Makes it in a folder of its own, and says which path stands for it."""

    def write(self, folder: Path) -> Path:
        """Makes the file in a folder."""
        if self.make:
            return self.make(folder)
        content = self.content() if callable(self.content) else self.content
        assert content is not None
        path = folder / "bad.gguf"
        path.write_bytes(content)
        return path
