from __future__ import annotations

import pytest

from localllm.terminal.answer import AnswerView
from tests.terminal.emulator import Terminal


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def view_on(terminal, **options):
    return AnswerView(terminal.as_screen(), **options)


def test_a_dim_block_above_the_answer():
    terminal = Terminal(40, 12)
    view = view_on(terminal)
    for piece in ("\n", "I think", " so.\n", "\n\n", "Yes, I ", "do.\n\n"):
        view.reasoning(piece)
    view.content("\n\nThe **answer**.")
    view.end()
    assert terminal.rows() == ["│ I think so.", "│", "│ Yes, I do.", "", "The answer."]
    assert view.thinking == "\nI think so.\n\n\nYes, I do.\n\n"
    assert {cell[1] for cell in terminal.cells()[0]} == {"767676"}


def test_folded_it_is_one_line(clock):
    terminal = Terminal(60, 12)
    view = view_on(terminal, fold_thinking=True, show_command="/think show")
    for _ in range(3):
        view.reasoning("a\n", n_tokens=20)
        clock[0] += 4
    assert terminal.rows() == ["thinking… 8 s, 60 tokens"]
    clock[0] += 2
    view.content("Answer")
    view.end()
    assert terminal.rows() == ["thought for 14 s, 60 tokens (/think show)", "", "Answer"]


def test_the_line_is_not_drawn_for_each_token(clock):
    terminal = Terminal(60, 12)
    view = view_on(terminal, fold_thinking=True)
    for _ in range(100):
        view.reasoning("a")
    assert terminal.written.count("thinking") == 1


def test_only_thoughts():
    terminal = Terminal(40, 12)
    view = view_on(terminal)
    view.reasoning("Hm")
    view.end()
    assert terminal.rows() == ["│ Hm"]
    assert terminal.screen.cursor.x == 0


def test_thoughts_between_texts():
    terminal = Terminal(40, 12)
    view = view_on(terminal)
    view.content("- one")
    view.reasoning("Hm")
    view.content("- two")
    view.end()
    assert terminal.rows() == ["• one", "│ Hm", "", "• two"]


def test_folded_and_plain():
    terminal = Terminal(40, 12)
    view = view_on(terminal, plain=True, fold_thinking=True)
    view.reasoning("Hm")
    view.reasoning("Hm")
    view.content("# Answer")
    view.end()
    assert terminal.written == "thinking...\n\n# Answer\n"
