"""What a check is: a function that gives back what it was given, or raises; and its row in the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from localllm.errors import FormatError, LocalllmError

_MAX_FIELD = 160
"""Characters that are shown of a field: a key may have 65,535."""


_MOST_SHOWN = 40
"""Characters of a value that is wrong."""
_MOST_BITS = 128


def shown(value: object) -> str:
    """A value that is wrong, on one line: an array would take several, and Python refuses to write long integers."""
    if isinstance(value, int):
        return str(value) if value.bit_length() <= _MOST_BITS else f"an integer of {value.bit_length()} bits"
    return f"{value!r:.{_MOST_SHOWN}}" if isinstance(value, str | bytes | float) else f"a {type(value).__name__}"


class Place(NamedTuple):
    """Where a value stands: its file, the field, and, for the parser, the byte at which it begins."""

    path: str
    field: str
    offset: int | None = None

    def error(self, problem: str, kind: type[LocalllmError] = FormatError) -> LocalllmError:
        """The error to raise: one line with file, field, what is wrong, and the byte offset."""
        at = "" if self.offset is None else f" (byte offset {self.offset})"
        field = self.field if len(self.field) <= _MAX_FIELD else f"{self.field[:_MAX_FIELD]}..."
        return kind(": ".join(filter(None, (self.path, field, problem))) + at)


@dataclass(frozen=True)
class Check:
    """A row of the table. name: area.function; what is checked and within which limit, for people; classes: of
    malformed files, by the numbers of `localllm.gate.classes`; error: what is raised."""

    name: str
    what: str
    limit: str
    classes: tuple[int, ...]
    error: type[LocalllmError]
    run: Callable[..., Any]


ROWS: list[Check] = []
"""In the order in which the areas define them; `localllm.gate.table` has all."""

F = TypeVar("F", bound=Callable[..., Any])


def check(what: str, limit: str, *classes: int, error: type[LocalllmError] = FormatError) -> Callable[[F], F]:
    """Put a function into the table. It stays what it is: a call costs nothing more."""

    def add(run: F) -> F:
        name = f"{run.__module__.rpartition('.')[2]}.{run.__name__}"
        ROWS.append(Check(name, what, limit, classes, error, run))
        return run

    return add
