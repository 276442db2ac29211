"""Messages line by line: from a pipe, or from a terminal that cannot move its cursor."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Protocol

from localllm.chat.notes import note
from localllm.errors import UsageError

QUOTES = '"""'
"""What begins and ends a message of several lines."""


class Cleared(KeyboardInterrupt):
    """Ctrl-C at a prompt where something had been typed: that is gone."""


class Reader(Protocol):
    """Where messages come from."""

    interactive: bool
    """Somebody is there to answer questions."""

    def line(self, prompt: str, default: str = "") -> str:
        """One line, or several where the reader can edit them; default: what stands there at first. Raises EOFError at
        the end (Ctrl-D) and KeyboardInterrupt (Ctrl-C)."""

    def answer(self, question: str) -> str:
        """A line that is no message. Raises as `line`."""


class PlainReader:
    """Lines of standard input."""

    def __init__(self, interactive: bool) -> None:
        self.interactive = interactive

    def line(self, prompt: str, default: str = "") -> str:
        if default:
            note(f"(not sent: {default})")
        if self.interactive:
            sys.stdout.write(prompt)
            sys.stdout.flush()
        try:
            line = sys.stdin.readline()
        except KeyboardInterrupt:
            self._leave_line()
            raise
        if not line:
            self._leave_line()
            raise EOFError
        return line.rstrip("\r\n")

    def _leave_line(self) -> None:
        """What comes next does not stand behind the prompt, or the terminal's ^C."""
        if self.interactive:
            sys.stdout.write("\n")
            sys.stdout.flush()

    def answer(self, question: str) -> str:
        return self.line(question)


def read_message(reader: Reader, default: str = "") -> str:
    """One message: what was entered, or the lines between two \"\"\". The end of input ends it, too. Where text follows
    the closing quotes, as in a file of Python, they are part of the message."""
    text = reader.line(">>> ", default)
    if not text.lstrip().startswith(QUOTES):
        return text
    with suppress(EOFError):
        while is_open(text):
            text += "\n" + reader.line("... ")
    inside, closing, rest = text.lstrip().removeprefix(QUOTES).partition(QUOTES)
    return text if closing and rest.strip() else inside.strip("\n")


def is_open(text: str) -> bool:
    """Whether a message of several lines was begun and not ended."""
    begun = text.lstrip()
    return begun.startswith(QUOTES) and QUOTES not in begun.removeprefix(QUOTES)


def confirmed(reader: Reader, question: str) -> bool:
    """Whether somebody says yes. Nobody does where there is nobody, nor by Ctrl-C or Ctrl-D."""
    if not reader.interactive:
        return False
    try:
        return reader.answer(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        return False


def need_terminal(reader: Reader, what: str) -> None:
    """Raise UsageError where nobody could edit a line."""
    if not reader.interactive:
        raise UsageError(f"{what} needs a terminal")
