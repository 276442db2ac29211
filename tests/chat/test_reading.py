"""The editor: keys, several lines, pastes, history, completion."""

from __future__ import annotations

import threading

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from localllm.chat.plain import Cleared
from localllm.chat.reading import Editor, Pastes

UP, CTRL_C, CTRL_D, CTRL_J, ALT_ENTER = "\x1b[A", "\x03", "\x04", "\n", "\x1b\r"


def pasted(text):
    return f"\x1b[200~{text}\x1b[201~"


class Typed:
    """typed(keys, default) -> what the editor makes of them. `notes`: what it told."""

    def __init__(self, keys, history):
        self.keys = keys
        self.notes: list[str] = []
        self.editor = Editor(history, suggest, self.notes.append)

    def __call__(self, text, default=""):
        threading.Thread(target=self.keys.send_text, args=(text,)).start()  # a pipe does not hold 100 KB
        return self.editor.line(">>> ", default)


@pytest.fixture
def typed(tmp_path):
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        yield Typed(keys, tmp_path / "history")


def suggest(text):
    return [("/system", len(text), "help")] if "/sys".startswith(text) and text else []


@pytest.mark.parametrize(
    ("keys", "want"),
    [
        ("hi\r", "hi"),
        (f"a{CTRL_J}b\r", "a\nb"),
        (f"a{ALT_ENTER}b\r", "a\nb"),
        ('"""a\rb"""\r', '"""a\nb"""'),
        ('say """\r', 'say """'),
        (f"{pasted('a' + chr(13) + 'b')}c\r", "a\nbc"),
    ],
)
def test_keys(typed, keys, want):
    assert typed(keys) == want


def test_leaving(typed):
    with pytest.raises(EOFError):
        typed(CTRL_D)
    with pytest.raises(Cleared):
        typed(f"x{CTRL_C}")
    with pytest.raises(KeyboardInterrupt) as stopped:
        typed(CTRL_C)
    assert not isinstance(stopped.value, Cleared)


def test_a_question(typed):
    typed.keys.send_text("y\r")
    assert typed.editor.answer("Sure? ") == "y"
    assert typed(f"{UP}x\r") == "x"  # it is no message of the history


def test_completion(typed):
    completer = typed.editor._session.completer
    (found,) = completer.get_completions(Document("/sy"), CompleteEvent())
    assert (found.text, found.start_position, found.display_meta_text) == ("/system", -3, "help")


class TestPastes:
    LONG = "\n".join(f"line {i}" for i in range(1240))

    def test_a_long_one_is_a_mark_that_stands_for_it(self, typed):
        assert typed(f"see {pasted(self.LONG)} and {pasted('y' * 5000)}\r") == f"see {self.LONG} and {'y' * 5000}"

    def test_a_hundred_kilobytes(self, typed):
        text = "".join(f"{i:07}\n" for i in range(12_800))
        assert typed(f"{pasted(text)}\r") == text

    def test_marks(self):
        pastes = Pastes()
        other = self.LONG.replace("line", "row")
        marks = [pastes.fold(text) for text in (self.LONG, other, self.LONG)]
        assert marks == ["[pasted 1,240 lines]", "[pasted 1,240 lines #2]", "[pasted 1,240 lines]"]
        assert pastes.fold("x" * 3000) == "[pasted 3,000 characters]"
        assert pastes.unfold(f"{marks[1]}{marks[0]}") == other + self.LONG

    def test_a_mark_within_a_paste_is_text(self):
        pastes = Pastes()
        text = f"[pasted 1,240 lines]\n{self.LONG}"
        first, second = pastes.fold(self.LONG), pastes.fold(text)
        assert pastes.unfold(second) == text
        assert pastes.unfold(first) == self.LONG
        assert pastes.unfold("[pasted 7 lines]") == "[pasted 7 lines]"

    def test_short_ones_are_as_they_are(self):
        assert Pastes().fold("a\nb") == "a\nb"

    def test_a_long_message_that_comes_back(self, typed):
        assert typed(" more\r", self.LONG) == f"{self.LONG} more"


def test_bytes_that_are_no_text(typed, tmp_path):
    typed.keys.send_bytes(b"\x1b[200~hi \xff\x1b[201~ there\r")
    assert typed.editor.line(">>> ") == "hi \ufffd there"
    assert "hi \ufffd there" in (tmp_path / "history").read_text(encoding="utf-8")


class TestHistory:
    def again(self, tmp_path, keys):
        with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
            pipe.send_text(keys)
            return Editor(tmp_path / "history", suggest, print).line(">>> ")

    def test_across_sessions(self, typed, tmp_path):
        typed("first\r")
        typed(f"two{CTRL_J}lines\r")
        assert self.again(tmp_path, f"{UP}\r") == "two\nlines"

    def test_with_what_marks_stand_for(self, typed, tmp_path):
        text = "\n".join("x" * 20)
        typed(f"{pasted(text)}\r")
        assert self.again(tmp_path, f"{UP}\r") == text

    def test_very_long_messages_are_left_out(self, typed, tmp_path):
        typed("short\r")
        typed(f"{pasted('x' * 30_000)}\r")
        assert self.again(tmp_path, f"{UP}\r") == "short"
        assert (tmp_path / "history").stat().st_size < 1000

    def test_a_disk_that_refuses_is_told_once(self, typed, tmp_path):
        (tmp_path / "history").mkdir()
        assert typed("hi\r") == "hi"
        assert typed("yo\r") == "yo"
        assert typed.notes == [f"{tmp_path}/history: messages are not kept in the history: Is a directory"]
