"""`python -m localllm.terminal FILE.md`: shows a file as an answer that comes in pieces of random lengths."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from localllm.terminal.answer import AnswerView
from localllm.terminal.screen import Screen


def pieces(text: str, seed: int, longest: int = 8) -> Iterator[str]:
    """The text, cut at random."""
    chance, begin = random.Random(seed), 0
    while begin < len(text):
        end = begin + chance.randint(1, longest)
        yield text[begin:end]
        begin = end


def main() -> None:
    """What stands between <think> and </think> at the file's beginning is shown as thinking."""
    parser = argparse.ArgumentParser(
        prog="python -m localllm.terminal", description="Show a Markdown file as it comes."
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--plain", action="store_true", help="the text as it is")
    parser.add_argument("--fold", action="store_true", help="fold the thinking")
    parser.add_argument("--rate", type=float, default=40.0, help="pieces a second; 0: at once (default: 40)")
    parser.add_argument("--seed", type=int, default=0, help="where the text is cut")
    given = parser.parse_args()
    thinking, mark, text = given.file.read_text(encoding="utf-8").partition("</think>")
    if not mark:
        thinking, text = "", thinking
    view = AnswerView(Screen(), given.plain, given.fold, "/think show")
    try:
        for piece in pieces(thinking.removeprefix("<think>"), given.seed):
            view.reasoning(piece)
            time.sleep(1 / given.rate if given.rate else 0)
        for piece in pieces(text, given.seed):
            view.content(piece)
            time.sleep(1 / given.rate if given.rate else 0)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:  # who read it is gone; what Python would still flush goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    view.end()


if __name__ == "__main__":
    main()
