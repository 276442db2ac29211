"""Runs functions in forked children, with limits on their time and memory: a fresh `localllm` in 20 ms, not 500.

`contained(function, ...)` asks a server, a process of its own (`python -m tests.contained`) that has imported what the
command line may need and has one thread; it forks a child for each call. Requests and answers are lines of JSON over
pipes. The server starts at the first call and ends with this process.

    outcome = command("show", "bad.gguf")
    outcome.check_clean(names="bad.gguf")
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
IMPORTED = (
    "tests.contained", "numpy", "jinja2.sandbox", "gguf", "llvmlite.binding", "sentencepiece", "asyncio", "uvicorn",
    "http.client", "localllm.cli.main", "localllm.generate.session", "localllm.model.model", "localllm.server.app",
    "localllm.server.listener", "localllm.engine.engine", "localllm.quantize.job", "localllm.text.tokenizer",
    *(f"localllm.cli.{verb}" for verb in (
        "show", "run", "serve", "tokenize", "quantize", "bench", "embed", "perplexity", "calibrate", "list", "chat",
    )),
)  # fmt: skip
"""Before the first fork. llvmlite and NumPy run no threads of their own here (OPENBLAS_NUM_THREADS is 1)."""
MOST_OUTPUT = 1 << 20
"""Bytes of each output that come back; what is more is counted as too much."""
ADDRESS_SPACE = 3 << 30
"""Bytes of address space that a child may ask for: nothing takes the machine's memory before its peak is known."""
CRASHED = 70
"""Exit status of a function that raised."""


def slowness() -> float:
    """How much longer things take now than on a quiet machine: limits on time are multiplied by it."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@dataclass(frozen=True)
class Outcome:
    """What became of a call. `peak_bytes` is the resident memory of the whole child, the imported modules included
    (about 80 MB), as `wait4` tells it."""

    status: int | None
    """Exit status: what the function returned (0 for None); None after a signal."""
    signal: int | None
    """The signal that ended it: SIGKILL where it took too long."""
    hung: bool
    seconds: float
    peak_bytes: int
    stdout: str
    stderr: str
    megabytes: float
    """The limit."""

    @property
    def lines(self) -> list[str]:
        """Of standard error, without empty ones."""
        return [line for line in self.stderr.splitlines() if line.strip()]

    def problem(self, statuses: Sequence[int] = (0, 1, 2), names: str = "") -> str:
        """What is wrong with it, or "": a signal, a hang, too much memory, a traceback, another exit status, or no
        single clear line. names: what the line of an error must name."""
        if self.hung:
            return f"hung: killed after {self.seconds:.1f} s"
        if self.signal is not None:
            return f"ended by {signal.Signals(self.signal).name}"
        if self.peak_bytes > self.megabytes * 1e6:
            return f"took {self.peak_bytes / 1e6:.0f} MB, the limit is {self.megabytes:.0f}"
        for words in ("Traceback (most recent call last)", "localllm: a bug in localllm", "Warning: "):
            if words in self.stderr:
                return f"standard error holds {words!r}"
        if self.status not in statuses:
            return f"exit status {self.status}, expected {statuses}"
        return self._problem_of_line(names) if self.status else ""

    def _problem_of_line(self, names: str) -> str:
        told = [line for line in self.lines if line.startswith("localllm: ")]
        if len(told) != 1 or self.lines[-1] != told[0]:
            return f"not one line of error at the end, but {self.lines[-3:]}"
        if len(told[0]) > 2000 or not told[0].isprintable():
            return f"the line is too long, or steers the terminal: {told[0][:300]!r}"
        return "" if names in told[0] else f"the line does not name {names!r}: {told[0]}"

    def check_clean(self, statuses: Sequence[int] = (0, 1, 2), names: str = "") -> None:
        """Raises AssertionError where there is a problem."""
        problem = self.problem(statuses, names)
        assert not problem, f"{problem}\nstdout: {self.stdout[-500:]!r}\nstderr: {self.stderr[-2000:]}"


def contained(
    function: Callable[..., Any],
    *arguments: Any,
    seconds: float = 2.0,
    megabytes: float = 300,
    stdin: bytes = b"",
    environment: Mapping[str, str | None] | None = None,
    address_space: int = ADDRESS_SPACE,
) -> Outcome:
    """Calls a function of a module, with arguments that JSON can hold, in a fresh child.

    An int that it returns is the exit status. What it raises is printed as a traceback, and the status is 70.
    environment: variables to set, or by None to remove, beside those of this process.
    """
    assert "<" not in function.__qualname__, "the child finds the function by its name"
    request = {
        "module": function.__module__,
        "name": function.__qualname__,
        "arguments": arguments,
        "seconds": seconds * slowness(),
        "stdin": stdin.decode("latin-1"),
        "environment": {**os.environ, **(environment or {})},
        "folder": os.getcwd(),
        "address_space": address_space,
    }
    return Outcome(**_server.ask(request), megabytes=megabytes)


def command(*words: str, **limits: Any) -> Outcome:
    """Runs the command line with these words after `localllm`. limits: those of `contained`."""
    return contained(_main, list(words), **limits)


def _main(words: list[str]) -> int:
    from localllm.cli.main import main

    return main(words)


class _Server:
    """The process that forks, as seen from here."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._turn = threading.Lock()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._turn:
            process = self._running()
            assert process.stdin
            assert process.stdout
            try:
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
                answer = process.stdout.readline()
            except BaseException:  # a half-read answer would be taken for that of the next request
                process.kill()
                raise
            assert answer, "the server that forks has ended"
            found: dict[str, Any] = json.loads(answer)
            return found

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": _python_path()}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.contained"], cwd=ROOT, env=environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            atexit.register(self._end, self._process)
        return self._process

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        with contextlib.suppress(OSError):
            assert process.stdin
            process.stdin.close()
        process.wait()


def _python_path() -> str:
    return os.pathsep.join(path for path in (str(ROOT), os.environ.get("PYTHONPATH", "")) if path)


_server = _Server()


@dataclass(frozen=True)
class _Ended:
    """An Outcome without its limit, as the server sends it."""

    status: int | None
    signal: int | None
    hung: bool
    seconds: float
    peak_bytes: int
    stdout: str
    stderr: str


def _serve() -> None:
    """The server: a child for each line of standard input."""
    for module in IMPORTED:
        importlib.import_module(module)
    threads = os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else ["1"]
    assert len(threads) == threading.active_count() == 1, "a process with threads must not fork"
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        # The limit of the parent's own files and pipes is not the child's: it gets three files and nothing else.
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            stdin.write(request["stdin"].encode("latin-1"))
            stdin.seek(0)
            ended = _forked(request, stdin.fileno(), out.fileno(), err.fileno())
        sys.stdout.write(json.dumps(asdict(ended)) + "\n")
        sys.stdout.flush()


def _forked(request: dict[str, Any], stdin: int, out: int, err: int) -> _Ended:
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        _child(request, stdin, out, err)
    handle = os.pidfd_open(child)
    try:
        hung = not select.select([handle], [], [], request["seconds"])[0]
    finally:
        os.close(handle)
    # The whole session: what the child started goes with it. It may not have begun one yet.
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    seconds = time.monotonic() - start
    by_signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    exit_status = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
    return _Ended(exit_status, by_signal, hung, seconds, usage.ru_maxrss * 1024, _text(out), _text(err))


def _text(file: int) -> str:
    return os.pread(file, MOST_OUTPUT, 0).decode("utf-8", "surrogateescape")


def _child(request: dict[str, Any], stdin: int, out: int, err: int) -> None:
    """In the child; never returns."""
    status = CRASHED
    try:
        os.setsid()
        for number, file in enumerate((stdin, out, err)):
            os.dup2(file, number)
        os.closerange(3, 256)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_AS, (request["address_space"],) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update({name: value for name, value in request["environment"].items() if value is not None})
        function: Any = importlib.import_module(request["module"])
        for name in request["name"].split("."):
            function = getattr(function, name)
        returned = function(*request["arguments"])
        status = returned if isinstance(returned, int) else 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else CRASHED
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status & 0xFF)


if __name__ == "__main__":
    _serve()
