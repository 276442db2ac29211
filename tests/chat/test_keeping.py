"""What a chat keeps, as it goes on, is stopped, changed, killed, and gone on with."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import time

import pytest

from localllm.chat import keeping as module
from localllm.chat.database import DROPPED, KEPT, STOPPED, UNDER_WAY, Database, Kept
from localllm.chat.keeping import Keeping, is_alive, this_process, tidied
from localllm.chat.places import database_path, history_path
from localllm.generate.dialogue.deltas import Content
from tests.generate.fake import FakeModel

GONE = "999999999:1.00"
"""A process that there is not."""


def kept(n=0):
    """Messages of the n-th newest conversation: role, content, state."""
    db = Database(database_path())
    try:
        found = db.conversations()
        return [(m.role, m.content, m.state) for m in db.messages(found[n].id)] if found else []
    finally:
        db.close()


def texts(n=0):
    return [content for _, content, _ in kept(n)]


def hold(holder, n=0):
    """Make the n-th newest conversation another process's."""
    with sqlite3.connect(database_path()) as raw:
        order = "ORDER BY changed DESC, id DESC LIMIT 1 OFFSET ?"
        raw.execute(
            f"UPDATE conversations SET holder = ? WHERE id = (SELECT id FROM conversations {order})", (holder, n)
        )


def test_turns(say):
    say("hi", "yo", keeps=True)
    assert kept() == [
        ("user", "hi", KEPT), ("assistant", "hello", KEPT), ("user", "yo", KEPT), ("assistant", "hello", KEPT),
    ]  # fmt: skip


def test_nothing_said_nothing_kept(say, home):
    say("/help", keeps=True)
    assert kept() == []


@pytest.mark.parametrize(
    ("lines", "want"),
    [
        (["hi", "/undo"], []),
        (["hi", "yo", "/undo"], ["hi", "hello"]),
        (["hi", "/regen"], ["hi", "hello"]),
        (["hi", "/edit", "yo"], ["yo", "hello"]),
        (["hi", "/undo", "yo"], ["yo", "hello"]),
        (["hi", "/clear", "yo"], ["yo", "hello"]),
    ],
)
def test_changes(say, lines, want):
    said = say(*lines, keeps=True)
    assert texts() == want
    assert [m["content"] for m in said.chat.messages] == want


def test_what_was_dropped_is_kept_but_not_loaded(say):
    say("hi", "yo", "/drop", keeps=True)
    assert [state for _, _, state in kept()] == [DROPPED, DROPPED, KEPT, KEPT]
    assert [m["content"] for m in say("/load", keeps=True).chat.messages] == ["yo", "hello"]


def test_a_conversation_is_gone_on_with(say):
    say("/system be", "hi", keeps=True)
    said = say("/load", "yo", keeps=True)
    assert [m["content"] for m in said.chat.messages] == ["be", "hi", "hello", "yo", "hello"]
    assert texts() == ["hi", "hello", "yo", "hello"]
    assert "conversation 1: 2 messages" in said.err


def test_by_name_and_number(say):
    say("hi", "/save first", "/clear", "yo", "/save second", keeps=True)
    assert [m["content"] for m in say("/load FIRST", keeps=True).chat.messages] == ["hi", "hello"]
    assert [m["content"] for m in say("/load 2", keeps=True).chat.messages] == ["yo", "hello"]
    assert "there is no conversation 'third': /list shows them" in say("/load third", keeps=True).err


def test_the_last_one_is_not_that_of_this_chat(say):
    say("hi", keeps=True)
    said = say("yo", "/load", keeps=True)
    assert [m["content"] for m in said.chat.messages] == ["hi", "hello"]


class TestInterrupted:
    def test_it_is_offered_and_comes_back(self, say):
        say("hi", keeps=True)
        hold(GONE)
        notes: list[str] = []
        found = Keeping.open(True, notes.append).interrupted()
        assert found is not None
        assert found.n_messages == 2
        assert "(interrupted)" in say("/list", keeps=True).err
        assert [m["content"] for m in say("/load", keeps=True).chat.messages] == ["hi", "hello"]
        assert Keeping.open(True, notes.append).interrupted() is None
        assert not notes

    def test_an_answer_under_way_is_what_was_shown(self, say):
        keeping = Keeping.open(True, print)
        keeping.ask("hi", "m.gguf", "")
        list(keeping.written([Content("he"), Content("l")]))
        assert kept() == [("user", "hi", KEPT), ("assistant", "hel", UNDER_WAY)]
        hold(GONE)
        said = say("/load", "yo", keeps=True)
        assert [m["content"] for m in said.chat.messages] == ["hi", "hel", "yo", "hello"]
        assert kept()[1] == ("assistant", "hel", STOPPED)

    def test_a_message_without_an_answer_is_back_in_the_line(self, say):
        keeping = Keeping.open(True, print)
        keeping.ask("hi", "m.gguf", "")
        hold(GONE)
        for _ in range(2):  # as long as it is not asked again, it comes back
            assert say("/load", keeps=True).reader.defaults == ["", "hi"]
        said = say("/load", "hi", keeps=True)
        assert said.reader.defaults == ["", "hi", ""]
        assert texts() == ["hi", "hello"]
        assert "no answer yet" in said.err

    def test_an_answer_that_was_made_again_is_there_until_the_other_has_begun(self, say):
        for pieces, want in (([], "hello"), ([Content("oh")], "oh")):
            say("hi", keeps=True)
            keeping = Keeping.open(True, print)
            keeping.take(keeping.find(""))
            keeping.ask_again()
            list(keeping.written(pieces))
            hold(GONE)
            assert [m["content"] for m in say("/load", keeps=True).chat.messages] == ["hi", want]


def test_one_that_another_chat_has_open_is_copied(say):
    say("hi", "/save mine", keeps=True)
    hold(f"{os.getppid()}:{module._start(os.getppid())}")
    said = say("/list", "/load mine", "yo", keeps=True)
    assert "(in another chat)" in said.err
    assert texts(0) == ["hi", "hello", "yo", "hello"]
    assert texts(1) == ["hi", "hello"]


def test_one_that_another_chat_takes_at_the_same_moment_is_copied(say, monkeypatch):
    say("hi", "/save mine", keeps=True)
    hold(GONE)
    before = module.is_alive

    def is_alive(holder):
        hold(f"{os.getpid()}:0.00")  # the other chat is faster
        return before(holder)

    with monkeypatch.context() as patch:
        patch.setattr(module, "is_alive", is_alive)
        said = say("/load mine", "yo", keeps=True)
    assert said.chat.messages[0]["content"] == "hi"
    assert texts(0) == ["hi", "hello", "yo", "hello"]
    assert texts(1) == ["hi", "hello"]


def test_processes():
    assert is_alive(this_process())
    assert not is_alive(GONE)
    assert not is_alive(f"{os.getpid()}:1.00")
    assert not is_alive("nonsense")


def test_a_process_is_the_same_when_the_clock_is_set(monkeypatch):
    """psutil adds the time of the boot, which moves with the clock."""
    me, other = this_process(), os.getppid()
    its = f"{other}:{module._start(other)}"
    if sys.platform == "linux":
        psutil_linux = pytest.importorskip("psutil._pslinux")
        monkeypatch.setattr(psutil_linux, "boot_time", lambda: 1e9)
    monkeypatch.setattr(time, "time", lambda: 1e9)
    assert this_process() == me
    assert is_alive(its)


@pytest.mark.skipif(sys.platform != "linux", reason="the folder /proc is Linux's")
def test_where_the_system_does_not_tell_others_may_be_alive(monkeypatch):
    monkeypatch.setattr(module, "text_of", lambda path: "")
    assert is_alive(this_process())
    assert is_alive(GONE)


@pytest.mark.parametrize(
    ("states", "stay", "unanswered"),
    [
        ([("user", "a"), ("assistant", "b")], ["a", "b"], ""),
        ([("user", "a"), ("assistant", "")], [], "a"),
        ([("user", "a"), ("assistant", "b"), ("user", "c")], ["a", "b"], "c"),
        ([("user", "a"), ("assistant", "b"), ("assistant", "c")], ["a", "c"], ""),
        ([("user", "a"), ("assistant", "b"), ("assistant", "")], ["a", "b"], ""),
        ([], [], ""),
    ],
)
def test_tidied(states, stay, unanswered):
    messages = [Kept(i, role, content, "", KEPT) for i, (role, content) in enumerate(states)]
    left, gone, text = tidied(messages)
    assert [m.content for m in left] == stay
    assert text == unanswered
    assert sorted(m.id for m in left + gone) == list(range(len(states)))


def test_a_message_that_is_stopped_before_its_answer_stays_until_another_is_asked(say, monkeypatch):
    def press(context):
        if next(presses, 0):
            signal.raise_signal(signal.SIGINT)

    for lines, want in ((["hi"], ["hi"]), (["hi", "yo"], ["yo", "hello"])):
        presses = iter([1])
        model = FakeModel()
        make = model.context

        def context(make=make, **options):
            made = make(**options)
            made.before_pass = press
            return made

        monkeypatch.setattr(model, "context", context)
        say(*lines, model=model, keeps=True)
        assert texts() == want


class TestTrouble:
    def test_a_file_that_is_no_database(self, say, home):
        home.mkdir()
        (home / "conversations.db").write_bytes(b"x" * 5000)
        said = say("hi", "/list", "/save x", keeps=True)
        assert said.out == "hello\n"
        assert said.err.count("is no database: it is damaged, or of another program; move it away") == 3
        assert "this chat is not kept" in said.err

    def test_trouble_on_the_way_is_told_once(self, say, monkeypatch):
        say("hi", keeps=True)
        monkeypatch.setattr(module, "Database", ReadOnly)
        said = say("yo", "hi", "/undo", "/list", keeps=True)
        assert said.out == "hello\nhello\n"
        assert said.err.count("from here on this chat is not kept") == 1
        assert "there are no conversations here" in said.err
        assert texts() == ["hi", "hello"]

    def test_not_wanted(self, say, home):
        said = say("hi", "/list", "/save x")
        assert said.err.count("this chat is not kept") == 2
        assert not home.exists()


class ReadOnly(Database):
    def __init__(self, path):
        super().__init__(path)
        self._db.execute("PRAGMA query_only = ON")


class TestDearCommits:
    """Where a commit takes its time, pieces are written and shown several at once."""

    @pytest.mark.parametrize(("dear", "want"), [(1e9, ["a", "b", "c"]), (-1.0, ["a", "bc"])])
    def test_batches(self, home, monkeypatch, dear, want):
        monkeypatch.setattr(module, "_DEAR_SECONDS", dear)
        monkeypatch.setattr(module, "_BATCH_SECONDS", 1e9)
        keeping = Keeping.open(True, print)
        keeping.ask("hi", "m", "")
        shown = []

        def pieces():
            for letter in "abc":
                yield Content(letter)
                shown.append("|")

        batches = []
        for part in keeping.written(pieces()):
            shown.append(part.text)
            assert kept()[1][1].startswith("".join(filter(str.isalpha, shown)))
            batches = "".join(shown).split("|")
        assert "".join(batches) == "abc"
        assert [batch for batch in batches if batch] == want
        keeping.close()


class TestPlaces:
    def test_of_the_history(self, home):
        path = history_path(print)
        assert path == home / "history"
        assert path is not None
        assert path.stat().st_mode & 0o077 == 0

    def test_a_folder_that_cannot_be_made(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "file"))
        notes: list[str] = []
        assert history_path(notes.append) is None
        assert "not kept" in notes[0]

    def test_a_folder_of_that_name(self, home):
        (home / "history").mkdir(parents=True)
        notes: list[str] = []
        assert history_path(notes.append) is None
        assert notes == [f"{home}/history: messages are not kept: Is a directory"]


def test_thoughts_are_kept(say, home):
    model = FakeModel("<think>hm</think>yes")
    model.template.source = "<think> </think>"
    said = say("hi", keeps=True, model=model)
    assert said.out == "yes<hm>\n"
    db = Database(database_path())
    assert [m.reasoning for m in db.messages(1)] == ["", "hm"]
    db.close()
    assert say("/load", keeps=True).chat.messages[1]["reasoning_content"] == "hm"
