"""Answers on a terminal: whatever the pieces, the screen is what the whole text gives; no text controls it."""

from __future__ import annotations

import io
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localllm.terminal.answer import AnswerView
from localllm.terminal.screen import Screen
from tests.terminal.documents import UGLY, cuts, texts
from tests.terminal.emulator import Terminal

WIDTHS = [20, 33, 40, 80, 120, 300]
ESCAPES = re.compile(r"\x1b\[(?:[0-9;]*m|K|1A)|\r\n|\r(?=\x1b\[K)")
"""All that our own code sends: styles, erasing a row, going up, to the beginning of a line."""


def show(pieces, columns=80, lines=24, **environment):
    terminal = Terminal(columns, lines)
    view = AnswerView(terminal.as_screen(**environment))
    for piece in pieces:
        view.content(piece)
    view.end()
    return terminal


@settings(max_examples=60, deadline=None)
@given(st.data(), texts(), st.sampled_from(WIDTHS), st.sampled_from([5, 10, 24]))
def test_random_answers_in_random_pieces(data, text, columns, lines):
    pieces = data.draw(cuts(text))
    assert show(pieces, columns, lines).cells() == show([text], columns, lines).cells()


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("length", [1, 7])
def test_an_ugly_answer_in_pieces(columns, length):
    pieces = [UGLY[i : i + length] for i in range(0, len(UGLY), length)]
    assert show(pieces, columns).cells() == show([UGLY], columns).cells()


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(st.data(), texts(), st.sampled_from(WIDTHS), st.sampled_from([5, 10, 24]))
def test_many_random_answers(data, text, columns, lines):
    pieces = data.draw(cuts(text))
    assert show(pieces, columns, lines).cells() == show([text], columns, lines).cells()


@settings(max_examples=50, deadline=None)
@given(st.text() | texts(), st.booleans())
def test_what_a_model_writes_does_not_control_the_terminal(text, plain):
    terminal = Terminal()
    view = AnswerView(terminal.as_screen(), plain)
    view.reasoning(text)
    for char in text:
        view.content(char)
    view.end()
    left = ESCAPES.sub("", terminal.written)
    assert not [c for c in left if unicodedata.category(c) == "Cc" and c not in "\n\t"]
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", left)


@pytest.mark.parametrize("entity", ["&#27;[2J", "&#x9b;2J", "&#x202e;abc", "&#xd800;"])
def test_nor_do_entities(entity):
    assert not re.search("[\x1b\x9b\u202e\ud800]", ESCAPES.sub("", show([entity]).written))


@settings(deadline=None)
@given(st.lists(st.text()))
def test_without_a_terminal_the_content_passes_byte_for_byte(pieces):
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, "utf-8", "surrogatepass", newline="")
    view = AnswerView(Screen(stream, {"FORCE_COLOR": "3", "TERM": "xterm"}))
    view.reasoning("thought")
    for piece in pieces:
        view.content(piece)
    view.end()
    assert buffer.getvalue() == "".join(pieces).encode("utf-8", "surrogatepass")


def test_plain_is_the_text_itself():
    terminal = Terminal()
    view = AnswerView(terminal.as_screen(), plain=True)
    view.content("# A **b**\r")
    view.content("\nc\x1b[31m")
    view.end()
    assert terminal.written == "# A **b**\nc␛[31m\n"


def test_a_dumb_terminal_gets_the_text_without_escapes():
    terminal = Terminal()
    view = AnswerView(terminal.as_screen(TERM="dumb"))
    view.reasoning("Hm.")
    view.content("# A **b**\n")
    view.end()
    assert terminal.written == "Hm.\n\n# A **b**\n"


def test_without_colours_there_are_none():
    written = show([UGLY], NO_COLOR="1").written
    assert {code for style in re.findall(r"\x1b\[([0-9;]*)m", written) for code in style.split(";")} <= set("012349")


def test_locale_c_has_ascii_marks():
    shown = "\n".join(show(["- a\n  - b\n\n> c\n\n---\n|d|\n|-|\n"], LC_ALL="C").rows())
    assert shown == "- a\n  * b\n\n| c\n\n" + "-" * 40 + "\nd\n-"


def test_what_cannot_be_encoded_is_counted_as_it_is_shown():
    terminal = Terminal()
    terminal.encoding = "ascii"
    view = AnswerView(terminal.as_screen())
    view.content("| 漢字 | é |\n|---|---|\n| a | 👩\u200d💻 |\n\n&copy;")
    view.end()
    assert terminal.rows() == ["??  ?", "--  ---", "a   ???", "", "?"]


def test_the_end_is_the_beginning_of_a_line():
    for text in ("", "a", "a\n", "```\na", "- ", "|a|", "*"):
        terminal = show([text])
        assert terminal.screen.cursor.x == 0
        assert terminal.screen.cursor.y == len(terminal.rows()) - (terminal.rows() == [""])


class TestAsItComes:
    def rows(self, *pieces, **environment):
        terminal = Terminal(40, 12)
        view = AnswerView(terminal.as_screen(**environment))
        for piece in pieces:
            view.content(piece)
        return terminal.rows()

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("Hello wor", "Hello wor"),
            ("Hello **wor", "Hello wor"),
            ("Hello **wor*", "Hello wor"),
            ("Hello *", "Hello"),
            ("`co", "co"),
            ("[te", "[te"),
            ("[text](http://a", "text (http://a)"),
            ("## He", "He"),
            ("- it", "• it"),
            ("-", ""),
            ("| a | b", "a  b\n─  ─"),
            ("| a | b |\n|---|---|\n| long", "a     b\n────  ─\nlong"),
            ("```py\nx =", "```py\nx ="),
            ("> quo", "│ quo"),
            ("1. a\n2", "1. a"),
        ],
    )
    def test_what_is_certain_is_shown(self, text, shown):
        assert "\n".join(self.rows(text)) == shown
        assert "\n".join(self.rows(*text)) == shown

    def test_what_may_be_a_heading_becomes_one(self):
        terminal = Terminal(40, 12)
        view = AnswerView(terminal.as_screen())
        view.content("Title")
        assert not terminal.screen.buffer[0][0].bold
        view.content("\n===\n")
        assert terminal.screen.buffer[0][0].bold

    def test_what_looked_like_a_table_is_text_again(self):
        assert self.rows("| a | b |", "\nno table") == ["| a | b |", "no table"]

    def test_a_combining_mark_after_its_base(self):
        assert self.rows("e", "\u0301", "x") == ["éx"]


def test_nothing_is_written_above_the_block_under_way():
    """Rows that have scrolled away stay as they were, and so do finished blocks."""
    terminal = Terminal(30, 6)
    view = AnswerView(terminal.as_screen())
    shown: list[str] = []
    for i in range(40):
        view.content(f"Paragraph {i} with **some** text\n\n")
        above = [row for row in terminal.rows() if row][:-1]
        assert above[: len(shown)] == shown
        shown = above


def test_a_table_longer_than_the_screen_keeps_its_widths():
    rows = "".join(f"| {i} | {'x' * (i // 10)} |\n" for i in range(60))
    text = "| n | x |\n|--:|:--|\n" + rows + "| 60 | y | z |\n"
    whole = show([text], 40, 12)
    assert show(text, 40, 12).cells() == whole.cells()
    assert whole.rows()[:3] == ["        n  x", "─────────  ─────────", "        0"]
    assert whole.rows()[-2:] == ["       59  xxxxx", "       60  y | z"]


def test_a_narrow_terminal_shows_rows_as_lists():
    text = (
        "| Name | Value | Unit | Note |\n|---|---|---|---|\n| speed | 12.5 | t/s | measured here |\n| b | 1 | 2 | 3 |\n"
    )
    assert show([text], 20).rows() == [
        "Name: speed", "Value: 12.5", "Unit: t/s", "Note: measured here", "",
        "Name: b", "Value: 1", "Unit: 2", "Note: 3",
    ]  # fmt: skip
