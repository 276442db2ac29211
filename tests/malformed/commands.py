"""The five doors of the command line by which a model file comes in, and what each must say of a malformed one."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.contained import Outcome, contained, slowness
from tests.malformed.case import Case, Stage

RAW = ("--raw", "-n", "2", "-t", "1", "--no-cache", "--temp", "0", "-c", "64")


@dataclass(frozen=True)
class Door:
    """A command; stage: how far it gets into a file."""

    name: str
    words: Callable[[str], list[str]]
    stage: Stage
    serves: bool = False


COMPILES = "Compiling kernels "
"""What is told where a kernel is not in the cache: once a machine, and outside the limits."""

DOORS = (
    Door("show", lambda path: ["show", path], Stage.PARSER),
    Door("show --tensors", lambda path: ["show", "--tensors", "-o", "json", path], Stage.PARSER),
    Door("tokenize", lambda path: ["tokenize", path, "a b"], Stage.VOCABULARY),
    Door("run", lambda path: ["run", *RAW, path, "a b"], Stage.USE),
    Door("serve", lambda path: ["serve", path, "--port", "0", "-t", "1", "-c", "64", "--no-cache"], Stage.USE, True),
)


def problem_of(case: Case, door: Door, path: Path, outcome: Outcome) -> str:
    """What is wrong with what a command made of a file, or ""."""
    must = case.stage <= door.stage
    may = case.stage <= Stage.USE or case.stage == Stage.ANY
    statuses = (1,) if must else (0, 1) if may else (0,)
    problem = outcome.problem(statuses, names=path.name.partition("-")[0] if case.stage < Stage.USE else "")
    if not problem and must and case.words not in outcome.lines[-1]:
        problem = f"the line does not say {case.words!r}: {outcome.lines[-1]}"
    return f"{door.name}: {problem}" if problem else ""


def seconds_of(case: Case) -> float:
    """That a command may take. What renders a hostile template may take the 2 s that templates have, too."""
    return 4.5 if 78 in case.classes else 2.0


def run(door: Door, path: Path, **limits: Any) -> Outcome:
    """A command in a forked child of a process that has everything imported. What compiled kernels runs again."""
    function = _served if door.serves else _main
    outcome = contained(function, door.words(str(path)), **limits)
    if COMPILES not in outcome.stderr:
        return outcome
    contained(function, door.words(str(path)), seconds=300)
    return contained(function, door.words(str(path)), **limits)


def _main(words: list[str]) -> int:
    from localllm.cli.main import main

    return main(words)


def _served(words: list[str]) -> int:
    """Serves; a server that starts is asked once and ended. Its standard error is read here, and passed on."""
    mine = os.dup(2)
    readable, writable = os.pipe()
    os.dup2(writable, 2)
    os.close(writable)
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    reader = threading.Thread(target=_ask, args=(os.fdopen(readable, encoding="utf-8"), mine, os.getpid()))
    reader.start()
    try:
        return _main(words)
    finally:
        sys.stderr.flush()
        os.dup2(mine, 2)  # the last writing end of the pipe goes
        reader.join()


def _ask(lines: Any, out: int, process: int) -> None:
    for line in lines:
        os.write(out, line.encode())
        if found := re.match(r"http://127\.0\.0\.1:(\d+) serves", line):
            try:
                os.write(out, f"{ask(int(found[1]))}\n".encode())
            finally:
                os.kill(process, signal.SIGTERM)


_ASKED: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "a b"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}]},
}


def ask(port: int) -> str:
    """A completion and a turn of a conversation, of two tokens: the status of each, and the text of an error."""
    told = []
    for path, body in _ASKED.items():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", path, json.dumps(body | {"max_tokens": 2, "temperature": 0}), _JSON)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        told.append(f"answered {answer.status}" + ("" if answer.status == 200 else f": {text[:500]}"))
    return "\n".join(told)


_JSON = {"Content-Type": "application/json"}


def execute(door: Door, path: Path, program: Sequence[str], seconds: float, megabytes: float) -> Outcome:
    """A command as a real process of an installed `localllm`. What compiled kernels runs again."""
    outcome = _execute(door, path, program, seconds, megabytes)
    if COMPILES not in outcome.stderr:
        return outcome
    _execute(door, path, program, 300, megabytes)
    return _execute(door, path, program, seconds, megabytes)


def _execute(door: Door, path: Path, program: Sequence[str], seconds: float, megabytes: float) -> Outcome:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        limit = seconds * slowness()
        start = time.monotonic()
        process = subprocess.Popen(
            [*program, *door.words(str(path))], stdin=subprocess.DEVNULL, stdout=out,
            stderr=subprocess.PIPE if door.serves else err, start_new_session=True,
        )  # fmt: skip
        killer = threading.Timer(limit, _kill, (process.pid,))
        killer.start()
        if process.stderr:
            _ask(_decoded(process.stderr), err.fileno(), process.pid)
            process.stderr.close()
        _, status, usage = os.wait4(process.pid, 0)
        killer.cancel()
        process.returncode = status
        took = time.monotonic() - start
        _kill(process.pid)
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        exit_status = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        peak = usage.ru_maxrss * 1024
        return Outcome(exit_status, number, took > limit, took, peak, _text(out), _text(err), megabytes)


def _decoded(stream: Any) -> Any:
    return (line.decode("utf-8", "surrogateescape") for line in stream)


def _text(file: Any) -> str:
    return os.pread(file.fileno(), 1 << 20, 0).decode("utf-8", "surrogateescape")


def _kill(session: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(session, signal.SIGKILL)
