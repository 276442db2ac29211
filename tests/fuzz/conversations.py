"""The database of conversations: what was written comes back, or one line says what is wrong with the file.

An input is a file of SQLite: bytes of pages are changed, or statements are run on it as somebody else may have done.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator

from localllm.chat.database import KEPT, REASONING, UNDER_WAY, Database, Kept
from localllm.chat.keeping import is_alive, tidied
from tests.fuzz.mutators import NUMBERS, REALS, STRINGS, of_bytes
from tests.fuzz.target import Finding, Target, written

_TABLES = {
    "conversations": ("id", "name", "model", "system", "created", "changed", "holder"),
    "messages": ("id", "conversation", "role", "content", "reasoning", "state"),
    "pieces": ("id", "message", "kind", "text"),
}
_ENDLESS = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT"
_SCHEMAS = (
    "DROP TABLE pieces", "DROP INDEX messages_of", "PRAGMA user_version = 99", "PRAGMA user_version = -1",
    "PRAGMA user_version = 0", "CREATE TABLE other (x)", "CREATE VIEW v AS SELECT 1",
    f"DROP TABLE pieces; CREATE VIEW pieces AS {_ENDLESS} i id, 1 message, 0 kind, 'x' text FROM c",
    f"CREATE TRIGGER t AFTER UPDATE ON conversations BEGIN INSERT INTO pieces {_ENDLESS} i, 1, 0, 'x' FROM c; END",
    "CREATE TRIGGER t AFTER INSERT ON messages BEGIN SELECT RAISE(ABORT, '\x1b[2J\n'); END",
    "CREATE INDEX x ON messages (hex(zeroblob(1000000)))", "ALTER TABLE messages ADD COLUMN x",
    "CREATE VIRTUAL TABLE f USING fts5(x)", "ALTER TABLE messages RENAME COLUMN role TO roll",
)  # fmt: skip


def seeds() -> Iterator[bytes]:
    path = written(b"", "new.db")
    path.unlink()
    database = Database(path)
    for name in ("plan", None):
        conversation = database.begin("m.gguf", "be brief", "1:2.00")
        database.set(conversation, name=name)
        database.add(conversation, "user", "hello")
        database.add(conversation, "assistant", "hi", "well", KEPT)
        database.piece(database.add(conversation, "assistant", "", state=UNDER_WAY), [(REASONING, "he"), (0, "re")])
    database.close()
    yield path.read_bytes()


def mutate(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return of_bytes(data, rng)
    path = written(data, "mutated.db")
    db = sqlite3.connect(path, isolation_level=None)
    db.set_progress_handler(lambda: 1, 100_000)  # what was put in may run without end
    try:
        db.execute("PRAGMA journal_mode = DELETE")
        for _ in range(rng.choice((1, 1, 2, 4))):
            _change(db, rng)
    except (sqlite3.Error, UnicodeDecodeError):
        return of_bytes(data, rng)
    finally:
        db.close()
    return path.read_bytes()


def _change(db: sqlite3.Connection, rng: random.Random) -> None:
    if rng.random() < 0.2:
        db.executescript(rng.choice(_SCHEMAS))
        return
    table = rng.choice([*_TABLES])
    value: object = rng.choice(
        (None, rng.choice(NUMBERS), rng.choice(REALS), rng.choice(STRINGS), b"\xff\0", "x" * 9999)
    )
    if isinstance(value, int) and value >= 1 << 63:
        value = float(value)
    if rng.random() < 0.3:
        db.execute(f"UPDATE {table} SET {rng.choice(_TABLES[table])} = CAST(x'ff41' AS TEXT)")
    else:
        db.execute(f"UPDATE {table} SET {rng.choice(_TABLES[table])} = ?", (value,))


def run(data: bytes) -> None:
    path = written(data, "some.db")
    for end in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    database = Database(path)
    try:
        for found in database.conversations():
            if not all(isinstance(text, str) for text in (found.name, found.model, found.system, found.title)):
                raise Finding(f"{found}")
            is_alive(found.holder)
            messages = database.messages(found.id)
            if not all(isinstance(m, Kept) and isinstance(m.content + m.reasoning, str) for m in messages):
                raise Finding(f"{messages}")
            tidied(messages)
            database.hold(found.id, found.holder, "me")
            database.end(database.add(found.id, "user", "more"), "more", "", KEPT)
            database.release(found.id)
    finally:
        database.close()


TARGET = Target(seeds, run, mutate)
