"""A model's file changes between two answers of one process, whose input is a pipe: one line that names it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import tiny

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="what is mapped cannot be changed")]


@pytest.fixture
def path(tmp_path):
    return tiny.write(tmp_path / "m.gguf")


def overwrite(path):
    shutil.copyfile(tiny.write(path.with_name("new.gguf"), seed=2), path)
    os.utime(path, ns=(1, 1))


def cut(path):
    os.truncate(path, 100_000)


def rename(path):
    os.replace(tiny.write(path.with_name("new.gguf"), seed=2), path)


def chat(path, change):
    """Status and standard error of a chat of two messages, between which the file is changed."""
    line = [sys.executable, "-m", "localllm", "chat", path, "-n", "8", "-t", "1", "-c", "256"]
    with subprocess.Popen(
        line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write("hi\n")
        process.stdin.flush()
        assert "tokens" in process.stderr.readline()  # of the first answer
        change(path)
        process.stdin.write("more\n")
        process.stdin.close()
        told = process.stderr.read()
        return process.wait(60), told


@pytest.mark.parametrize("change", [overwrite, cut])
def test_a_chat_over_a_pipe_ends(path, change):
    status, told = chat(path, change)
    assert status == 1
    assert told.startswith(f"localllm: {path}: changed while in use (size ")
    assert told.count("\n") == 1


@pytest.mark.parametrize("change", [rename, os.unlink])
def test_what_is_only_gone_from_its_place_goes_on(path, change):
    status, told = chat(path, change)
    assert status == 0
    assert "localllm:" not in told


@pytest.mark.parametrize("change", [overwrite, cut])
def test_each_prompt_that_is_left_says_why(path, change, tmp_path):
    """Answers before the change stand; the exit status tells that some are missing."""
    prompts = tmp_path / "prompts"
    prompts.write_text("one\ntwo\nthree\n")
    line = [sys.executable, "-c", _SLOWLY, path, change.__name__, "run", path, "--prompts", prompts, "-n", "4"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)
    rows = [json.loads(row) for row in done.stdout.splitlines()]
    assert [("text" in row, "error" in row) for row in rows] == [(True, False), (False, True), (False, True)]
    assert all(row["error"].startswith(f"{path}: changed while in use") for row in rows[1:])
    assert done.returncode == 1
    assert done.stderr.endswith("\n2 of 3 prompts have no whole answer: lines 2, 3\n")


_SLOWLY = """
import sys
from pathlib import Path
from localllm.cli import asking, main
from tests.running import test_changed_between
path, change = Path(sys.argv[1]), getattr(test_changed_between, sys.argv[2])
ask, asked = asking.Asker.ask, []
def changed(self, question):
    asked.append(question)
    if len(asked) == 2:
        change(path)
    return ask(self, question)
asking.Asker.ask = changed
sys.exit(main.main(sys.argv[3:]))
"""
"""`localllm` with a file that is changed before the second prompt."""
