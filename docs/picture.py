"""Records the picture of the README: a chat in a real terminal, typed by this script, as docs/chat.svg.

    pip install -e '.[docs]' && python docs/picture.py MODEL

The terminal is emulated by pyte, the picture drawn by rich. The seed is fixed: the same model gives the same picture,
but for its figures of speed.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import select
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

OUT = Path(__file__).resolve().parent / "chat.svg"
COLUMNS, ROWS = 92, 40
PROMPT = ">>> "
QUESTIONS = (
    "Which are the capitals and currencies of France, Japan and Brazil? Answer with a table.",
    "Write a Python function that reads a JSON file. Code only, without an explanation.",
)
_PATIENCE = 120.0
"""Seconds that an answer may take."""


class _Screen(pyte.Screen):
    """A screen that shows what is dim in grey: pyte knows no such attribute."""

    def select_graphic_rendition(self, *attrs: int, **more: bool) -> None:
        super().select_graphic_rendition(*attrs, **more)
        if _DIM in attrs:
            self.cursor.attrs = self.cursor.attrs._replace(fg="808080")


_DIM = 2


class Recording:
    """A program in an emulated terminal."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.screen = _Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self.screen)
        self._pid, self._fd = pty.fork()
        if not self._pid:
            os.execvpe(command[0], command, environment)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def wait_for_prompt(self) -> None:
        """Until the line of the cursor holds nothing but the prompt, and nothing more comes for a moment."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            if select.select([self._fd], [], [], 0.5)[0]:
                self._stream.feed(os.read(self._fd, 1 << 16))
            elif self.screen.display[self.screen.cursor.y].rstrip() == PROMPT.rstrip():
                return
        raise SystemExit("\n".join(["no prompt:", *self.screen.display]))

    def close(self) -> None:
        os.close(self._fd)
        os.waitpid(self._pid, 0)

    def lines(self) -> Iterator[Text]:
        """What the screen shows, with its colours, without what is empty at its end."""
        rows = [self.screen.buffer[y] for y in range(ROWS)]
        shown = [y for y in range(ROWS) if self.screen.display[y].strip()]
        for row in rows[: max(shown) + 1]:
            line = Text(no_wrap=True)
            for x in range(COLUMNS):
                line.append(row[x].data, _style(row[x]))
            line.rstrip()
            yield line


def _style(char: pyte.screens.Char) -> Style:
    colour = None if char.fg == "default" else _COLOURS.get(char.fg, f"#{char.fg}")
    return Style(
        color=colour, bold=char.bold, italic=char.italics, underline=char.underscore, strike=char.strikethrough
    )


_COLOURS = {"brown": "yellow"} | {name: name for name in ("black", "red", "green", "blue", "magenta", "cyan", "white")}
_COLOURS |= {f"bright{name}": f"bright_{name}" for name in _COLOURS}
"""Colours as pyte calls them, and as rich does."""


def record(model: Path) -> list[Text]:
    """A chat with the questions, below the command that began it."""
    command = ["localllm", "chat", model.name, "--seed", "2"]
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"LOCALLLM_HOME": home, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        os.chdir(model.parent)
        terminal = Recording([sys.executable, "-m", *command], environment)
        terminal.wait_for_prompt()
        for question in QUESTIONS:
            terminal.type(question + "\r")
            terminal.wait_for_prompt()
        lines = [Text("$ " + " ".join(command)), *terminal.lines()]
        terminal.close()
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", metavar="MODEL", type=Path, help="the path of a GGUF file")
    lines = record(parser.parse_args().model.resolve())
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor")
        for line in lines:
            console.print(line)
    console.save_svg(str(OUT), title="localllm", code_format=_FORMAT)
    return 0


_FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font: {char_height}px/{line_height}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-variant-east-asian: full-width;
}}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""rich's own form, but for the fonts, which that one fetches from elsewhere."""


if __name__ == "__main__":
    sys.exit(main())
