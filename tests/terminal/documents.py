"""Markdown for tests: an ugly answer, and random ones."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st

UGLY = """\
# Title of *it* all

Some **bold text and *nested emphasis*** with `inline code`, a [link](https://example.com/path?q=1) and ~~old~~ text.
It costs $5 and $10; a formula $a_b * c_d$ and \\(x_1^2\\).
## Lists ##
- one
- two with a long text that must be wrapped because it is much longer than the line of the terminal is wide, I believe
  - nested **bold**
    1. deep
    2. deeper

       a paragraph in it
- [ ] to do
- [x] done

1. First:
   ```python
   def f(x: int) -> str:
       '''Doc
       more'''
       return f"{x}"  # comment
   ```
2. A table in a list:

   | Name | Value | Notes |
   |:-----|------:|:-----:|
   | alpha | 1.25 | short |
   | **beta** | 100 | a `code` cell with text that is too long for a narrow terminal |
   | 漢字 | 3 |

> A quote with
two lines
>
> - and a list
>
>       indented code

***

\\[
E = mc^2 - x
- y
\\]

~~~
plain code, in a line that is much longer than a terminal is wide and that is not broken by words, but by the terminal
~~~

<div align="center">
  <b>html</b>

Heading two
---
```html
<script>
let a = `template ${1}`; /* c */
</script>
```
An end that is **not closed and a very long word:
Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft.
这是一个很长的中文段落，没有空格，需要在字符之间换行，**标点符号**不应该出现在行首。
"""

_PARTS = [
    "# ", "## Head", "- ", "* ", "1. ", "2) ", "  ", "    ", "\t", "> ", "```", "```python\n", "~~~", "\n",
    "\n\n", "---", "===", "***", "|", "| a | b |\n", "|---|---|\n", "|:-:|--:|\n", "**", "*", "_", "__", "`",
    "``", "~~", "[", "](", "http://x.y", ")", "word ", "longer-word ", "text", "漢字", "中文，标点。", "é", "e\u0301",
    "👩\u200d💻", "❤\ufe0f", "$", "$$", "\\[", "\\]", "\\(", "\\)", "\\", "<div>", "</div>", "<br>", "<!-- ",
    "-->", "&amp;", "&#27;", "\x1b[31m", "\u202e", "def f(x):\n", "/* c", "*/", "'''", '"' * 3, "[ ] ", "[x] ",
    "!", "![i](p.png)", "5 ", "<b>", "<http://a.b>", "שלום ", "1", "0.", " ", "x" * 130, "\r\n", "\r",
    "```c\n/* open\n", "```html\n<script>\nvar a;\n",
]  # fmt: skip


def texts():
    """Markdown, for the most part broken."""
    return st.lists(st.sampled_from(_PARTS), max_size=60).map("".join)


def cuts(text):
    """The text in pieces: a strategy."""
    places = st.lists(st.integers(0, len(text)), max_size=40) | st.just(list(range(len(text))))
    return places.map(lambda found: _pieces(text, sorted({0, *found, len(text)})))


def _pieces(text, places):
    return [text[a:b] for a, b in pairwise(places)]
