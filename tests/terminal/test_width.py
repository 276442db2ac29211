from __future__ import annotations

import pytest

from localllm.terminal.style import Span, text_of
from localllm.terminal.width import clusters, most, width
from localllm.terminal.wrap import Wrapper


@pytest.mark.parametrize(
    ("text", "shown", "at_most"),
    [
        ("", 0, 0),
        ("abc é", 5, 5),
        ("漢字", 4, 4),
        ("e\u0301", 1, 1),
        ("👍🏽", 2, 4),
        ("👩\u200d💻", 2, 4),
        ("❤\ufe0f", 2, 2),
        ("🇩🇪🇫🇷", 4, 4),
        ("한국", 4, 4),
        ("שלום", 4, 4),
    ],
)
def test_columns(text, shown, at_most):
    assert width(text) == shown
    assert most(text) >= at_most
    assert "".join(clusters(text)) == text


def test_clusters():
    assert list(clusters("ae\u0301漢👩\u200d💻❤\ufe0f🇩🇪🇫🇷👍🏽")) == [
        "a", "e\u0301", "漢", "👩\u200d💻", "❤\ufe0f", "🇩🇪", "🇫🇷", "👍🏽",
    ]  # fmt: skip


def wrapped(text, columns, first="", rest=""):
    wrapper = Wrapper([Span(first)] if first else [], [Span(rest)] if rest else [], columns)
    return [text_of(line) for line in wrapper.add(text, "") + wrapper.newline()]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three", ["one two", "three"]),
        ("one  two", ["one  two"]),
        ("a longestword", ["a", "longestw", "ord"]),
        ("漢字漢字漢字", ["漢字漢字", "漢字"]),
        ("漢字漢字。漢", ["漢字漢", "字。漢"]),
        ("漢字漢「字」", ["漢字漢", "「字」"]),
        ("ab漢字cd", ["ab漢字cd"]),
        ("e\u0301" * 10, ["e\u0301" * 8, "e\u0301" * 2]),
        ("👩\u200d💻👩\u200d💻👩\u200d💻", ["👩\u200d💻👩\u200d💻", "👩\u200d💻"]),
    ],
)
def test_lines_of_eight_columns(text, lines):
    assert wrapped(text, 8) == lines


def test_what_lines_begin_with():
    assert wrapped("one two three", 10, "1. ", "   ") == ["1. one two", "   three"]
