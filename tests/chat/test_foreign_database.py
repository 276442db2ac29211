"""A database of conversations that somebody else has changed: one line says so, and nothing in it is run."""

from __future__ import annotations

import sqlite3
import time

import pytest

from localllm.chat.database import Database, DatabaseError
from localllm.chat.keeping import is_alive
from localllm.errors import StoreError
from localllm.store import records, sqlite_file

ENDLESS = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT"


@pytest.fixture
def path(tmp_path):
    made = Database(tmp_path / "c.db")
    conversation = made.begin("m", "", "1:2")
    made.add(conversation, "user", "hi")
    made.close()
    return tmp_path / "c.db"


def change(path, *statements):
    with sqlite3.connect(path) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (("CREATE VIEW v AS SELECT 1",), "view 'v'"),
        (("DROP TABLE pieces", f"CREATE VIEW pieces AS {ENDLESS} i id, 1 message, 0 kind, '' text FROM c"), "'pieces'"),
        (("CREATE TRIGGER t AFTER INSERT ON messages BEGIN SELECT RAISE(ABORT, 'x'); END",), "trigger 't'"),
        (("CREATE INDEX i ON messages (hex(content))",), "index 'i'"),
        (("CREATE TABLE other (x)",), "table 'other'"),
        (("DROP TABLE pieces",), "'pieces'"),
        (("ALTER TABLE messages ADD COLUMN x",), "table 'messages'"),
        (("PRAGMA user_version = 0",), "is not as localllm makes it"),
        (("PRAGMA user_version = -1",), "is not as localllm makes it"),
    ],
)
def test_another_schema(path, statements, told):
    change(path, *statements)
    with pytest.raises(DatabaseError, match=told) as caught:
        Database(path)
    assert str(caught.value).startswith(f"{path}: ")
    change(path, "SELECT 1")  # no lock is left


def test_what_a_recovered_database_has_more(path):
    """`sqlite3 FILE .recover` keeps rows that it cannot place in a table of its own."""
    change(path, "CREATE TABLE lost_and_found_0 (rootpgno INTEGER, pgno INTEGER, nfield INTEGER, id INTEGER, c0)")
    database = Database(path)
    assert [message.content for message in database.messages(1)] == ["hi"]
    database.close()


def read(database):
    for conversation in database.conversations():
        database.messages(conversation.id)


def test_names_that_are_no_text(path):
    """SQLite's message quotes them."""
    for file in path.parent.glob("c.db*"):
        file.write_bytes(file.read_bytes().replace(b"CREATE TABLE messages", b"CREATE TABEL mess\xffges"))
        file.write_bytes(file.read_bytes().replace(b"messagesmessages", b"mess\xffgesmess\xffges"))
    with pytest.raises(DatabaseError, match="is damaged"):
        Database(path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE messages SET role = 'robot'", "UPDATE messages SET content = x'ff'", "UPDATE messages SET state = 9",
        "UPDATE messages SET reasoning = 1.5, content = x'00'", "UPDATE conversations SET changed = 9e999",
        "UPDATE conversations SET changed = 'now'", "UPDATE conversations SET model = x'ff'",
        "UPDATE conversations SET holder = x'ff'", "UPDATE conversations SET name = x'00'",
        "UPDATE messages SET content = CAST(x'ff1b0a' AS TEXT)",
        "UPDATE messages SET state = 1; INSERT INTO pieces VALUES (1, 1, 2, 'x')",
        "UPDATE messages SET state = 1; INSERT INTO pieces VALUES (1, 1, -1, 'x')",
        "UPDATE messages SET state = 1; INSERT INTO pieces VALUES (1, 1, 0, x'ff')",
    ],
)  # fmt: skip
def test_rows_of_other_types(path, statement):
    change(path, *statement.split(";"))
    database = Database(path)
    with pytest.raises(DatabaseError) as caught:
        read(database)
    assert str(caught.value).isprintable()
    database.close()


def test_more_text_than_any_context_holds(path, monkeypatch):
    monkeypatch.setattr("localllm.chat.database._MOST_TEXT", 1000)
    database = Database(path)
    database.add(1, "user", "x" * 900)
    assert database.messages(1)
    database.add(1, "user", "x" * 200)
    with pytest.raises(DatabaseError, match="holds more than"):
        database.messages(1)
    with pytest.raises(DatabaseError, match="too big"):
        database.add(1, "user", "x" * (sqlite_file.MAX_TEXT + 1))
    database.close()


def test_a_query_without_end_is_stopped(monkeypatch):
    monkeypatch.setattr(sqlite_file, "MAX_SECONDS", 0.05)
    db = sqlite3.connect(":memory:")
    sqlite_file.guard(db)
    begun = time.thread_time()
    with pytest.raises(sqlite3.OperationalError) as caught:
        db.execute(f"{ENDLESS} count(*) FROM c").fetchall()
    assert time.thread_time() - begun < 5
    assert "takes too long to read" in sqlite_file.told(caught.value)
    db.close()


def test_holders_that_are_none():
    for holder in ("", ":", "9" * 5000 + ":1", "-1:2", "x:y", "1" * 11 + ":1"):
        assert not is_alive(holder)


def test_records_of_somebody_else(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path))
    records.pulled("/m.gguf", "m")
    records.used("/n.gguf")
    change(records.records_path(), "UPDATE files SET used = 'now', pulled = 9e999, name = x'ff'")
    assert records.known("/m.gguf") is None
    assert records.last_used("/n.gguf") is None
    assert set(records.all_files().values()) == {(False, None)}
    change(
        records.records_path(),
        f"CREATE TRIGGER t AFTER UPDATE ON files BEGIN INSERT INTO files (path) {ENDLESS} i FROM c; END",
    )
    assert records.all_files() == {}
    with pytest.raises(StoreError, match="is not as localllm makes it"):
        records.pulled("/m.gguf", "m")
    records.used("/n.gguf")  # is not written down, and does not stop anything
