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

HUGE = 2**63
K = b.kv("k", b.U8, 1)
ZERO = bytes(128)


def deep_array(depth: int) -> bytes:
    return b.string("n") + b.pack("I", b.ARR) + b.pack("IQ", b.ARR, 1) * depth + b.pack("IQ", b.U8, 0)


def wide_array(count: int) -> bytes:
    return b.string("n") + b.pack("IIQ", b.ARR, b.ARR, count) + b.pack("IQ", b.U8, 0) * count


def tensors(*rows: bytes, data: bytes = ZERO, kvs: list[bytes] | None = None) -> bytes:
    return b.gguf(kvs, list(rows), data)


# name: (content, words the message must hold). Numbers in comments are the classes of malformed files they cover.
CASES: dict[str, tuple[bytes, str]] = {
    # header
    "empty": (b"", "0 bytes long"),
    "short": (b"GGUF\3\0\0\0", "8 bytes long"),
    "magic": (b.gguf(magic=b"GGUX"), "not a GGUF file: it starts with b'GGUX'"),
    "ggml of 2023": (b.gguf(magic=b"tjgg"), "GGML file of 2023"),
    "safetensors": (
        b.pack("Q", 61) + b'{"t":{"dtype":"F32"}}'.ljust(61),
        "safetensors file: `localllm quantize FOLDER",
    ),
    "web page": (b"<!DOCTYPE html><html></html>", "web page"),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
    "short zip": (b"PK\3\4", "zip archive"),
    "version 0": (b.gguf(version=0), "version: 0; 2 and 3 are read"),
    "version 1": (b.gguf(version=1), "version: 1"),
    "version 4": (b.gguf(version=4), "version: 4; 2 and 3 are read"),
    "version huge": (b.gguf(version=2**32 - 1), "version: 4294967295"),
    "big-endian": (b.gguf(version=3 << 24), "big-endian"),
    "n_tensors 2^63": (b.gguf(n_tensors=HUGE), "n_tensors: 9223372036854775808, the limit is 131072 (byte offset 8)"),
    "n_tensors -1": (b.gguf(n_tensors=2**64 - 1), "n_tensors: 18446744073709551615"),
    "n_kv 2^63": (b.gguf(n_kv=HUGE), "n_kv: 9223372036854775808, the limit is 65536 (byte offset 16)"),
    "n_kv -1": (b.gguf(n_kv=2**64 - 1), "n_kv: 18446744073709551615"),
    "counts that do not fit": (b.gguf(n_kv=1000), "1000 keys take 14000 bytes or more, 0 are left"),
    "tensors that do not fit": (b.gguf(n_tensors=100, data=ZERO), "100 tensors"),
    # key and value
    "key length 2^63": (b.gguf([b.pack("Q", HUGE) + bytes(64)]), "key 0: length 9223372036854775808"),
    "key length over the file": (
        b.gguf([b.pack("Q", 60_000) + bytes(64)]),
        "key 0: needs 60000 bytes, the file has 64 left",
    ),
    "key over the limit": (b.gguf([b.kv("x" * 65536, b.U8, 1)]), "the limit is 65535 bytes"),
    "key empty": (b.gguf([b.kv("", b.U32, 1)]), "key 0: '' is no name"),
    "key with NUL": (b.gguf([b.kv("a\0b", b.U8, 1)]), "is no name"),
    "key that steers the terminal": (b.gguf([b.kv("a\x1b[2Jb", b.U8, 1)]), "'a\\x1b[2Jb' is no name"),
    "key not UTF-8": (b.gguf([K, b.kv(b"a\xff", b.U8, 1)]), "key 1: not UTF-8"),
    "value type 13": (b.gguf([b.string("k") + b.pack("I", 13) + bytes(8)]), "k: value type 13 is unknown"),
    "value type -1": (b.gguf([b.string("k") + b.pack("I", 2**32 - 1) + bytes(8)]), "k: value type 4294967295"),
    "key twice": (b.gguf([K, K]), "key 1: 'k' occurs twice"),
    "string over the file": (
        b.gguf([b.string("k") + b.pack("IQ", b.STR, 100)]),
        "k: needs 100 bytes, the file has 0 left",
    ),
    "string of 2^64-1": (
        b.gguf([b.string("k") + b.pack("IQ", b.STR, 2**64 - 1)]),
        "k: needs 18446744073709551615 bytes",
    ),
    "string not UTF-8": (b.gguf([b.kv("k", b.STR, b"ab\xff")]), "k: not UTF-8"),
    "bool 2": (b.gguf([b.kv("k", b.BOOL, 2)]), "k: bool is 2, must be 0 or 1"),
    "value cut": (b.gguf([K, b.string("key2") + b.pack("IH", b.U64, 0)]), "key2: needs 8 bytes, the file has 2 left"),
    # arrays
    "array of 2^63": (b.gguf([b.array("a", b.U8, [], HUGE)]), "a: 9223372036854775808 array elements"),
    "array over the file": (
        b.gguf([b.array("a", b.U32, [1], 1000)]),
        "a (1000 elements of type u32): needs 4000 bytes",
    ),
    "strings over the file": (b.gguf([b.array("a", b.STR, ["x"], 2)]), "a (2 elements of type str): needs 16 bytes"),
    "strings whose count lies": (b.gguf([b.array("a", b.STR, ["x" * 64], 5)]), "a, element"),
    "a string in an array of 2^64-1": (
        b.gguf([b.array("a", b.STR, ["x"]) + b.pack("Q", 2**64 - 1)])[:-17] + b.pack("Q", 2**64 - 1) + b"xxxxxxxxx",
        "a, element 0: its string reaches byte",
    ),
    "arrays 100,000 deep": (b.gguf([deep_array(100_000)]), "n: arrays nested deeper than 4"),
    "arrays 20,000 wide": (b.gguf([wide_array(20_000)]), "n: more than 16384 arrays"),
    "array of type 13": (b.gguf([b.string("a") + b.pack("IIQ", b.ARR, 13, 0)]), "a: array element type 13"),
    "array of bool 2": (b.gguf([b.array("a", b.BOOL, [1, 2])]), "a: an array of bool holds other bytes"),
    "nested array over the file": (b.gguf([b.array("a", b.ARR, [], 9)]), "a (9 elements of type arr): needs 108"),
    # alignment
    "alignment 0": (b.gguf([b.kv("general.alignment", b.U32, 0)]), "general.alignment: is 0, must be a power of two"),
    "alignment 48": (b.gguf([b.kv("general.alignment", b.U32, 48)]), "general.alignment: is 48"),
    "alignment 1": (b.gguf([b.kv("general.alignment", b.U32, 1)]), "from 8 to 1048576"),
    "alignment 2^31": (b.gguf([b.kv("general.alignment", b.U32, 2**31)]), "general.alignment: is 2147483648"),
    "alignment as u64": (b.gguf([b.kv("general.alignment", b.U64, 32)]), "is of type u64, must be u32"),
    "alignment as string": (b.gguf([b.kv("general.alignment", b.STR, "32")]), "is of type str, must be u32"),
    "padding past the end": (
        tensors(b.tensor(), data=b"", kvs=[b.kv("general.alignment", b.U32, 2**20)]),
        "tensor t: data ends at byte 1048704",
    ),
    # tensor directory
    "name of 64": (tensors(b.tensor("x" * 64)), "name of tensor 0: length 64, the limit is 63 bytes"),
    "name of 2^63": (tensors(b.pack("Q", HUGE) + bytes(64)), "name of tensor 0: length 9223372036854775808"),
    "name empty": (tensors(b.tensor("") + b"\0"), "name of tensor 0: '' is no name"),
    "name with NUL": (tensors(b.tensor("a\0")), "is no name"),
    "name not UTF-8": (tensors(b.tensor(b"\xc3\x28")), "name of tensor 0: not UTF-8"),
    "name twice": (tensors(b.tensor(), b.tensor(offset=128), data=bytes(256)), "tensor 1: the name 't' occurs twice"),
    "0 dimensions": (tensors(b.tensor(shape=(), n_dims=0)), "tensor t: 0 dimensions, must be 1 to 4"),
    "5 dimensions": (tensors(b.tensor(shape=(1,) * 5)), "tensor t: 5 dimensions"),
    "2^32-1 dimensions": (tensors(b.tensor(n_dims=2**32 - 1)), "tensor t: 4294967295 dimensions"),
    "dimension 0": (tensors(b.tensor(shape=(32, 0))), "tensor t: shape [32, 0]: every dimension must be 1 or more"),
    "dimension -1": (tensors(b.tensor(shape=(32, -1))), "tensor t: shape [32, -1]"),
    "elements wrap at 2^64": (tensors(b.tensor(shape=(2**32, 2**32))), "tensor t: data ends at byte 737869762948382"),
    "elements wrap to few": (tensors(b.tensor(shape=(2**62, 4, 2**62, 4))), "tensor t: data ends at"),
    "bytes wrap at 2^64": (tensors(b.tensor(shape=(2**62, 1))), "tensor t: data ends at"),
    "sum wraps": (
        tensors(b.tensor("a", (2**60,)), b.tensor("b", (2**62,), offset=2**62), data=ZERO),
        "tensor a: data ends at",
    ),
    "type -1": (tensors(b.tensor(kind=2**32 - 1)), "tensor t: type 4294967295 is unknown; known are F32, F16, Q4_0"),
    "type 1000": (tensors(b.tensor(kind=1000)), "tensor t: type 1000 is unknown"),
    "type removed": (tensors(b.tensor(kind=31)), "tensor t: type 31 is Q4_0_4_4 (removed in 2024): use the Q4_0 file"),
    "type removed in 2023": (tensors(b.tensor(kind=4)), "tensor t: type 4 is Q4_2"),
    "row no whole blocks": (
        tensors(b.tensor(shape=(48,), kind=2)),
        "rows of 48 elements are no whole blocks of 32 (Q4_0)",
    ),
    "K row no whole blocks": (tensors(b.tensor(shape=(32, 8), kind=12)), "no whole blocks of 256 (Q4_K)"),
    # offsets and data
    "offset unaligned": (tensors(b.tensor(offset=1)), "tensor t: data offset 1, must be 0"),
    "offset 2^64-1": (tensors(b.tensor(offset=2**64 - 1)), "tensor t: data offset 18446744073709551615"),
    "first offset past the start": (
        tensors(b.tensor(offset=32), data=bytes(256)),
        "tensor t: data offset 32, must be 0",
    ),
    "overlap": (
        tensors(b.tensor("a"), b.tensor("b", offset=96), data=bytes(256)),
        "tensor b: data offset 96, must be 128",
    ),
    "same data twice": (tensors(b.tensor("a"), b.tensor("b"), data=bytes(256)), "tensor b: data offset 0, must be 128"),
    "gap": (
        tensors(b.tensor("a"), b.tensor("b", offset=160), data=bytes(512)),
        "tensor b: data offset 160, must be 128",
    ),
    "out of order": (tensors(b.tensor("a", offset=128), b.tensor("b"), data=bytes(256)), "tensor a: data offset 128"),
    "end past the file": (tensors(b.tensor(shape=(32, 2))), "tensor t: data ends at byte"),
    "one byte short": (tensors(b.tensor(), data=bytes(127)), "the file at"),
    "second one byte short": (
        tensors(b.tensor("a"), b.tensor("b", offset=128), data=bytes(255)),
        "tensor b: data ends",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_hostile_file_is_refused(name: str, tmp_path: Path) -> None:
    content, words = CASES[name]
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    start = time.thread_time()
    with pytest.raises((FormatError, UnsupportedError)) as caught:
        open_gguf(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert words in message
    assert "\n" not in message
    assert len(message) < 700
    assert time.thread_time() - start < 1


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
