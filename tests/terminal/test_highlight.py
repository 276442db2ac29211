from __future__ import annotations

import pytest

from localllm.terminal.highlight import LINE_LIMIT, Highlighter
from localllm.terminal.screen import NO_COLOURS, PALETTE
from localllm.terminal.style import text_of, theme

COLOURS = theme(PALETTE)


def lines(language, code, colours=PALETTE):
    highlighter = Highlighter(language, theme(colours))
    found = [line for text in code.split("\n") for line in highlighter.line(text)]
    return found + highlighter.close()


def style(found, text):
    return next(span.style for line in found for span in line if text in span.text)


CODE = {
    "python": "def f(x):\n    '''Doc\n    more'''\n    return 1  # why\n",
    "c": "int f(void) {\n/* a\n   b */\n    return 1; }\n",
    "javascript": "let a = `x\ny`;\n/* b\nc */ function d() {}\n",
    "html": "<p class='a'>b</p>\n<script>\nlet c = 1;\n</script>\n<style>\na { b: c }\n</style>\n",
    "json": '{"a": [1, true]}\n',
    "sh": "ls -l /* # all\n",
    "nonsense": "a b\n",
    "": "a b\n",
    "diff": "-a\n+b\n",
}


@pytest.mark.parametrize("language", CODE)
@pytest.mark.parametrize("colours", [NO_COLOURS, PALETTE])
def test_the_text_stays_as_it_is(language, colours):
    assert "\n".join(map(text_of, lines(language, CODE[language], colours))) == CODE[language]


def test_colours():
    python, c, js, html = (lines(name, CODE[name]) for name in ("python", "c", "javascript", "html"))
    assert style(python, "def") == style(js, "function") == style(html, "let") == COLOURS.keyword
    assert style(python, "more") == style(js, "y`") == COLOURS.string
    assert style(python, "why") == style(c, "b */") == style(js, "c */") == COLOURS.comment
    assert style(c, "return") == COLOURS.keyword
    assert lines("python", CODE["python"], NO_COLOURS)[0][0].style == ""
    assert lines("nonsense", "a")[0][0].style == ""


def test_a_long_line_has_no_colours():
    line = "x = 1  # " + "y" * LINE_LIMIT
    assert lines("python", f"{line}\ndef f(): pass")[0] == [(line, "")]


def test_lines_wait_for_the_end_of_a_comment_but_not_for_ever():
    highlighter = Highlighter("c", COLOURS)
    assert highlighter.line("/* open") == []
    assert [text_of(line) for line in highlighter.tentative("b")] == ["/* open", "b"]
    assert any(highlighter.line("more") for _ in range(100))
