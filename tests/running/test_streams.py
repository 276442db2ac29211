"""Standard streams that nobody reads, or that are full, for commands that say something."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import tiny

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "list": ["list"], "show": ["show", "{}"], "tokenize": ["tokenize", "{}", "hello"],
    "run": ["run", "{}", "hi", "-n", "9"], "bench": ["bench", "{}", "-p", "8", "-n", "4", "-r", "1"],
    "completion": ["completion", "bash"], "help": ["--help"],
    "config": ["config"], "error": ["show", "/none.gguf"],
}  # fmt: skip
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("streams") / "m.gguf")


def localllm(name, path, **streams):
    line = [sys.executable, "-m", "localllm", *(word.format(path) for word in COMMANDS[name])]
    return subprocess.run(line, cwd=ROOT, stdin=subprocess.DEVNULL, timeout=120, check=False, **streams)


@pytest.fixture
def unread():
    """A pipe whose reader went away."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("name", COMMANDS)
def test_nobody_reads_anything(path, unread, name):
    """Neither output: there is nobody to complain to, and no signal ends it."""
    assert localllm(name, path, stdout=unread, stderr=unread).returncode == 1
    done = localllm(name, path, stdout=subprocess.PIPE, stderr=unread)
    assert done.returncode == (1 if name == "error" else 0)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("name", ["show", "run", "bench"])
def test_standard_output_is_full(path, name):
    with open("/dev/full", "w") as full:
        done = localllm(name, path, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    complaints = [line for line in done.stderr.decode().splitlines() if line.startswith("localllm: ")]
    assert complaints == ["localllm: the output cannot be written: No space left on device"]
