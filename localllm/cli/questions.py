"""What `localllm run` is asked: a prompt from the command line, a file or standard input, or a file of many."""

from __future__ import annotations

import json
import os
import select
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from localllm.cli.common import note
from localllm.cli.streams import END_KEY
from localllm.errors import FileError, UsageError
from localllm.generate.params import Sampling

_PATIENCE = 1.0
"""Seconds before a silent pipe on standard input is mentioned: one that is never closed would look like a hang."""
STDIN = "-"
"""A file's name that means standard input."""


@dataclass(frozen=True)
class Question:
    """A prompt, or messages where there are some; the rest is what a line of a file sets for itself."""

    prompt: str = ""
    messages: Sequence[Mapping[str, Any]] = ()
    system: str | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """Fields of Sampling."""
    id: Any = None
    """What the line calls itself; it is told with the answer."""


def whole_prompt(prompt: str | None, file: str | None) -> str | None:
    """The prompt, then what the file holds, then what is piped into standard input; None where there is nothing.

    A line's end at the end of a file or of a pipe is no part of the prompt (as llama.cpp reads -f: common/arg.cpp).
    """
    parts = [_checked(prompt or "")]
    if file is not None and file != STDIN:
        parts.append(_without_end(read_text(file, "-f")))
    parts.append(_without_end(all_of_stdin() if file == STDIN else _piped()))
    return "\n\n".join(part for part in parts if part) or None


def _checked(prompt: str) -> str:
    """An argument of the command line; UsageError where its bytes are no UTF-8 (Python makes surrogates of them)."""
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the prompt is not UTF-8 text (character {error.start + 1})") from None
    return prompt


def read_text(path: str, flag: str) -> str:
    """A file as UTF-8 text. Raises FileError."""
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise FileError(f"{flag} {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise FileError(f"{flag} {path}: is not UTF-8 text (byte {error.start})") from None


def _without_end(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _piped() -> str:
    """Text of standard input when it is a pipe, a socket or a file; a terminal and /dev/null are not read."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # closed, or not a real file
        return ""
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)):
        return ""
    is_silent = not stat.S_ISREG(mode) and sys.platform != "win32"  # which waits for sockets alone
    if is_silent and not select.select([sys.stdin], [], [], _PATIENCE)[0]:
        note("Reading standard input until its end (without one, add </dev/null).")
    return all_of_stdin()


def all_of_stdin() -> str:
    """Standard input until its end, as UTF-8 text. Raises UsageError."""
    if sys.stdin.isatty():
        note(f"Reading standard input until its end ({END_KEY}).")
    data = sys.stdin.buffer.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not UTF-8 text: byte {error.start} is 0x{data[error.start]:02x}") from None


def read_questions(path: str) -> dict[int, Question | str]:
    """The questions of a file: number of a line -> what it asks, or what is wrong with it.

    Each line is a prompt; or, where the first one is a JSON object, each is such: {"prompt": ...} or
    {"messages": [...]}, and what it sets for itself. Empty lines are left out. Raises FileError, UsageError: also for
    such an object among plain lines, which would be a prompt.
    """
    text = all_of_stdin() if path == STDIN else read_text(path, "--prompts")
    lines = {n: line.strip("\r") for n, line in enumerate(text.split("\n"), 1) if line.strip()}
    if not lines:
        raise UsageError(f"--prompts {path}: there is no prompt in it")
    as_json = isinstance(_json(next(iter(lines.values()))), dict)
    if as_json:
        return {n: _question(line) for n, line in lines.items()}
    for n, line in lines.items():
        if (
            line.lstrip().startswith("{")
            and isinstance(row := _json(line), dict)
            and row.keys() & {"prompt", "messages"}
        ):
            raise UsageError(f"--prompts {path}: line {n} is a JSON object, the first one is not: all must be, or none")
    return {n: Question(line) for n, line in lines.items()}


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _question(line: str) -> Question | str:
    """A line of JSON, or what is wrong with it."""
    row = _json(line)
    if not isinstance(row, dict):
        return "the line is no JSON object"
    if ("prompt" in row) == ("messages" in row):
        return 'the line must have "prompt" or "messages", and not both'
    for name, value in row.items():
        if name not in _KINDS:
            return f"the line has the unknown field {name!r:.60}; known are {', '.join(_KINDS)}"
        if isinstance(value, bool) or not isinstance(value, _KINDS[name]):
            return f"{name} is {json.dumps(value):.60}: of the wrong type"
    if row.get("messages") == []:
        return "messages is empty"
    stop = row.get("stop", ())
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    if not all(isinstance(one, str) for one in stops):
        return "stop must be a text, or a list of texts"
    if row.get("max_tokens", 0) < 0:
        return f"max_tokens is {row['max_tokens']}: it must be 0 or more"
    sampling = {name: value for name, value in row.items() if name in _SAMPLING}
    given = {name: row.get(name) for name in ("system", "max_tokens", "id")}
    return Question(row.get("prompt", ""), row.get("messages", ()), **given, stop=stops, sampling=sampling)


_SAMPLING: dict[str, Any] = {
    row.name: int if isinstance(row.default, int) else int | float
    for row in fields(Sampling)
    if isinstance(row.default, int | float)
} | {"seed": int}
"""Fields of Sampling that are one number."""
_KINDS: dict[str, Any] = {
    "prompt": str, "messages": list, "system": str, "id": str | int, "max_tokens": int, "stop": str | list, **_SAMPLING,
}  # fmt: skip
"""Field of a line -> its type."""
