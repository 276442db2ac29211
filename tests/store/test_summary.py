"""What a list tells of a file, and how it finds the key of the format."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localllm.gguf.file_types import FILE_TYPES
from localllm.quantize.mixture import MIXTURES
from localllm.store import summary as s
from localllm.store.stored import StoredModel
from tests.gguf import build as b

ARCHITECTURE = b.kv("general.architecture", b.STR, "qwen3")


def model(path: Path) -> StoredModel:
    return StoredModel("m", path, "ollama", (path,), 0)


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    return tmp_path / "sha256-00"


def vocabulary(n_bytes: int) -> bytes:
    return b.array("tokenizer.ggml.tokens", b.STR, ["x" * 1000] * (n_bytes // 1008))


@pytest.mark.parametrize("where", [0, 100_000, s._CHUNK - 1100, s._CHUNK - 400, s._CHUNK, 3 * s._CHUNK])
def test_a_format_behind_the_vocabulary(where: int, blob: Path) -> None:
    for more in range(0, 400, 7 if where == s._CHUNK - 1100 else 400):
        kvs = [ARCHITECTURE, vocabulary(where), b.kv("pad", b.STR, "p" * more), b.kv("general.file_type", b.U32, 15)]
        blob.write_bytes(b.gguf(kvs))
        assert s.summary(model(blob)) == s.Summary("qwen3", "Q4_K_M")


def test_the_format_by_the_name(blob: Path) -> None:
    """Where the beginning does not tell; a number that nobody knows tells nothing."""
    path = blob.with_name("m-IQ4_XS.gguf")
    path.write_bytes(b.gguf([ARCHITECTURE, vocabulary(100_000), b.kv("general.file_type", b.U32, 15)]))
    assert s.summary(model(path)).format == "IQ4_XS"
    path.write_bytes(b.gguf([ARCHITECTURE, b.kv("general.file_type", b.U32, 15)]))
    assert s.summary(model(path)).format == "Q4_K_M"
    blob.write_bytes(b.gguf([ARCHITECTURE, b.kv("general.file_type", b.U32, 999)]))
    assert s.summary(model(blob)) == s.Summary("qwen3", "")
    blob.write_bytes(b.gguf([]) + s._PLACE + b"\7")
    assert s.summary(model(blob)) == s.Summary("", "")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "0 bytes long"),
        (b"<!DOCTYPE html>" + bytes(50), "this looks like a web page"),
        (b"GGUF" + b"\1\0\0\0" + bytes(50), "version: 1"),
        (b"GGUF" + b"\3\0\0\0" + b"\xff" * 16, "n_tensors: "),
        (b.gguf([b.kv("general.architecture", b.U32, 1)]), "general.architecture"),
        (b.gguf([b.kv("general.architecture", b.STR, "x")])[:-4], "may be truncated"),
    ],
)
def test_problems(content: bytes, problem: str, blob: Path) -> None:
    blob.write_bytes(content)
    found = s.summary(model(blob))
    assert problem in found.problem
    assert str(blob) not in found.problem
    assert found.architecture == found.format == ""


def test_no_file(blob: Path) -> None:
    assert s.summary(model(blob)).problem == "No such file or directory"
    os.mkfifo(blob)
    assert s.summary(model(blob)).problem == "is no file"


def test_names_are_those_of_quantize() -> None:
    assert {row.file_type: name for name, row in MIXTURES.items()} == FILE_TYPES
