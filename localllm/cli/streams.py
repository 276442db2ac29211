"""Standard input and output, whatever state they are in: closed, full, a pipe that nobody reads, a terminal that cannot
show a character."""

from __future__ import annotations

import errno
import io
import os
import sys

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


def _may_recode(stream: io.TextIOWrapper) -> bool:
    return not (stream.isatty() or os.environ.get("PYTHONIOENCODING"))


def give_up() -> None:
    """What is still buffered for standard output must not be written when Python ends: nobody takes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_outputs(error: OSError) -> bool:
    """Whether an error is that of writing to standard output: it names no file."""
    return error.errno in FULL and error.filename is None


def is_broken_pipe(error: OSError) -> bool:
    """Whether nobody reads what is written: Windows calls it an invalid argument."""
    unread = sys.platform == "win32" and error.errno == errno.EINVAL and error.filename is None
    return unread or isinstance(error, BrokenPipeError)
