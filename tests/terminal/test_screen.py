from __future__ import annotations

import io

import pytest

from localllm.terminal.screen import BASIC, NO_COLOURS, PALETTE, TRUE, Screen
from tests.terminal.streams import Stream


def screen(encoding="utf-8", terminal=True, **environment):
    return Screen(Stream(terminal, encoding), environment)


@pytest.mark.parametrize(
    ("environment", "colours"),
    [
        ({}, NO_COLOURS),
        ({"TERM": "xterm"}, BASIC),
        ({"TERM": "linux"}, BASIC),
        ({"TERM": "vt100"}, NO_COLOURS),
        ({"TERM": "xterm-256color"}, PALETTE),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, TRUE),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, NO_COLOURS),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, PALETTE),
        ({"TERM": "xterm-256color", "NO_COLOR": "1", "FORCE_COLOR": "1"}, NO_COLOURS),
        ({"TERM": "xterm-256color", "FORCE_COLOR": "0"}, NO_COLOURS),
        ({"FORCE_COLOR": "1"}, BASIC),
        ({"FORCE_COLOR": "3"}, TRUE),
        ({"CLICOLOR_FORCE": "1"}, BASIC),
        ({"CLICOLOR_FORCE": "0"}, NO_COLOURS),
        ({"TERM": "dumb", "COLORTERM": "truecolor", "FORCE_COLOR": "3"}, NO_COLOURS),
    ],
)
def test_colours(environment, colours):
    assert screen(**environment).colours == colours


def test_no_terminal_gets_escapes_whatever_is_forced():
    found = screen(terminal=False, TERM="xterm", FORCE_COLOR="3")
    assert not found.is_terminal
    assert not found.can_redraw
    assert found.colours == NO_COLOURS


def test_a_dumb_terminal_understands_nothing():
    assert screen(TERM="dumb").is_terminal
    assert not screen(TERM="dumb").can_redraw


@pytest.mark.parametrize(
    ("encoding", "environment", "unicode"),
    [
        ("utf-8", {}, True),
        ("UTF-8", {"LANG": "de_DE.UTF-8"}, True),
        ("ascii", {}, False),
        ("latin-1", {}, False),
        ("unheard-of", {}, False),
        ("utf-8", {"LANG": "C"}, False),
        ("utf-8", {"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),
        ("utf-8", {"LC_CTYPE": "C.UTF-8"}, True),
        ("utf-8", {"LC_ALL": "C.UTF-8", "LANG": "C"}, True),
        ("utf-8", {"LC_ALL": "POSIX", "LANG": "en_US.UTF-8"}, False),
    ],
)
def test_characters(encoding, environment, unicode):
    assert screen(encoding, **environment).unicode == unicode


def test_size_where_the_terminal_cannot_be_asked():
    assert (screen().width, screen().height) == (80, 24)
    assert (screen(COLUMNS="100", LINES="3").width, screen(COLUMNS="100", LINES="3").height) == (100, 3)
    assert screen(COLUMNS="wide").width == 80


def test_size_is_asked_each_time():
    sizes = [(20, 5), (300, 50), (1, 1)]
    found = Screen(Stream(True), {}, lambda: sizes.pop(0))
    assert [found.width, found.height, found.width] == [20, 50, 4]


def test_what_cannot_be_encoded_is_a_question_mark_on_a_terminal_alone():
    found = screen("ascii")
    found.write("a é 漢")
    assert found.stream.getvalue() == "a ? ?"
    elsewhere = Screen(io.TextIOWrapper(io.BytesIO(), "ascii"))
    with pytest.raises(UnicodeEncodeError):
        elsewhere.write("é")
