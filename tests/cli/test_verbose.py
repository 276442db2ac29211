"""-v: what was chosen and how long it took, on standard error alone."""

from __future__ import annotations

import re

import pytest

from localllm.cli import verbose
from localllm.cli.verbose import Counted
from tests.generate.test_chat_states import VOCABULARY
from tests.recorded import models

LINE = re.compile(r"\[ +\d+\.\d\d s\] (.*)")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return models.write(
        tmp_path_factory.mktemp("m") / "m.gguf", models.cases()["lfm2"], context_length=600, **VOCABULARY
    )


def told(result):
    """Text before the colon of each line -> the rest."""
    return dict(found[1].partition(": ")[::2] for line in result.err.splitlines() if (found := LINE.fullmatch(line)))


def test_run(call, path):
    quiet = call("run", "-m", path, "--raw", "-p", "!!!", "-n", 3, "--temp", 0)
    result = call("run", "-m", path, "--raw", "-p", "!!!", "-n", 3, "--temp", 0, "-c", 100, "-v")
    assert (result.status, result.out) == (0, quiet.out)
    lines = told(result)
    assert next(iter(lines)).startswith("localllm ")
    assert list(lines)[1:] == ["model", "imports", "loaded", "context", "first token", "done"]
    assert lines["model"].startswith(str(path))
    assert "target " in lines["loaded"]
    assert " threads" in lines["loaded"]
    assert "GB of memory free" in lines["loaded"]
    assert lines["context"].startswith("100 tokens, ")
    assert lines["first token"].startswith("3 tokens read in ")
    assert not told(quiet)


def test_whose_the_model_is(call, path, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine.gguf").write_bytes(path.read_bytes())
    assert ", of localllm, " in told(call("tokenize", "mine", "!!", "--verbose"))["tokenizer"]
    assert ", of " not in told(call("tokenize", path, "!!", "-v"))["tokenizer"]


def test_by_a_variable(call, monkeypatch):
    monkeypatch.setenv("LOCALLLM_VERBOSE", "1")
    assert "done" in told(call("list"))
    monkeypatch.setenv("LOCALLLM_VERBOSE", "0")
    assert call("list").err == ""


def test_kernels_are_counted():
    seen: list[int] = []
    counted = Counted(lambda text, done, total: seen.append(done))
    for done in range(3):
        counted("Compiling kernels", done, 2)
    counted("Reading", 5, 5)
    assert (counted.n_compiled, seen) == (2, [0, 1, 2, 5])


def test_seconds_begin_with_the_process(capsys, monkeypatch):
    monkeypatch.setattr(verbose, "_wanted", True)
    monkeypatch.setattr(verbose, "_BEGUN", 10.0)
    monkeypatch.setattr("time.perf_counter", lambda: 12.5)
    with verbose.timed("it") as found:
        found.append("a")
    assert capsys.readouterr().err == "[   2.50 s] it: a, 0.00 s\n"
