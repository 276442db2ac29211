"""Files that are wrong, or want to do harm: each must end in one clear error, fast, whatever byte is wrong."""

import contextlib
import os
import socket
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localllm.errors import FileError, FormatError, LocalllmError, UnsupportedError
from localllm.gate import header as gate
from localllm.gguf.reader import open_gguf
from tests.gguf import build as b
from tests.malformed.case import Case
from tests.malformed.parser import CASES, deep_array


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile_file_is_refused(case: Case, tmp_path: Path) -> None:
    path = case.write(tmp_path)
    message, seconds = _refused(path)
    for _ in range(2):  # others on the core make it slower, never faster
        if seconds >= 1:
            seconds = _refused(path)[1]
    assert message.startswith(f"{path}: ")
    assert case.words in message
    assert "\n" not in message
    assert len(message) < 700
    assert seconds < 1


def _refused(path: Path) -> tuple[str, float]:
    """With which words, and how much processor time it took."""
    start = time.thread_time()
    with pytest.raises((FormatError, UnsupportedError)) as caught:
        open_gguf(path)
    return str(caught.value), time.thread_time() - start


GOOD = b.gguf(
    [
        b.kv("general.architecture", b.STR, "llama"),
        b.kv("general.alignment", b.U32, 32),
        b.array("tokens", b.STR, ["a", "bc", ""]),
        b.array("scores", b.F32, [0.5, 1.0]),
        deep_array(2),
        b.kv("flag", b.BOOL, 1),
    ],
    [b.tensor("a", (32, 2), 2), b.tensor("b", (3, 1, 2), offset=64)],
    bytes(64 + 24),
)


def read_all(path: Path) -> None:
    with open_gguf(path) as file:
        dict(file.metadata)


def read_or_refuse(path: Path) -> None:
    """Any other exception than ours fails the test."""
    with contextlib.suppress(LocalllmError):
        read_all(path)


def test_truncation_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(GOOD)
    read_all(path)
    for length in range(len(GOOD)):
        path.write_bytes(GOOD[:length])
        with pytest.raises((FormatError, UnsupportedError), match=r"cut\.gguf: "):
            open_gguf(path)


@settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4))
def test_mutated_files_end_in_our_errors_alone(tmp_path: Path, edits: list[tuple[int, bytes]]) -> None:
    content = bytearray(GOOD)
    for at, replacement in edits:
        content[at : at + len(replacement)] = replacement
    path = tmp_path / "mutated.gguf"
    path.write_bytes(content)
    read_or_refuse(path)


def test_every_byte_set_to_ff_and_00(tmp_path: Path) -> None:
    path = tmp_path / "mutated.gguf"
    for at in range(len(GOOD)):
        for value in (0, 0x7F, 0x80, 0xFF):
            path.write_bytes(GOOD[:at] + bytes([value]) + GOOD[at + 1 :])
            read_or_refuse(path)


def test_metadata_has_a_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MAX_METADATA", 1000)
    path = tmp_path / "bad.gguf"
    for content in (
        b.kv("k", b.STR, "x" * 2000),
        b.array("a", b.STR, ["x" * 100] * 20),
        b.array("a", b.U64, [1] * 200),
    ):
        path.write_bytes(b.gguf([content]))
        with pytest.raises(FormatError, match=r"metadata may (take|end)"):
            open_gguf(path)


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    pipe, sock, loop = tmp_path / "pipe", tmp_path / "sock", tmp_path / "loop"
    os.mkfifo(pipe)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(sock))
    loop.symlink_to(loop)
    kinds = {
        tmp_path: "is a directory", pipe: "is a pipe", sock: "is a socket", Path("/dev/zero"): "is a device",
        tmp_path / "none": "cannot be opened: No such file", loop: "cannot be opened", Path("a\0b"): "cannot be opened",
    }  # fmt: skip
    for path, words in kinds.items():
        with pytest.raises(FileError, match=words):
            open_gguf(path)
    server.close()


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.gguf"
    path.write_bytes(GOOD)
    path.chmod(0)
    with pytest.raises(FileError, match="Permission denied"):
        open_gguf(path)
