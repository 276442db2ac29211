"""Processes in odd surroundings: frozen for a while, without a folder, with names that are no text."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from localllm.kernels import objects
from tests.server import tiny

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="POSIX")]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("surroundings") / "m.gguf")


def line(path, *more):
    return [sys.executable, *more, "-m", "localllm", "run", path, "hi", "-n", "60", "--temp", "0"]


def answer(path, *more, **changed):
    options = {"cwd": ROOT, "env": os.environ | {"PYTHONPATH": str(ROOT)} | changed.pop("env", {})} | changed
    done = subprocess.run(line(path, *more), stdin=subprocess.DEVNULL, capture_output=True, timeout=120, **options)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    return done.stdout


def test_frozen_and_woken(path):
    """At several moments, for as long as any wait within the engine lasts: the answer has the same bits."""
    process = subprocess.Popen(line(path), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    for _ in range(4):
        time.sleep(0.25)
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.2)
        process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=120)[0] == answer(path)
    assert process.returncode == 0


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONOPTIMIZE": "2"}, {"PYTHONWARNINGS": "error"}, {"PYTHONHASHSEED": "7"}, {"PYTHONSAFEPATH": "1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"TMPDIR": "/none"}, {"TERM": "nonsense"},
    ],
    ids=lambda given: next(iter(given)),
)  # fmt: skip
def test_how_python_was_started(path, environment):
    assert answer(path, env=environment) == answer(path)


@pytest.mark.parametrize("name", [b"\xff\x1b[2J.gguf", "ä\nö.gguf".encode(), b"-x.gguf"])
def test_names_that_are_no_text(path, tmp_path, name):
    odd = os.fsencode(tmp_path) + b"/" + name
    os.link(path, odd)
    assert answer(odd) == answer(path)
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "localllm", "show", odd + b"x"], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"\x1b" not in done.stderr
    assert done.stderr.startswith(b"localllm: /")


def test_the_folder_is_gone(path, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["sh", "-c", 'cd "$1" && rmdir "$1" && shift && exec "$@"', "sh", gone, *line(path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == answer(path)


def nowhere(**more):
    """The environment of a user whose folders nobody may write to, not even root."""
    gone = ("LOCALLLM_CACHE", "LOCALLLM_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in gone}
    return kept | {"HOME": "/proc/none", "PYTHONPATH": str(ROOT)} | more


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that root may not write to")
def test_a_home_and_a_folder_that_cannot_be_written_to(path):
    kernels = nowhere(LOCALLLM_CACHE=str(objects.root().parent))
    done = subprocess.run(
        line(path), cwd="/proc", env=kernels, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, b"", answer(path))
    done = subprocess.run(
        [sys.executable, "-m", "localllm", "chat", path, "--keep", "-n", "4", "--no-stats"],
        cwd="/proc", env=kernels, input=b"hi\n", capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr.startswith(b"/proc/none/.local/share/localllm/conversations.db: ")
    assert done.stderr.endswith(b"; this chat is not kept\n")
    done = subprocess.run(
        line(path), env=nowhere(), cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert b"set LOCALLLM_CACHE" in done.stderr


def is_ours(folder):
    """Whether a process of root may have a view of the disks of its own, with nothing in a folder."""
    hide = ["unshare", "-m", "mount", "-t", "tmpfs", "none", folder]
    return shutil.which("unshare") is not None and not subprocess.run(hide, capture_output=True, check=False).returncode


@pytest.mark.parametrize("folder", ["/proc", "/dev/shm", "/sys"])
def test_without_a_folder_of_the_system(path, folder):
    if sys.platform != "linux" or not is_ours(folder):
        pytest.skip("needs Linux, and root")
    hidden = f'mount -t tmpfs -o ro,size=4k none {folder} && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", hidden, "sh", *line(path)], cwd=ROOT, stdin=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == answer(path)
