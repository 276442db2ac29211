"""Conversations on disk: SQLite, so that a process that is killed at any moment has kept what it showed.

A message is committed and synced before it is answered. A piece of an answer is a row of its own, committed before it
is shown: what is committed outlives the process (sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from localllm.errors import LocalllmError
from localllm.store import sqlite_file

KEPT, UNDER_WAY, STOPPED, REPLACED, DROPPED = range(5)
"""States of a message: complete; being written; stopped by the user; taken back, or answered anew; out of the context,
but part of the conversation."""
CONTENT, REASONING = range(2)
"""Kinds of pieces."""
_MIGRATIONS = (
    """
    CREATE TABLE conversations (
        id INTEGER PRIMARY KEY, name TEXT UNIQUE COLLATE NOCASE, model TEXT NOT NULL, system TEXT NOT NULL,
        created REAL NOT NULL, changed REAL NOT NULL, holder TEXT);
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY, conversation INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
        role TEXT NOT NULL, content TEXT NOT NULL, reasoning TEXT NOT NULL, state INTEGER NOT NULL);
    CREATE INDEX messages_of ON messages (conversation, id);
    CREATE TABLE pieces (
        id INTEGER PRIMARY KEY, message INTEGER NOT NULL REFERENCES messages ON DELETE CASCADE,
        kind INTEGER NOT NULL, text TEXT NOT NULL);
    CREATE INDEX pieces_of ON pieces (message, id);
    """,
)
"""What makes of schema version i the version i + 1 (PRAGMA user_version)."""
_MOST_TEXT = 1 << 28
"""Characters of a conversation, and of the list of all: more than any context holds."""
_BUSY_SECONDS = 5.0
"""How long another process is waited for."""


Row = tuple[Any, ...]
Kind = type | tuple[type, ...]


class DatabaseError(LocalllmError):
    """Conversations cannot be kept, or read; names the file."""


@dataclass(frozen=True)
class Conversation:
    """A row of the list. holder: the process whose chat goes on with it, or did when it was killed; "": none."""

    id: int
    name: str
    """As it was saved; "": it was not."""
    model: str
    system: str
    changed: float
    """Seconds since the epoch."""
    holder: str
    n_messages: int
    title: str
    """The beginning of the first message."""


@dataclass(frozen=True)
class Kept:
    """A message. state: KEPT, UNDER_WAY (its process was killed; the text is what was shown), STOPPED or DROPPED."""

    id: int
    role: str
    content: str
    reasoning: str
    state: int


class Database:
    """The conversations of a user. Every method raises DatabaseError where the file cannot be read or written."""

    def __init__(self, path: Path) -> None:
        """Opens the file, makes it where there is none, and brings it to this version's schema."""
        self.path = path
        with self._explained():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite would make it readable for all
            # Autocommit: transactions are written out, so that it is seen where they end.
            self._db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                sqlite_file.guard(self._db)
                self._use_wal()
                self._db.execute("PRAGMA foreign_keys = ON")
                self._migrate()
            except BaseException:
                self._db.close()  # with its locks
                raise

    def close(self) -> None:
        with self._explained():
            self._db.close()

    def _use_wal(self) -> None:
        """Of processes that make the file at once one may find it locked: SQLite does not wait for this."""
        end = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def _migrate(self) -> None:
        with self._transaction():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            known = len(_MIGRATIONS)
            if version > known:
                raise DatabaseError(f"{self.path}: is of a newer localllm (schema {version}, this one knows {known})")
            if other := sqlite_file.foreign(self._db, _statements(_MIGRATIONS[: max(0, version)])):
                raise DatabaseError(f"{self.path}: is not as localllm makes it ({other}); move it away")
            for statement in _statements(_MIGRATIONS[max(0, version) :]):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")

    # --- a conversation under way

    def begin(self, model: str, system: str, holder: str) -> int:
        """A new conversation; its id."""
        now = time.time()
        with self._transaction():
            row = (model, system, now, now, holder)
            return self._insert("conversations (model, system, created, changed, holder)", row)

    def hold(self, conversation: int, held: str, holder: str) -> bool:
        """Make a conversation this process's; False where its holder is no longer the one that was read."""
        with self._transaction():
            row = (holder, conversation, held)
            taken = self._db.execute(
                "UPDATE conversations SET holder = ? WHERE id = ? AND coalesce(holder, '') = ?", row
            )
            return taken.rowcount == 1

    def release(self, conversation: int) -> None:
        """The chat has ended as it should."""
        with self._transaction():
            self._db.execute("UPDATE conversations SET holder = NULL WHERE id = ?", (conversation,))

    def add(self, conversation: int, role: str, content: str, reasoning: str = "", state: int = KEPT) -> int:
        """A message at the end; its id. It is on the disk when this returns."""
        with self._transaction():
            self._touch(conversation)
            row = (conversation, role, content, reasoning, state)
            return self._insert("messages (conversation, role, content, reasoning, state)", row)

    def piece(self, message: int, pieces: Sequence[tuple[int, str]]) -> None:
        """More of a message that is under way: (CONTENT or REASONING, text) each."""
        with self._transaction(synced=False):
            self._db.executemany(
                "INSERT INTO pieces (message, kind, text) VALUES (?, ?, ?)", [(message, *piece) for piece in pieces]
            )

    def end(self, message: int, content: str, reasoning: str, state: int) -> None:
        """A message under way is complete, and its pieces are one text."""
        with self._transaction():
            row = (content, reasoning, state, message)
            self._db.execute("UPDATE messages SET content = ?, reasoning = ?, state = ? WHERE id = ?", row)
            self._db.execute("DELETE FROM pieces WHERE message = ?", (message,))

    def mark(self, messages: Sequence[int], state: int) -> None:
        """Give messages another state."""
        with self._transaction():
            self._db.executemany("UPDATE messages SET state = ? WHERE id = ?", [(state, m) for m in messages])

    def set(self, conversation: int, **fields: str | None) -> None:
        """Set columns of a conversation: name, model, system. DatabaseError for a name that another one has."""
        with self._transaction():
            for field, value in fields.items():
                self._db.execute(f"UPDATE conversations SET {field} = ? WHERE id = ?", (value, conversation))

    def delete(self, conversation: int) -> None:
        """A conversation and all of its messages go, for good."""
        with self._transaction():
            self._db.execute("DELETE FROM conversations WHERE id = ?", (conversation,))

    # --- what there is

    def conversations(self, limit: int = -1) -> list[Conversation]:
        """Those that have messages, the newest first: by their messages, as the clock may have been set back."""
        with self._explained():
            rows = self._db.execute(
                """SELECT c.id, coalesce(c.name, ''), c.model, c.system, c.changed, coalesce(c.holder, ''), count(m.id),
                (SELECT substr(content, 1, 200) FROM messages
                 WHERE conversation = c.id AND state != :gone ORDER BY id LIMIT 1)
                FROM conversations c JOIN messages m ON m.conversation = c.id AND m.state != :gone
                GROUP BY c.id
                ORDER BY (SELECT max(id) FROM messages WHERE conversation = c.id) DESC LIMIT :limit""",
                {"gone": REPLACED, "limit": limit},
            )
            return [Conversation(*row) for row in self._checked(rows, _OF_CONVERSATION, _is_conversation)]

    def messages(self, conversation: int) -> list[Kept]:
        """In their order; those that were replaced are left out."""
        with self._explained():
            rows = self._db.execute(
                """SELECT id, role, content, reasoning, state FROM messages
                WHERE conversation = ? AND state != ? ORDER BY id""",
                (conversation, REPLACED),
            )
            kept = [Kept(*row) for row in self._checked(rows, _OF_MESSAGE, _is_message)]
            return [self._under_way(message) if message.state == UNDER_WAY else message for message in kept]

    def _under_way(self, message: Kept) -> Kept:
        texts = {CONTENT: [message.content], REASONING: [message.reasoning]}
        rows = self._db.execute("SELECT kind, text FROM pieces WHERE message = ? ORDER BY id", (message.id,))
        for kind, text in self._checked(rows, (int, str), lambda row: row[0] in texts):
            texts[kind].append(text)
        return replace(message, content="".join(texts[CONTENT]), reasoning="".join(texts[REASONING]))

    def _checked(self, rows: Iterable[Row], kinds: Sequence[Kind], is_one: Callable[[Row], bool]) -> Iterator[Row]:
        """Rows whose values are of the types that were written, and that make sense; texts of a bounded size."""
        size = 0
        for row in rows:
            if not sqlite_file.are_of(row, kinds) or not is_one(row):
                raise DatabaseError(f"{self.path}: has a row that localllm did not write; move it away")
            size += sum(len(value) for value in row if isinstance(value, str))
            if size > _MOST_TEXT:
                raise DatabaseError(f"{self.path}: holds more than {_MOST_TEXT >> 20} MB of text at one place")
            yield row

    # --- transactions

    def _insert(self, columns: str, row: Sequence[object]) -> int:
        marks = ", ".join("?" * len(row))
        made = self._db.execute(f"INSERT INTO {columns} VALUES ({marks})", row).lastrowid
        assert made is not None
        return made

    def _touch(self, conversation: int) -> None:
        self._db.execute("UPDATE conversations SET changed = ? WHERE id = ?", (time.time(), conversation))

    @contextmanager
    def _transaction(self, synced: bool = True) -> Iterator[None]:
        """All of it or nothing; on the disk at its end where it is synced."""
        with self._explained():
            self._db.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk ends it by itself (sqlite.org/lang_transaction.html)
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            if db := self.__dict__.get("_db"):  # not while it is opened
                sqlite_file.renew(db)
            yield
        except OSError as error:
            raise DatabaseError(f"{self.path}: {error.strerror}") from None
        except UnicodeDecodeError:  # SQLite's message quotes names of the file
            raise DatabaseError(f"{self.path}: {_REASONS['SQLITE_CORRUPT']}") from None
        except sqlite3.Error as error:
            reason = _REASONS.get(getattr(error, "sqlite_errorname", "")) or sqlite_file.told(error)
            raise DatabaseError(f"{self.path}: {reason}") from None


def _statements(steps: Iterable[str]) -> list[str]:
    return [statement for step in steps for statement in step.split(";")]


_OF_CONVERSATION: tuple[Kind, ...] = (int, str, str, str, (int, float), str, int, str)
_OF_MESSAGE: tuple[Kind, ...] = (int, str, str, str, int)


def _is_conversation(row: Row) -> bool:
    return sqlite_file.is_time(row[4])


def _is_message(row: Row) -> bool:
    return row[1] in ("user", "assistant") and row[4] in (KEPT, UNDER_WAY, STOPPED, REPLACED, DROPPED)


_REASONS = {
    "SQLITE_NOTADB": "is no database: it is damaged, or of another program; move it away",
    "SQLITE_CORRUPT": "is damaged; move it away, or try `sqlite3 FILE .recover`",
    "SQLITE_READONLY": "may not be written to",
    "SQLITE_CANTOPEN": "cannot be opened",
    "SQLITE_BUSY": "another process has been writing to it for too long",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_CONSTRAINT_UNIQUE": "another conversation has this name",
}
"""What SQLite's own words leave open (sqlite.org/rescode.html)."""
