"""Files that the parser must refuse: header, keys, arrays, alignment, tensor directory, offsets."""

from __future__ import annotations

from tests.gguf import build as b
from tests.malformed.case import Case

HUGE = 2**63
K = b.kv("k", b.U8, 1)
ZERO = bytes(128)


def deep_array(depth: int) -> bytes:
    return b.string("n") + b.pack("I", b.ARR) + b.pack("IQ", b.ARR, 1) * depth + b.pack("IQ", b.U8, 0)


def wide_array(count: int) -> bytes:
    return b.string("n") + b.pack("IIQ", b.ARR, b.ARR, count) + b.pack("IQ", b.U8, 0) * count


def tensors(*rows: bytes, data: bytes = ZERO, kvs: list[bytes] | None = None) -> bytes:
    return b.gguf(kvs, list(rows), data)


CASES = [
    # header
    Case("empty", (1,), b"", "0 bytes long"),
    Case("short", (2,), b"GGUF\3\0\0\0", "8 bytes long"),
    Case("magic", (3,), b.gguf(magic=b"GGUX"), "not a GGUF file: it starts with b'GGUX'"),
    Case("ggml of 2023", (3,), b.gguf(magic=b"tjgg"), "GGML file of 2023"),
    Case(
        "safetensors",
        (3,),
        b.pack("Q", 61) + b'{"t":{"dtype":"F32"}}'.ljust(61),
        "safetensors file: `localllm quantize FOLDER",
    ),
    Case("web page", (3,), b"<!DOCTYPE html><html></html>", "web page"),
    Case("lfs pointer", (3,), b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
    Case("short zip", (2, 3), b"PK\3\4", "zip archive"),
    Case("version 0", (4,), b.gguf(version=0), "version: 0; 2 and 3 are read"),
    Case("version 1", (5,), b.gguf(version=1), "version: 1"),
    Case("version 4", (6,), b.gguf(version=4), "version: 4; 2 and 3 are read"),
    Case("version huge", (6,), b.gguf(version=2**32 - 1), "version: 4294967295"),
    Case("big-endian", (7,), b.gguf(version=3 << 24), "big-endian"),
    Case(
        "n_tensors 2^63",
        (8,),
        b.gguf(n_tensors=HUGE),
        "n_tensors: 9223372036854775808, the limit is 131072 (byte offset 8)",
    ),
    Case("n_tensors -1", (8,), b.gguf(n_tensors=2**64 - 1), "n_tensors: 18446744073709551615"),
    Case("n_kv 2^63", (9,), b.gguf(n_kv=HUGE), "n_kv: 9223372036854775808, the limit is 65536 (byte offset 16)"),
    Case("n_kv -1", (9,), b.gguf(n_kv=2**64 - 1), "n_kv: 18446744073709551615"),
    Case("counts that do not fit", (10,), b.gguf(n_kv=1000), "1000 keys take 14000 bytes or more, 0 are left"),
    Case("tensors that do not fit", (10,), b.gguf(n_tensors=100, data=ZERO), "100 tensors"),
    # key and value
    Case("key length 2^63", (11,), b.gguf([b.pack("Q", HUGE) + bytes(64)]), "key 0: length 9223372036854775808"),
    Case(
        "key length over the file",
        (11, 19),
        b.gguf([b.pack("Q", 60_000) + bytes(64)]),
        "key 0: needs 60000 bytes, the file has 64 left",
    ),
    Case("key over the limit", (11,), b.gguf([b.kv("x" * 65536, b.U8, 1)]), "the limit is 65535 bytes"),
    Case("key empty", (12,), b.gguf([b.kv("", b.U32, 1)]), "key 0: '' is no name"),
    Case("key with NUL", (13,), b.gguf([b.kv("a\0b", b.U8, 1)]), "is no name"),
    Case("key that steers the terminal", (13,), b.gguf([b.kv("a\x1b[2Jb", b.U8, 1)]), "'a\\x1b[2Jb' is no name"),
    Case("key not UTF-8", (13,), b.gguf([K, b.kv(b"a\xff", b.U8, 1)]), "key 1: not UTF-8"),
    Case("value type 13", (14,), b.gguf([b.string("k") + b.pack("I", 13) + bytes(8)]), "k: value type 13 is unknown"),
    Case(
        "value type -1", (14,), b.gguf([b.string("k") + b.pack("I", 2**32 - 1) + bytes(8)]), "k: value type 4294967295"
    ),
    Case("key twice", (15,), b.gguf([K, K]), "key 1: 'k' occurs twice"),
    Case(
        "string over the file",
        (16,),
        b.gguf([b.string("k") + b.pack("IQ", b.STR, 100)]),
        "k: needs 100 bytes, the file has 0 left",
    ),
    Case(
        "string of 2^64-1",
        (16,),
        b.gguf([b.string("k") + b.pack("IQ", b.STR, 2**64 - 1)]),
        "k: needs 18446744073709551615 bytes",
    ),
    Case("string not UTF-8", (13,), b.gguf([b.kv("k", b.STR, b"ab\xff")]), "k: not UTF-8"),
    Case("bool 2", (17,), b.gguf([b.kv("k", b.BOOL, 2)]), "k: bool is 2, must be 0 or 1"),
    Case(
        "value cut",
        (19,),
        b.gguf([K, b.string("key2") + b.pack("IH", b.U64, 0)]),
        "key2: needs 8 bytes, the file has 2 left",
    ),
    # arrays
    Case("array of 2^63", (20,), b.gguf([b.array("a", b.U8, [], HUGE)]), "a: 9223372036854775808 array elements"),
    Case(
        "array over the file",
        (21,),
        b.gguf([b.array("a", b.U32, [1], 1000)]),
        "a (1000 elements of type u32): needs 4000 bytes",
    ),
    Case(
        "strings over the file",
        (21,),
        b.gguf([b.array("a", b.STR, ["x"], 2)]),
        "a (2 elements of type str): needs 16 bytes",
    ),
    Case("strings whose count lies", (21,), b.gguf([b.array("a", b.STR, ["x" * 64], 5)]), "a, element"),
    Case(
        "a string in an array of 2^64-1",
        (16, 21),
        b.gguf([b.array("a", b.STR, ["x"]) + b.pack("Q", 2**64 - 1)])[:-17] + b.pack("Q", 2**64 - 1) + b"xxxxxxxxx",
        "a, element 0: its string reaches byte",
    ),
    Case("arrays 100,000 deep", (22,), b.gguf([deep_array(100_000)]), "n: arrays nested deeper than 4"),
    Case("arrays 20,000 wide", (22,), b.gguf([wide_array(20_000)]), "n: more than 16384 arrays"),
    Case("array of type 13", (23,), b.gguf([b.string("a") + b.pack("IIQ", b.ARR, 13, 0)]), "a: array element type 13"),
    Case("array of bool 2", (17,), b.gguf([b.array("a", b.BOOL, [1, 2])]), "a: an array of bool holds other bytes"),
    Case(
        "nested array over the file",
        (21, 22),
        b.gguf([b.array("a", b.ARR, [], 9)]),
        "a (9 elements of type arr): needs 108",
    ),
    # alignment
    Case(
        "alignment 0",
        (26,),
        b.gguf([b.kv("general.alignment", b.U32, 0)]),
        "general.alignment: is 0, must be a power of two",
    ),
    Case("alignment 48", (27,), b.gguf([b.kv("general.alignment", b.U32, 48)]), "general.alignment: is 48"),
    Case("alignment 1", (27,), b.gguf([b.kv("general.alignment", b.U32, 1)]), "from 8 to 1048576"),
    Case(
        "alignment 2^31", (29,), b.gguf([b.kv("general.alignment", b.U32, 2**31)]), "general.alignment: is 2147483648"
    ),
    Case("alignment as u64", (28,), b.gguf([b.kv("general.alignment", b.U64, 32)]), "is of type u64, must be u32"),
    Case("alignment as string", (28,), b.gguf([b.kv("general.alignment", b.STR, "32")]), "is of type str, must be u32"),
    Case(
        "padding past the end",
        (30,),
        tensors(b.tensor(), data=b"", kvs=[b.kv("general.alignment", b.U32, 2**20)]),
        "tensor t: data ends at byte 1048704",
    ),
    # tensor directory
    Case("name of 64", (31,), tensors(b.tensor("x" * 64)), "name of tensor 0: length 64, the limit is 63 bytes"),
    Case("name of 2^63", (31,), tensors(b.pack("Q", HUGE) + bytes(64)), "name of tensor 0: length 9223372036854775808"),
    Case("name empty", (32,), tensors(b.tensor("") + b"\0"), "name of tensor 0: '' is no name"),
    Case("name with NUL", (32,), tensors(b.tensor("a\0")), "is no name"),
    Case("name not UTF-8", (32,), tensors(b.tensor(b"\xc3\x28")), "name of tensor 0: not UTF-8"),
    Case(
        "name twice",
        (33,),
        tensors(b.tensor(), b.tensor(offset=128), data=bytes(256)),
        "tensor 1: the name 't' occurs twice",
    ),
    Case("0 dimensions", (34,), tensors(b.tensor(shape=(), n_dims=0)), "tensor t: 0 dimensions, must be 1 to 4"),
    Case("5 dimensions", (34,), tensors(b.tensor(shape=(1,) * 5)), "tensor t: 5 dimensions"),
    Case("2^32-1 dimensions", (34,), tensors(b.tensor(n_dims=2**32 - 1)), "tensor t: 4294967295 dimensions"),
    Case(
        "dimension 0",
        (35,),
        tensors(b.tensor(shape=(32, 0))),
        "tensor t: shape [32, 0]: every dimension must be 1 or more",
    ),
    Case("dimension -1", (36,), tensors(b.tensor(shape=(32, -1))), "tensor t: shape [32, -1]"),
    Case(
        "elements wrap at 2^64",
        (37,),
        tensors(b.tensor(shape=(2**32, 2**32))),
        "tensor t: data ends at byte 737869762948382",
    ),
    Case("elements wrap to few", (37,), tensors(b.tensor(shape=(2**62, 4, 2**62, 4))), "tensor t: data ends at"),
    Case("bytes wrap at 2^64", (38,), tensors(b.tensor(shape=(2**62, 1))), "tensor t: data ends at"),
    Case(
        "sum wraps",
        (40,),
        tensors(b.tensor("a", (2**60,)), b.tensor("b", (2**62,), offset=2**62), data=ZERO),
        "tensor a: data ends at",
    ),
    Case(
        "type -1",
        (41,),
        tensors(b.tensor(kind=2**32 - 1)),
        "tensor t: type 4294967295 is unknown; known are F32, F16, Q4_0",
    ),
    Case("type 1000", (41,), tensors(b.tensor(kind=1000)), "tensor t: type 1000 is unknown"),
    Case(
        "type removed",
        (42,),
        tensors(b.tensor(kind=31)),
        "tensor t: type 31 is Q4_0_4_4 (removed in 2024): use the Q4_0 file",
    ),
    Case("type removed in 2023", (42,), tensors(b.tensor(kind=4)), "tensor t: type 4 is Q4_2"),
    Case(
        "row no whole blocks",
        (43,),
        tensors(b.tensor(shape=(48,), kind=2)),
        "rows of 48 elements are no whole blocks of 32 (Q4_0)",
    ),
    Case("K row no whole blocks", (43,), tensors(b.tensor(shape=(32, 8), kind=12)), "no whole blocks of 256 (Q4_K)"),
    # offsets and data
    Case("offset unaligned", (44,), tensors(b.tensor(offset=1)), "tensor t: data offset 1, must be 0"),
    Case("offset 2^64-1", (39, 44), tensors(b.tensor(offset=2**64 - 1)), "tensor t: data offset 18446744073709551615"),
    Case(
        "first offset past the start",
        (46,),
        tensors(b.tensor(offset=32), data=bytes(256)),
        "tensor t: data offset 32, must be 0",
    ),
    Case(
        "overlap",
        (45,),
        tensors(b.tensor("a"), b.tensor("b", offset=96), data=bytes(256)),
        "tensor b: data offset 96, must be 128",
    ),
    Case(
        "same data twice",
        (45,),
        tensors(b.tensor("a"), b.tensor("b"), data=bytes(256)),
        "tensor b: data offset 0, must be 128",
    ),
    Case(
        "gap",
        (46,),
        tensors(b.tensor("a"), b.tensor("b", offset=160), data=bytes(512)),
        "tensor b: data offset 160, must be 128",
    ),
    Case(
        "out of order",
        (46,),
        tensors(b.tensor("a", offset=128), b.tensor("b"), data=bytes(256)),
        "tensor a: data offset 128",
    ),
    Case("end past the file", (47,), tensors(b.tensor(shape=(32, 2))), "tensor t: data ends at byte"),
    Case("one byte short", (48,), tensors(b.tensor(), data=bytes(127)), "the file at"),
    Case(
        "second one byte short",
        (48,),
        tensors(b.tensor("a"), b.tensor("b", offset=128), data=bytes(255)),
        "tensor b: data ends",
    ),
]
