"""SQLite files of ours, which somebody else may have changed: what is in them is data, and as untrusted as any file.

A view in the place of a table, a trigger or an index by an expression would run what its author wrote
(sqlite.org/security.html, "Untrusted SQLite Database Files"): a schema must be the one that we make.
"""

from __future__ import annotations

import math
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any

MAX_TEXT = 1 << 26
"""Bytes of a text or of a statement."""
MAX_SECONDS = 10.0
"""Of the thread's processor time, that a query may take: pages of a damaged file can name each other without end."""
_STEPS = 100_000
"""Of SQLite's machine, between two looks at the clock."""
_OWN = re.compile(r"sqlite_(stat[14]|sequence)|lost_and_found(_\d+)?")
"""Tables that SQLite makes itself, those of its `.recover` too."""


def guard(db: sqlite3.Connection) -> None:
    """Bound what a file can make SQLite do."""
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_TEXT)
    db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cell_size_check = ON")
    db.execute("PRAGMA mmap_size = 0")
    renew(db)


def renew(db: sqlite3.Connection) -> None:
    """Another operation begins; its time is its own."""
    end = time.thread_time() + MAX_SECONDS
    db.set_progress_handler(lambda: time.thread_time() > end, _STEPS)


def foreign(db: sqlite3.Connection, statements: Sequence[str]) -> str:
    """What of a file's schema these statements do not make, or what is missing; "" where it is ours."""
    with_ours = sqlite3.connect(":memory:")
    try:
        for statement in statements:
            with_ours.execute(statement)
        ours, found = set(_schema(with_ours)), set(_schema(db))
    finally:
        with_ours.close()
    return ", ".join(f"{kind} {name!r:.60}" for kind, name, _ in sorted(found ^ ours, key=repr)[:3])


def _schema(db: sqlite3.Connection) -> Iterator[tuple[str, str, str]]:
    """Kind, name and normalized SQL of all but what SQLite makes itself."""
    for kind, name, table, sql in db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema LIMIT 1000"):
        is_own = (kind == "table" and _OWN.fullmatch(str(name))) or (kind == "index" and sql is None)
        if not is_own:
            yield str(kind), str(name), " ".join(f"{table} {sql}".split())


def are_of(row: Sequence[Any], kinds: Sequence[type | tuple[type, ...]]) -> bool:
    """Whether each value of a row is of the type that its column has: SQLite keeps whatever was written."""
    return all(isinstance(value, kind) for value, kind in zip(row, kinds, strict=True))


def is_time(value: object) -> bool:
    """Seconds since the epoch, of a year that can be shown."""
    return isinstance(value, int | float) and math.isfinite(value) and 0 <= value < 1e11


def told(error: sqlite3.Error) -> str:
    """SQLite's words on one line: they may quote the file."""
    text = "".join(char if char.isprintable() else "?" for char in str(error))
    return "takes too long to read: it is damaged; move it away" if text == "interrupted" else text[:200]
