"""A terminal whose size changes while an answer comes: nothing is lost, doubled or garbled."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time

import pytest

from localllm.terminal.answer import AnswerView
from tests.terminal.documents import UGLY
from tests.terminal.emulator import Terminal

PROSE = "".join(f"The {i}th sentence of a **long** paragraph, which has `code` and *emphasis*. " for i in range(30))
TABLE = "| Name | Meaning |\n|---|---|\n" + "".join(
    f"| n{i} | the meaning of the {i}th of all these |\n" for i in range(8)
)


def words(text):
    return re.findall(r"\w+", text)


@pytest.mark.parametrize("text", [PROSE, TABLE, "\n\n".join([PROSE, TABLE, PROSE])], ids=["prose", "table", "both"])
@pytest.mark.parametrize("length", [1, 10])
def test_a_wider_terminal(text, length):
    """The new width counts from the next line on: no word is lost or comes twice."""
    terminal = Terminal(30, 24)
    view = AnswerView(terminal.as_screen())
    for n, i in enumerate(range(0, len(text), length)):
        if n % 40 == 39:
            terminal.resize(terminal.screen.columns + 5, terminal.screen.lines)
        view.content(text[i : i + length])
    view.end()
    assert words("\n".join(terminal.rows())) == words(re.sub("[*`|-]", " ", text))


def test_a_narrower_terminal_of_lines_that_fit():
    terminal = Terminal(60, 24)
    view = AnswerView(terminal.as_screen())
    view.content("A short line of **bo")
    terminal.resize(24, 24)
    view.content("ld** text that goes on for a while, and *more*.\n\n- item\n")
    view.end()
    assert terminal.rows() == [
        "A short line of bold", "text that goes on for a", "while, and more.", "", "• item",
    ]  # fmt: skip


def test_a_table_fits_the_new_width():
    terminal = Terminal(60, 30)
    view = AnswerView(terminal.as_screen())
    view.content(TABLE[: len(TABLE) // 2])
    terminal.resize(120, 30)
    view.content(TABLE[len(TABLE) // 2 :])
    view.end()
    whole = Terminal(120, 30)
    view = AnswerView(whole.as_screen())
    view.content(TABLE)
    view.end()
    assert terminal.rows() == whole.rows()


def test_a_lower_terminal_keeps_what_scrolled_away():
    terminal = Terminal(60, 24)
    view = AnswerView(terminal.as_screen())
    view.content(TABLE)
    terminal.resize(60, 5)
    view.content("| last | one |\n\nThe end.\n")
    view.end()
    assert terminal.rows()[-1] == "The end."
    assert words("\n".join(terminal.rows()))[-5:] == ["these", "last", "one", "The", "end"]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")
@pytest.mark.parametrize("sizes", [[(100, 30), (50, 30), (70, 20), (34, 30), (90, 40)], [(40, 12), (90, 12), (25, 12)]])
def test_tmux_breaks_lines_anew(tmp_path, sizes):
    """A real terminal, which breaks its lines anew, and what it has at the end, with what scrolled away."""
    (tmp_path / "answer.md").write_text(UGLY, encoding="utf-8")
    tmux = Tmux(tmp_path / "socket", sizes[0])
    try:
        line = [sys.executable, "-m", "tests.terminal.in_steps", tmp_path / "answer.md", tmp_path, len(sizes)]
        tmux.run("send-keys", f"clear; {' '.join(map(str, line))}; sleep 1000", "Enter")
        for step, (columns, lines) in enumerate(sizes):
            tmux.run("resize-window", "-x", str(columns), "-y", str(lines))
            (tmp_path / "next").write_text(f"{columns} {lines}")
            (tmp_path / "next").rename(tmp_path / str(step))
            wait((tmp_path / f"{step}.done").exists)
        wait((tmp_path / "end").exists)
        shown = tmux.run("capture-pane", "-p", "-J", "-S", "-1000")
    finally:
        tmux.run("kill-server")
    whole = Terminal(300, 100)
    view = AnswerView(whole.as_screen())
    view.content(UGLY)
    view.end()
    assert "".join(words(shown)) == "".join(words("\n".join(whole.rows())))


class Tmux:
    """A server of its own, with one window."""

    def __init__(self, socket, size):
        self._socket = socket
        columns, lines = map(str, size)
        self.run("-f", "/dev/null", "new-session", "-d", "-x", columns, "-y", lines, "sh")
        self.run("set-option", "-g", "remain-on-exit", "on")

    def run(self, *args):
        line = ["tmux", "-u", "-S", str(self._socket), *args]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, check=True).stdout


def wait(until, seconds=60):
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.02)
