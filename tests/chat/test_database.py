"""Conversations in SQLite: what is written, what is read back, what goes wrong."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from localllm.chat import database as module
from localllm.chat.database import (
    CONTENT,
    DROPPED,
    KEPT,
    REASONING,
    REPLACED,
    STOPPED,
    UNDER_WAY,
    Database,
    DatabaseError,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "conversations.db"


@pytest.fixture
def db(path):
    made = Database(path)
    yield made
    made.close()


def said(db, conversation):
    return [(m.role, m.content, m.reasoning, m.state) for m in db.messages(conversation)]


def test_a_conversation(db):
    one = db.begin("m.gguf", "be", "1:2")
    db.add(one, "user", "hi")
    db.add(one, "assistant", "hello", "well")
    assert said(db, one) == [("user", "hi", "", KEPT), ("assistant", "hello", "well", KEPT)]
    (row,) = db.conversations()
    assert (row.id, row.name, row.model, row.system) == (one, "", "m.gguf", "be")
    assert (row.holder, row.n_messages, row.title) == ("1:2", 2, "hi")


def test_a_message_under_way_is_its_pieces_until_it_ends(db):
    one = db.begin("m", "", "")
    message = db.add(one, "assistant", "", state=UNDER_WAY)
    db.piece(message, [(REASONING, "he"), (REASONING, "re")])
    db.piece(message, [(CONTENT, "is")])
    db.piece(message, [(CONTENT, " it")])
    assert said(db, one) == [("assistant", "is it", "here", UNDER_WAY)]
    db.end(message, "is it", "here", STOPPED)
    assert said(db, one) == [("assistant", "is it", "here", STOPPED)]
    assert db._db.execute("SELECT count(*) FROM pieces").fetchone() == (0,)


def test_states(db):
    one = db.begin("m", "", "")
    ids = [db.add(one, "user", text) for text in "abc"]
    db.mark(ids[:1], DROPPED)
    db.mark(ids[1:2], REPLACED)
    assert [(m.content, m.state) for m in db.messages(one)] == [("a", DROPPED), ("c", KEPT)]


def test_names_are_their_own_whatever_their_case(db):
    one, two = (db.begin("m", "", "") for _ in range(2))
    db.set(one, name="Plan")
    with pytest.raises(DatabaseError, match="another conversation has this name"):
        db.set(two, name="plan")
    db.set(two, name=None)


def test_who_holds_a_conversation(db):
    one = db.begin("m", "", "a")
    assert not db.hold(one, "b", "c")
    assert db.hold(one, "a", "c")
    db.release(one)
    assert db.hold(one, "", "d")


def test_the_newest_first_and_empty_ones_not_at_all(db):
    one, two, _three = (db.begin("m", "", "") for _ in range(3))
    for conversation in (one, two, one):
        db.add(conversation, "user", "x")
    assert [c.id for c in db.conversations()] == [one, two]
    assert [c.id for c in db.conversations(1)] == [one]


def test_the_newest_is_the_one_that_was_said_last_whatever_the_clock_says(db, monkeypatch):
    one, two = (db.begin("m", "", "") for _ in range(2))
    db.add(one, "user", "x")
    monkeypatch.setattr(time, "time", lambda: 1e9)
    db.add(two, "user", "x")
    assert [c.id for c in db.conversations()] == [two, one]


def test_deleted_with_all_that_belongs_to_it(db):
    one = db.begin("m", "", "")
    db.piece(db.add(one, "assistant", "", state=UNDER_WAY), [(CONTENT, "x")])
    db.delete(one)
    for table in ("conversations", "messages", "pieces"):
        assert db._db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_only_the_user_can_read_the_files(db, path):
    db.begin("m", "", "")
    files = list(path.parent.iterdir())
    assert {file.name for file in files} >= {"conversations.db", "conversations.db-wal"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_transaction_that_fails_leaves_nothing(db):
    with pytest.raises(DatabaseError, match="FOREIGN KEY"):
        db.add(99, "user", "x")
    one = db.begin("m", "", "")
    db.add(one, "user", "y")
    assert [m.content for m in db.messages(one)] == ["y"]


class TestSchema:
    def test_a_newer_one_is_refused(self, path):
        Database(path).close()
        with sqlite3.connect(path) as raw:
            raw.execute("PRAGMA user_version = 99")
        with pytest.raises(DatabaseError, match=r"conversations.db: is of a newer localllm \(schema 99"):
            Database(path)

    def test_an_older_one_is_brought_up(self, path, monkeypatch):
        older = Database(path)
        one = older.begin("m", "", "")
        older.add(one, "user", "kept")
        older.close()
        step = "ALTER TABLE conversations ADD COLUMN note TEXT; UPDATE conversations SET note = 'new'"
        monkeypatch.setattr(module, "_MIGRATIONS", (*module._MIGRATIONS, step))
        for _ in range(2):
            newer = Database(path)
            assert newer._db.execute("SELECT note FROM conversations").fetchall() == [("new",)]
            assert [m.content for m in newer.messages(one)] == ["kept"]
            newer.close()

    def test_a_step_that_fails_changes_nothing(self, path, monkeypatch):
        Database(path).close()
        monkeypatch.setattr(module, "_MIGRATIONS", (*module._MIGRATIONS, "CREATE TABLE more (x); SELECT nonsense"))
        with pytest.raises(DatabaseError, match="nonsense"):
            Database(path)
        with sqlite3.connect(path) as raw:
            assert raw.execute("PRAGMA user_version").fetchone() == (1,)
            assert not raw.execute("SELECT * FROM sqlite_master WHERE name = 'more'").fetchall()


class TestBrokenFiles:
    def test_no_database(self, path):
        path.parent.mkdir()
        path.write_bytes(b"something else" * 1000)
        with pytest.raises(DatabaseError, match="is no database"):
            Database(path)
        assert path.read_bytes() == b"something else" * 1000

    def test_damaged(self, path):
        db = Database(path)
        one = db.begin("m", "", "")
        for _ in range(50):
            db.add(one, "user", "x" * 500)
        db.close()
        content = bytearray(path.read_bytes())
        content[4096:] = b"\xff" * (len(content) - 4096)
        path.write_bytes(content)
        db = Database(path)
        with pytest.raises(DatabaseError, match="is damaged"):
            db.conversations()
        db.close()

    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(DatabaseError, match=r"file/x.db: Not a directory|File exists"):
            Database(tmp_path / "file" / "x.db")

    def test_read_only(self, db):
        db._db.execute("PRAGMA query_only = ON")
        with pytest.raises(DatabaseError, match="may not be written to"):
            db.begin("m", "", "")
        assert db.conversations() == []

    def test_a_full_disk_is_told_as_such(self, db):
        """SQLite ends the transaction by itself then."""
        one = db.begin("m", "", "")
        (n_pages,) = db._db.execute("PRAGMA page_count").fetchone()
        db._db.execute(f"PRAGMA max_page_count = {n_pages}")
        with pytest.raises(DatabaseError, match="the disk is full"):
            db.add(one, "user", "x" * 100_000)
        assert not db._db.in_transaction
        db._db.execute("PRAGMA max_page_count = 10000")
        db.add(one, "user", "short")
        assert [m.content for m in db.messages(one)] == ["short"]

    def test_what_cannot_be_committed_is_undone(self, db):
        """The next transaction begins as ever."""
        one = db.begin("m", "", "")
        db._db.execute("CREATE TABLE odd (message INTEGER REFERENCES messages DEFERRABLE INITIALLY DEFERRED)")
        db._db.execute("CREATE TRIGGER t AFTER INSERT ON pieces BEGIN INSERT INTO odd VALUES (12345); END")
        with pytest.raises(DatabaseError, match="FOREIGN KEY"):
            db.piece(db.add(one, "assistant", "gone", state=REPLACED), [(CONTENT, "a")])
        db.add(one, "user", "hi")
        assert [m.content for m in db.messages(one)] == ["hi"]

    def test_locked_for_too_long(self, db, path):
        db._db.execute("PRAGMA busy_timeout = 10")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseError, match="another process has been writing"):
            db.begin("m", "", "")
        other.close()
        db.begin("m", "", "")


WRITER = """
import sys
from pathlib import Path
from localllm.chat.database import CONTENT, KEPT, UNDER_WAY, Database
db = Database(Path(sys.argv[1]))
one = db.begin("m", "", sys.argv[2])
for i in range(12):
    db.add(one, "user", f"{sys.argv[2]} {i}")
    message = db.add(one, "assistant", "", state=UNDER_WAY)
    for letter in "answer":
        db.piece(message, [(CONTENT, letter)])
    db.end(message, "answer", "", KEPT)
"""


def test_processes_at_once(path):
    """They make the file together, and write turn by turn."""
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, str(n)], cwd=ROOT, stderr=subprocess.PIPE)
        for n in range(3)
    ]
    assert [writer.communicate(timeout=120)[1] for writer in writers] == [b""] * 3
    db = Database(path)
    found = db.conversations()
    assert sorted(c.holder for c in found) == ["0", "1", "2"]
    for c in found:
        want = [text for i in range(12) for text in (f"{c.holder} {i}", "answer")]
        assert [m.content for m in db.messages(c.id)] == want
    db.close()
