"""Files of OpenAI's batch API (its guide *Batch*): a request a line goes in, an answer a line comes out.

    {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {...}}
    {"id": "batch_req_...", "custom_id": "a", "response": {"status_code": 200, "request_id": ..., "body": {...}},
     "error": null}

What the second file holds is done: the first one's other lines are what is left. A line that is no request gets an
error with its number, and no response.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from localllm.errors import FileError, UsageError
from localllm.store.lock import FAR_BYTE, locked

URLS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
_INVALID = "invalid_line"
_MAX_SHOWN = 60
_BOM = b"\xef\xbb\xbf"
_json = msgspec.json.Encoder().encode


class _Body(msgspec.Struct):
    stream: Any = None


class _Line(msgspec.Struct):
    custom_id: str
    url: str
    body: msgspec.Raw
    method: Literal["POST"] = "POST"


class _Named(msgspec.Struct):
    custom_id: str | None = None


@dataclass(frozen=True)
class Task:
    """A line of the input: `body` as JSON; `error`: why it is no request, "" where it is one."""

    number: int
    custom_id: str | None
    url: str = ""
    body: bytes = b""
    error: str = ""

    @property
    def key(self) -> str | int:
        """What tells whether it is done: the custom_id, or the number of a line that has none."""
        return self.number if self.custom_id is None else self.custom_id


@dataclass(frozen=True)
class Answer:
    """What the server said: `body` as JSON."""

    status: int
    request_id: str
    body: bytes


class Response(msgspec.Struct):
    status_code: int
    request_id: str
    body: msgspec.Raw


class LineError(msgspec.Struct):
    code: str
    message: str
    line: int


class AnswerLine(msgspec.Struct):
    id: str
    custom_id: str | None
    response: Response | None
    error: LineError | None


def read_task(raw: bytes, number: int) -> Task:
    """A line of the input; what is wrong with it is in the task."""
    try:
        line = msgspec.json.decode(raw, type=_Line)
        return Task(number, line.custom_id, line.url, bytes(line.body), _fault(line, number))
    except msgspec.ValidationError as invalid:
        return Task(number, _custom_id(raw), error=f"line {number}: {invalid}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as invalid:
        return Task(number, None, error=f"line {number} is not JSON: {invalid}")


def _fault(line: _Line, number: int) -> str:
    if line.url not in URLS:
        return f"line {number}: url is {line.url[:_MAX_SHOWN]!r}: it must be one of {', '.join(URLS)}"
    if msgspec.json.decode(line.body, type=_Body).stream:
        return f"line {number}: body.stream: answers of a batch come whole"
    return ""


def _custom_id(raw: bytes) -> str | None:
    try:
        return msgspec.json.decode(raw, type=_Named).custom_id
    except (msgspec.DecodeError, RecursionError):
        return None


@dataclass(frozen=True)
class Plan:
    """What is to be done: `total` requests, of which `done` have their answer; `left()` reads the others."""

    path: Path
    total: int
    done: frozenset[str | int]
    n_done: int

    def left(self) -> Iterator[Task]:
        return (task for task in _tasks(self.path) if task.key not in self.done)


def plan(path: Path, done: frozenset[str | int]) -> Plan:
    """Read the input once. Raises FileError; UsageError for a custom_id that two lines have."""
    first: dict[str | int, int] = {}
    n_done = 0
    for task in _tasks(path):
        if task.key in first:
            earlier = first[task.key]
            name = repr(task.custom_id)[:_MAX_SHOWN]
            raise UsageError(f"{path}, line {task.number}: its custom_id {name} is that of line {earlier}, too")
        first[task.key] = task.number
        n_done += task.key in done
    return Plan(path, len(first), done, n_done)


def _tasks(path: Path) -> Iterator[Task]:
    try:
        with open(path, "rb") as file:
            for number, raw in enumerate(file, 1):
                line = raw.removeprefix(_BOM) if number == 1 else raw
                if line.strip():
                    yield read_task(line, number)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from None


@dataclass
class AnswerFile:
    """The output, open for more lines. `done`: keys of the tasks that it held; `torn`: its end was cut off, and is
    gone."""

    path: Path
    fd: int
    done: frozenset[str | int] = field(default_factory=frozenset)
    torn: bool = False

    def write(self, task: Task, answer: Answer | None) -> None:
        """Append a line, whole, for other processes to see. answer: None for a task that is no request."""
        response = error = None
        if answer is None:
            error = LineError(_INVALID, task.error, task.number)
        else:
            response = Response(answer.status, answer.request_id, msgspec.Raw(answer.body))
        line = AnswerLine(f"batch_req_{os.urandom(12).hex()}", task.custom_id, response, error)
        data = memoryview(_json(line) + b"\n")
        try:
            while data:
                data = data[os.write(self.fd, data) :]
        except OSError as failed:
            raise FileError(f"{self.path}: {failed.strerror}") from None


@contextmanager
def open_answers(path: Path) -> Iterator[AnswerFile]:
    """The output, made where it is not there, and mended where a process was killed at its last line. Raises FileError,
    for a file of other lines, too, and UsageError where another process writes it."""

    def taken() -> None:
        raise UsageError(f"{path}: another process is writing it")

    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from None
    try:
        with locked(path, taken, FAR_BYTE):
            yield _opened(path, fd)
    finally:
        os.close(fd)


def _opened(path: Path, fd: int) -> AnswerFile:
    done: set[str | int] = set()
    end, torn, lacks_end = 0, False, False
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                done.add(_key(raw))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                if raw.endswith(b"\n"):
                    raise FileError(f"{path}, line {number}: is no answer of a batch; take another file") from None
                torn = True
                break
            end += len(raw)
            lacks_end = not raw.endswith(b"\n")
    if torn:
        os.ftruncate(fd, end)
    elif lacks_end:
        os.write(fd, b"\n")
    return AnswerFile(path, fd, frozenset(done), torn)


def _key(raw: bytes) -> str | int:
    line = msgspec.json.decode(raw, type=AnswerLine)
    return line.custom_id if line.custom_id is not None else line.error.line if line.error else 0
