"""What we downloaded, and when a model was last used: a small SQLite file beside the store, for all processes.

Files are known by their real path: a link and what it leads to are one model.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localllm.errors import StoreError
from localllm.store.paths import store_dir

if TYPE_CHECKING:
    import sqlite3

_TABLE = """CREATE TABLE IF NOT EXISTS files
    (path TEXT PRIMARY KEY, name TEXT, etag TEXT, pulled REAL, used REAL) WITHOUT ROWID"""
_WAIT = 10.0
"""Seconds to wait for another process that writes."""


@dataclass(frozen=True)
class Pulled:
    """A download: `name` as it was asked for, the server's `etag` of it or "", `time` in seconds since 1970."""

    name: str
    etag: str
    time: float


def records_path() -> Path:
    """Where the records are; the file need not exist yet."""
    return store_dir().parent / "records.sqlite"


def owns(path: str | os.PathLike[str]) -> bool:
    """Whether we downloaded this file: it lies in the store's own folder, or a pull of ours put it where it is."""
    real = _real(path)
    if Path(real).is_relative_to(_real(store_dir())):
        return True
    return known(real) is not None


def known(path: str | os.PathLike[str]) -> Pulled | None:
    """What was written down when a file was downloaded."""
    rows = _read("SELECT name, etag, pulled FROM files WHERE path = ? AND pulled IS NOT NULL", _real(path))
    return next((Pulled(*row) for row in rows if _are_texts(row[:2]) and _is_time(row[2])), None)


def last_used(path: str | os.PathLike[str]) -> float | None:
    """When a model was last loaded, in seconds since the epoch; None: never, as far as is known."""
    rows = _read("SELECT used FROM files WHERE path = ?", _real(path))
    return next((used for (used,) in rows if _is_time(used)), None)


def all_files() -> dict[str, tuple[bool, float | None]]:
    """Real path of every file that is known: whether a pull of ours put it there, and when it was last loaded."""
    rows = _read("SELECT path, pulled, used FROM files")
    times = [(path, *(time if _is_time(time) else None for time in row)) for path, *row in rows if _are_texts([path])]
    return {path: (pulled is not None, used) for path, pulled, used in times}


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)


def _is_time(value: object) -> bool:
    from localllm.store.sqlite_file import is_time

    return is_time(value)


def pulled(path: str | os.PathLike[str], name: str, etag: str = "") -> None:
    """This file is ours: it was downloaded as MODEL `name`. To be called before it is put there: who is killed between
    the two owns nothing that is not. Raises StoreError if that cannot be written down."""
    try:
        with _writing() as records:
            records.execute(
                "INSERT INTO files (path, name, etag, pulled) VALUES (?1, ?2, ?3, ?4)"
                " ON CONFLICT (path) DO UPDATE SET name = ?2, etag = ?3, pulled = ?4",
                (_real(path), name, etag, time.time()),
            )
    except _errors() as error:
        raise StoreError(
            f"{records_path()}: {_told(error)}; set LOCALLLM_HOME to a folder that can be written"
        ) from None


def used(path: str | os.PathLike[str]) -> None:
    """A model is loaded now. Where that cannot be written down it is not: it must not stop an answer."""
    with contextlib.suppress(*_errors()), _writing() as records:
        records.execute(
            "INSERT INTO files (path, used) VALUES (?1, ?2) ON CONFLICT (path) DO UPDATE SET used = ?2",
            (_real(path), time.time()),
        )


def forget(path: str | os.PathLike[str]) -> None:
    """The file is gone. Call it with the path that `pulled` was given, or before the file is removed."""
    with contextlib.suppress(*_errors()), _writing() as records:
        records.execute("DELETE FROM files WHERE path = ?", (_real(path),))


def _errors() -> tuple[type[Exception], ...]:
    import sqlite3

    return sqlite3.Error, OSError, UnicodeError  # the last: a path whose bytes are no text; a message that quotes such


def _told(error: Exception) -> str:
    import sqlite3

    from localllm.store.sqlite_file import told

    return told(error) if isinstance(error, sqlite3.Error) else str(error)


def _real(path: str | os.PathLike[str]) -> str:
    return os.path.realpath(path)


def _read(sql: str, *values: str) -> list[tuple[Any, ...]]:
    """The rows of a query; none where there are no records yet, or none that can be read: unreadable, damaged, locked
    for too long, or not made by us."""
    path = records_path()
    if not path.is_file():
        return []
    import sqlite3

    with contextlib.suppress(*_errors()), contextlib.closing(sqlite3.connect(path, timeout=_WAIT)) as records:
        _guard(records)
        return records.execute(sql, values).fetchall()
    return []


@contextlib.contextmanager
def _writing() -> Iterator[sqlite3.Connection]:
    """The records, made if need be; what the block did is there whole or not at all."""
    import sqlite3

    path = records_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path, timeout=_WAIT)) as records, records:
        records.execute(_TABLE)
        _guard(records)
        yield records


def _guard(records: sqlite3.Connection) -> None:
    """Raises sqlite3.DatabaseError for a file that is not as we make it: nothing in it is run."""
    import sqlite3

    from localllm.store.sqlite_file import foreign, guard

    guard(records)
    if other := foreign(records, [_TABLE]):
        raise sqlite3.DatabaseError(f"is not as localllm makes it ({other}); move it away")
