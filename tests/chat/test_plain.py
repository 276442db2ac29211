"""Messages line by line, where the cursor cannot be moved."""

from __future__ import annotations

import io

import pytest

from localllm.chat.plain import PlainReader


def test_a_draft_is_told_and_cannot_control_the_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("hi\n"))
    assert PlainReader(interactive=False).line(">>> ", "what \x1b[2J was not sent") == "hi"
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "(not sent: what ␛[2J was not sent)\n"


def test_who_leaves_gets_a_new_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(EOFError):
        PlainReader(interactive=True).line(">>> ")
    assert capsys.readouterr().out == ">>> \n"
    with pytest.raises(EOFError):
        PlainReader(interactive=False).line(">>> ")
    assert capsys.readouterr().out == ""
