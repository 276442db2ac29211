"""Messages line by line, where the cursor cannot be moved."""

from __future__ import annotations

import io

from localllm.chat.plain import PlainReader


def test_a_draft_is_told_and_cannot_control_the_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("hi\n"))
    assert PlainReader(interactive=False).line(">>> ", "what \x1b[2J was not sent") == "hi"
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "(not sent: what ␛[2J was not sent)\n"
