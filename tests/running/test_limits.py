"""A few of the limits of `tests.running.limits`, and what says that one was reached."""

from __future__ import annotations

import errno
import sys

import pytest

from localllm.cli import main as cli
from tests.running import limits
from tests.running.limits import Kind

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not hold to RLIMIT_AS")


@pytest.mark.slow
def test_some_limits(tmp_path):
    kinds = (
        Kind("RLIMIT_AS", (60 << 20, 190 << 20, 400 << 20)),
        Kind("RLIMIT_NOFILE", (5,)),
        Kind("RLIMIT_FSIZE", (0,)),
    )
    ends, wrong = limits.run(tmp_path, kinds, ("run",))
    assert not wrong, "\n\n".join(wrong)
    assert ends.total() == 5


@pytest.mark.slow
def test_few_threads(tmp_path):
    """Nothing waits for a thread that could not be started."""
    kinds = (Kind(limits.THREADS, (0, 1, 3)),)
    ends, wrong = limits.run(tmp_path, kinds, tuple(limits.COMMANDS))
    assert not wrong, "\n\n".join(wrong)
    assert ends.total() == 9
    assert all(ends[f"{name} {limits.THREADS} 1"] for name in limits.COMMANDS)


def loader(text):
    """As llvmlite tells that its library could not be mapped."""
    error = OSError("Could not find/load shared object file 'libllvmlite.so'")
    error.__context__ = OSError(text)
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "not enough memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "not enough memory"),
        (ImportError("libx.so: failed to map segment from shared object"), "not enough memory"),
        (loader("libllvmlite.so: failed to map segment from shared object"), "not enough memory"),
        (RuntimeError("can't start new thread"), "no more threads (ulimit -u, or memory)"),
        (OSError(errno.EMFILE, "Too many open files", "x"), "no more files (ulimit -n)"),
        (loader("libllvmlite.so: no such file"), "a bug in localllm"),
        (RuntimeError("something else"), "a bug in localllm"),
    ],
)
def test_what_a_limit_is_called(monkeypatch, capfd, error, words):
    def fail(**given):
        raise error

    monkeypatch.setattr(cli.cli, "main", fail)
    assert cli.main(["list"]) == 1
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert words in told
