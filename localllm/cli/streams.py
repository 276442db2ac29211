"""Standard input and output, whatever state they are in: closed, full, a pipe that nobody reads, a terminal that cannot
show a character."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from typing import TextIO

import click

from localllm.terminal.safe import json_safe, visible
from localllm.terminal.screen import Screen

FULL = tuple(getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO") if hasattr(errno, name))
"""Errors of writing that are nobody's mistake; not every system has all."""
END_KEY = "Ctrl-Z, Enter" if sys.platform == "win32" else "Ctrl-D"
"""What ends standard input in a terminal."""


def prepare() -> None:
    """Call it first. A stream that was closed becomes /dev/null: otherwise the next file that is opened takes its
    number. A terminal that cannot show a character gets a `?`, not a traceback."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        # What is not the console has the encoding of old programs there, which lacks most characters.
        if sys.platform == "win32" and isinstance(stream, io.TextIOWrapper) and _may_recode(stream):
            stream.reconfigure(encoding="utf-8-sig" if stream is sys.stdin else "utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def echo(text: str = "", nl: bool = True, err: bool = False) -> None:
    """Text on standard output, or on standard error. On a terminal all that would control it is made visible: use
    `click.echo` for nothing but own escape sequences. A pipe or a file gets the text as it is."""
    screen = Screen(sys.stderr if err else sys.stdout)
    click.echo(visible(text, screen.unicode) if screen.is_terminal else text, nl=nl, err=err)


def echo_json(value: object, indent: int | None = None, ascii: bool = True) -> None:
    """JSON on standard output, with escapes for what would control a terminal; ascii: for all but ASCII, too."""
    click.echo(json_safe(json.dumps(value, indent=indent, ensure_ascii=ascii)))


def _may_recode(stream: io.TextIOWrapper) -> bool:
    return not (stream.isatty() or os.environ.get("PYTHONIOENCODING"))


def give_up(*streams: TextIO) -> None:
    """What is still buffered for them must not be written when Python ends: nobody takes it, and the exit status would
    be another one."""
    for stream in streams:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def is_outputs(error: OSError) -> bool:
    """Whether an error is that of writing to standard output: it names no file."""
    return error.errno in FULL and error.filename is None


def is_broken_pipe(error: OSError) -> bool:
    """Whether nobody reads what is written: Windows calls it an invalid argument."""
    unread = sys.platform == "win32" and error.errno == errno.EINVAL and error.filename is None
    return unread or isinstance(error, BrokenPipeError)
