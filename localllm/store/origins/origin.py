"""A program whose models are found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from localllm.store.filenames import Note
from localllm.store.stored import StoredModel


@dataclass(frozen=True)
class Origin:
    """`title`: the program's name, for people. `folders`: where it keeps models, whether or not they exist. `models`:
    what is there now; it tells `note` what it passes over, and raises nothing."""

    name: str
    title: str
    folders: Callable[[], list[Path]]
    models: Callable[[Note], Iterator[StoredModel]]
