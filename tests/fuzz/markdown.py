"""What a terminal is shown of an answer: any text in any cut, and no control sequence of the model's.

Bytes choose the width, how much the terminal can do, and where the text is cut.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import TextIO, cast

from localllm.terminal.answer import AnswerView
from localllm.terminal.screen import Screen
from tests.fuzz.mutators import of_text
from tests.fuzz.target import Finding, Target
from tests.terminal.streams import Stream
from tests.terminal.test_document import PARTS

_WORDS = (
    *PARTS, "\x1b[2J", "\x1b]0;title\x07", "\x9b1A", "\r", "\r\n", "\x08", "\t", "\u202e", "\u2066", "👩‍👧", "漢字",
    "e\u0301", "|", "|-|", "$$", "\\(", "```python\nx = '", "[^1]: ", "&amp;", "&#27;", "<br>", "1" * 10 + ". ",
    "[ ] ", "> > > ",
)  # fmt: skip
_ENVIRONMENTS: tuple[dict[str, str], ...] = ({}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"COLORTERM": "truecolor"})
_OURS = re.compile(r"\x1b\[[0-9;]*[ABCDGHJKmlh]|\x1b\[\?[0-9]+[lh]|\x1b\]8;;[^\x1b\x07]*(?:\x1b\\|\x07)")
"""The control sequences that the view itself writes."""


def seeds() -> Iterator[bytes]:
    texts = [
        "# Head\n\npara **bold** `code`\n\n- a\n  - b\n1. c\n\n> q\n",
        "| a | b |\n|---|--:|\n| c | d |\n\nend",
        "```py\nx = 1\n```\n",
    ]
    for i, text in enumerate(texts):
        yield bytes([40 + i, i, i]) + text.encode()
        yield bytes([3, i + 1, i]) + text.encode() + b"\x1b[2J\x07"


def run(data: bytes) -> None:
    head, text = data[:3].ljust(3, b"\0"), data[3:].decode("utf-8", "replace")
    rng = random.Random(head[2])
    places = sorted(rng.randint(0, len(text)) for _ in range(head[2] % 12))
    pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    stream = Stream(True)
    size = (1 + head[0] % 120, 1 + head[0] % 30)
    view = AnswerView(Screen(cast(TextIO, stream), {"TERM": "xterm", **_ENVIRONMENTS[head[1] % 4]}, lambda: size))
    for i, piece in enumerate(pieces):
        if head[1] & 8 and i < 2:
            view.reasoning(piece)
        else:
            view.content(piece)
    view.end()
    left = _OURS.sub("", stream.getvalue())
    if found := re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", left):
        raise Finding(f"{text!r}: wrote {left[max(0, found.start() - 20) : found.start() + 20]!r}")


TARGET = Target(seeds, run, of_text(_WORDS), max_len=1 << 12)
