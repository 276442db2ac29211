"""Bad input: one clear line on stderr, no traceback, exit status 1; in a process of its own, or in this one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.gguf import build

SMOLLM2 = Path.home() / ".cache/localllm-test-models/smollm2-135m-instruct-q4_1.gguf"
VERBS = {
    "run": ("run", "-p", "hi", "-n", "1", "-m"),
    "chat": ("chat", "-m"),
    "bench": ("bench", "-p", "4", "-n", "0", "-r", "1", "-m"),
    "show": ("show",),
    "tokenize": ("tokenize", "--ids"),
}
needs_smollm2 = pytest.mark.skipif(not SMOLLM2.exists(), reason=f"{SMOLLM2} is not here")


def wrong(done, *words, status=1):
    """done: of `command`, or of `call`."""
    found, out, err = (
        (done.returncode, done.stdout, done.stderr)
        if isinstance(done, subprocess.CompletedProcess)
        else (done.status, done.out, done.err)
    )
    assert found == status, err
    assert out == ""
    lines = [line for line in err.splitlines() if not line.startswith("Compiling kernels")]
    assert len(lines) == 1
    assert lines[0].startswith("localllm: ")
    for word in words:
        assert word in err


@pytest.mark.parametrize("verb", VERBS)
class TestFiles:
    def test_no_such_file(self, command, tmp_path, verb):
        wrong(command(*VERBS[verb], tmp_path / "none.gguf"), "none.gguf", "no such file")

    def test_an_unknown_name(self, call, verb):
        wrong(call(*VERBS[verb], "no-such-name"), "no-such-name", "localllm list")

    def test_a_directory(self, call, tmp_path, verb):
        wrong(call(*VERBS[verb], tmp_path), "directory")

    def test_not_a_gguf(self, call, tmp_path, verb):
        (tmp_path / "x.gguf").write_text("This is a text, not a model.")
        wrong(call(*VERBS[verb], tmp_path / "x.gguf"), "x.gguf", "not a GGUF")

    def test_empty(self, call, tmp_path, verb):
        (tmp_path / "x.gguf").write_bytes(b"")
        wrong(call(*VERBS[verb], tmp_path / "x.gguf"), "x.gguf", "0 bytes")

    @needs_smollm2
    def test_truncated(self, call, tmp_path, verb):
        with open(SMOLLM2, "rb") as file:
            (tmp_path / "x.gguf").write_bytes(file.read(SMOLLM2.stat().st_size // 2))
        wrong(call(*VERBS[verb], tmp_path / "x.gguf"), "x.gguf")


@pytest.mark.parametrize("verb", ["run", "chat", "bench"])
class TestMetadata:
    def test_an_unknown_architecture(self, call, tmp_path, verb):
        path = tmp_path / "x.gguf"
        path.write_bytes(build.gguf([build.kv("general.architecture", build.STR, "abacus")]))
        wrong(call(*VERBS[verb], path), "abacus", "llama")

    def test_no_architecture(self, call, tmp_path, verb):
        path = tmp_path / "x.gguf"
        path.write_bytes(build.gguf([build.kv("general.name", build.STR, "x")]))
        wrong(call(*VERBS[verb], path), "general.architecture")


@needs_smollm2
def test_a_prompt_longer_than_the_context(call):
    wrong(call("run", "-m", SMOLLM2, "-p", "word " * 50, "-c", "20"), "holds 20", "-c")


@needs_smollm2
def test_more_memory_than_there_is(call):
    wrong(call("run", "-m", SMOLLM2, "-p", "hi", "-c", 2_000_000_000), "GB", "-c")


def test_a_wrong_flag(call):
    wrong(call("run", "--nonsense"), "--nonsense", status=2)
