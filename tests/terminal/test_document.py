"""Markdown beside markdown-it's reading of the whole text, and what differs from it on purpose."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from localllm.terminal import flow, inline
from localllm.terminal.answer import AnswerView
from tests.terminal import twin
from tests.terminal.emulator import Terminal

TABLE = "\n\n| a | b |\n|---|---|\n| c | d |\n"
PARTS = [
    "# ", "## Head", "- ", "* ", "+ ", "1. ", "2. ", "2) ", "  ", "   ", "    ", "> ", "```", "```py\n", "~~~", "\n",
    "\n\n", "---", "===", "***", TABLE, "**", "*", "_", "__", "`", "``", "~~", "[", "](", "x.y", ")",
    "word ", "longer-word ", "text", "\\*", "<div>", "</div>", "<!-- ", "-->", "5 ", "1", "0.", " ", "\n", "a ", "b",
    "- x\n", "  - y\n", "1. z\n", "> q\n", "\n\n    code\n", "para\n",
]  # fmt: skip


def rows(text, columns=300, lines=80, **environment):
    terminal = Terminal(columns, lines)
    view = AnswerView(terminal.as_screen(**environment))
    view.content(text)
    view.end()
    return terminal.rows()


def normal(lines):
    """Without what is left open: backticks of code, numbers of spaces."""
    found = [" ".join(line.replace("`", "").split()) for line in lines]
    return [line for line in found if line.strip("│ ")]


texts = st.lists(st.sampled_from(PARTS), max_size=25).map("".join)


def is_odd(text):
    """Whether the two differ: on purpose, or as markdown-it ends a list at an empty item before blank lines."""
    return twin.has_long_heading(text) or re.search(r"(?:[-+*]|\d[.)]) *\n[ >]*\n", text)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(texts)
def test_random_texts_are_read_as_by_markdown_it(text):
    assume(not is_odd(text))
    assert normal(rows(text, NO_COLOR="1")) == normal(twin.lines(text))


@pytest.mark.slow
@settings(max_examples=500, deadline=None, derandomize=True)
@given(texts)
def test_many_random_texts(text):
    assume(not is_odd(text))
    assert normal(rows(text, NO_COLOR="1")) == normal(twin.lines(text))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("- a\n- b\n\n- c", ["• a", "• b", "", "• c"]),
        ("a\nb", ["a", "b"]),
        ("a\\\nb c", ["a", "b c"]),
        ("a<br>b <i>c</i>", ["a", "b <i>c</i>"]),
        ("[a][1]\n\n[1]: http://b", ["[a][1]", "", "[1]: http://b"]),
        ("a\nb\n===", ["a", "b", "==="]),
        ("x" * 201 + "\n---", ["x" * 201, "─" * 40]),
        ("|a|b|\n|-|-|\n|1|2|3|", ["a  b", "─  ─────", "1  2 | 3"]),
        ("[a](http://b) [http://c](http://c) <http://d> ![e](f.png)", ["a (http://b) http://c http://d e (f.png)"]),
        ("$a_1*b*c_2$ $5 *and* $6 \\(x_1*y_2*z\\) \\[a_1 b_2\\] $$a*b*c$$",
         ["$a_1*b*c_2$ $5 and $6 \\(x_1*y_2*z\\) \\[a_1 b_2\\] $$a*b*c$$"]),
        ("\\[\n- a_1\n\n\\]", ["\\[", "- a_1", "", "]"]),
        ("$$\n*a*\n$$\n*b*", ["$$", "*a*", "$$", "b"]),
        ("- [ ] a\n- [x] *b*\n- [y] c", ["• [ ] a", "• [x] b", "• [y] c"]),
        ("9. a\n10. b\n1. c", ["9. a", "10. b", "11. c"]),
        ("# A #\n## B ##\n### C#", ["A", "", "B", "", "C#"]),
        ("> a\n\nb", ["│ a", "", "b"]),
        ("- ", ["•"]),
        ("&lt;&#65;&copy; \\* \\a", ["<A© * \\a"]),
        ("```\na\tb\n\tc", ["```", "a   b", "    c", "```"]),
    ],
)  # fmt: skip
def test_what_is_shown(text, shown):
    assert rows(text, 300) == shown


def test_code_is_not_broken_into_lines():
    """What the terminal breaks is one line when it is copied."""
    terminal = Terminal(20, 10)
    view = AnswerView(terminal.as_screen(NO_COLOR="1"))
    view.content("```\n" + "x y " * 20 + "\n```\n")
    view.end()
    assert "x y " * 20 in terminal.written


@pytest.mark.parametrize(
    "unit",
    ["a *b ", "[a ", "`a ", "**a** ", "word ", "漢字", "x", "$a ", "- item **b**\n", "```\ncode\n```\n",
     "| a *b* | c |\n", "> " * 10 + "text\n", "\\", "<div>\n", "~~", "("],
)  # fmt: skip
def test_the_work_grows_with_the_text(unit, monkeypatch):
    """What markdown-it reads, and what is written, of a piece is bounded however long the text before it was."""
    read = []

    def counted(text, *rest):
        read.append(len(text))
        return spans(text, *rest)

    spans = inline.spans
    monkeypatch.setattr(flow, "spans", counted)
    terminal = Terminal(60, 20)
    view = AnswerView(terminal.as_screen())
    written = []
    monkeypatch.setattr(terminal, "write", lambda text: written.append(len(text)))
    text = "| a | b |\n|---|---|\n" * unit.startswith("|") + unit * (2400 // len(unit))
    work = []
    for i in range(0, len(text), 4):
        view.content(text[i : i + 4])
        work.append(sum(read) + sum(written))
        read.clear()
        written.clear()
    half = len(work) // 2
    assert sum(work[half:]) <= 1.5 * sum(work[:half]) + 100_000
    assert max(work) < 20_000
