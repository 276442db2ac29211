"""Processes under limits: python -m tests.running.limits [--limits 40] [--only run,chat,serve]

Each command runs under so many limits of its address space (RLIMIT_AS), from what Python needs to what all of it needs,
and under a few of open files, sizes of files and threads. It ends well, or with status 1 and one line; never by a
signal.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.server import tiny

ROOT = Path(__file__).parents[2]
LOWEST, HIGHEST = 40 << 20, 900 << 20
COMMANDS = {
    "run": ["run", "{}", "hi", "-n", "8"],
    "chat": ["chat", "{}", "-n", "8"],
    "serve": ["serve", "{}", "--port", "0", "-np", "2", "-c", "256"],
}
LIMIT = 60.0
"""Seconds after which a process hangs."""
FOREIGN = ("OpenBLAS error: Memory allocation still failed", "localllm: ")
"""How a last line begins: OpenBLAS ends a process itself, while NumPy is imported."""


@dataclass(frozen=True)
class Kind:
    """A limit, as `resource` calls it, or THREADS."""

    name: str
    values: Sequence[int]


def spread(n: int) -> Kind:
    """n limits of the address space, each a little larger than the one before."""
    return Kind("RLIMIT_AS", [int(LOWEST * (HIGHEST / LOWEST) ** (i / max(1, n - 1))) for i in range(n)])


THREADS = "threads"
"""See `few_threads`."""
OTHERS = (
    Kind("RLIMIT_NOFILE", (5, 6, 8, 12)), Kind("RLIMIT_FSIZE", (0, 1000, 1 << 16)), Kind(THREADS, range(8)),
)  # fmt: skip


def limited(arguments: Iterable[str], kind: str, value: int) -> tuple[int, str]:
    """Status and standard error of `localllm`; a server is ended once it serves. AssertionError where it hangs."""

    module = ["tests.running.few_threads", str(value)] if kind == THREADS else ["localllm"]

    def limit() -> None:
        if kind == THREADS:
            return
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(getattr(resource, kind), (value, value))

    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", *module, *arguments], cwd=ROOT, preexec_fn=limit,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors,
        )  # fmt: skip
        try:
            assert process.stdin
            with process.stdin as stdin:
                stdin.write(b"hi\n")
        except BrokenPipeError:
            pass
        end, is_told = time.monotonic() + LIMIT, False
        while process.poll() is None:
            said = os.pread(errors.fileno(), 1 << 20, 0).decode(errors="replace")
            if " serves " in said and not is_told:  # a second signal would end it at once
                process.send_signal(signal.SIGTERM)
                is_told = True
            if time.monotonic() > end:
                process.kill()
                process.wait()
                raise AssertionError(f"it hangs: {said}")
            time.sleep(0.02)
        return process.returncode, os.pread(errors.fileno(), 1 << 20, 0).decode(errors="replace")


def check(arguments: Sequence[str], kind: str, value: int) -> int:
    """The status. AssertionError for anything but success, or one line."""
    status, text = limited(arguments, kind, value)
    told = f"{' '.join(arguments)} under {kind} {value}: status {status}\n{text[-2000:]}"
    if "OpenBLAS blas_thread_init" in text:  # it sends SIGINT where it can start no thread, while NumPy is imported
        return status
    assert status in (0, 1), told
    assert "Traceback" not in text, told
    assert "a bug in localllm" not in text, told
    assert sum(line.startswith("localllm: ") for line in text.splitlines()) <= 1, told
    if status and kind != "RLIMIT_FSIZE":  # which also holds for the file that standard error is
        assert text.strip().splitlines()[-1].startswith(FOREIGN), told
    return status


def run(
    folder: Path, kinds: Sequence[Kind], names: Sequence[str], say: Callable[[str], None] = lambda text: None
) -> tuple[Counter[str], list[str]]:
    """How they ended, and what was wrong."""
    path, ends, wrong = tiny.write(folder / "m.gguf"), Counter[str](), []
    for name in names:
        for kind in kinds:
            for value in kind.values:
                try:
                    status = check([a.format(path) for a in COMMANDS[name]], kind.name, value)
                    ends[f"{name} {kind.name} {status}"] += 1
                except AssertionError as error:
                    wrong.append(str(error))
                    say(f"WRONG {error}")
    return ends, wrong


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--limits", type=int, default=40)
    options.add_argument("--only", default=",".join(COMMANDS))
    given = options.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        kinds = (spread(given.limits), *OTHERS)
        ends, wrong = run(Path(folder), kinds, given.only.split(","), lambda text: print(text, flush=True))
    for name, n in sorted(ends.items()):
        print(f"{n:5} {name}")
    print(f"{ends.total() + len(wrong)} limits, {len(wrong)} wrong, {time.monotonic() - begun:.0f} s")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
