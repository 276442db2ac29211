from __future__ import annotations

import re
from dataclasses import astuple

import pytest

from localllm.terminal.screen import BASIC, NO_COLOURS, PALETTE, TRUE
from localllm.terminal.style import Span, encode, put, stripped, theme

LEVELS = [0, 95, 135, 175, 215, 255]


def luminance(colour):
    """Of one of xterm's colours 16 to 255, as WCAG 2 defines it."""
    grey = [8 + 10 * (colour - 232)] * 3
    values = grey if colour >= 232 else [LEVELS[(colour - 16) // n % 6] for n in (36, 6, 1)]
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colours", [PALETTE, TRUE])
def test_colours_are_legible_on_black_and_on_white(colours):
    found = {int(n) for style in astuple(theme(colours)) for n in re.findall(r"38;5;(\d+)", str(style))}
    assert len(found) >= 5
    for colour in found:
        assert min((luminance(colour) + 0.05) / 0.05, 1.05 / (luminance(colour) + 0.05)) > 3.8


def test_sixteen_colours():
    codes = {int(c) for style in astuple(theme(BASIC))[:-1] for c in style.split(";") if c}
    assert codes <= {1, 2, 3, 4, 9, *range(30, 38)}


def test_no_colours_and_no_escapes():
    assert {c for style in astuple(theme(NO_COLOURS))[:-1] for c in style.split(";")} <= {"", "1", "2", "3", "4", "9"}
    assert set(astuple(theme(TRUE, escapes=False))[:-1]) == {""}


def test_lines():
    line = [Span("a", "1")]
    put(line, "b", "1")
    put(line, "c ", "")
    assert line == [Span("ab", "1"), Span("c ", "")]
    assert encode(stripped(line)) == "\x1b[1mab\x1b[0mc"
    assert stripped([Span("  ")]) == []
