"""Cases of localllm/gate/header.py."""

from localllm.gate import header
from localllm.gguf.values import TYPE_NAMES
from tests.gate.cases import Cases, K, P

W = P._replace(field="", offset=None)
CAP = header.MAX_METADATA
CASES = {
    "header.file_length": Cases(
        [((W, 24, b""), 24), ((W, 900, b""), 900)],
        [
            ((W, 23, b""), "m.gguf: 23 bytes long; a GGUF header has 24"),
            ((W, 0, b""), "0 bytes long"),
            ((W, 20, b"PK\3\4"), "this looks like a zip archive"),
            ((W, 20, b'\x10\0\0\0\0\0\0\0{"'), "this looks like a safetensors file"),
        ],
    ),
    "header.magic": Cases(
        [((W, b"GGUF\3"), b"GGUF\3")],
        [
            ((W, b"GGUX"), "m.gguf: not a GGUF file: it starts with b'GGUX', must be b'GGUF'"),
            ((W, b"gguf"), "b'gguf'"),
            ((W, b"<!DOCTYPE"), "a web page"),
            ((W, b"\n <html>"), "a web page"),
            ((W, b'{"error": '), "a server's answer"),
            ((W, b"<?xml vers"), "a server's answer"),
            ((W, b"\x1f\x8b\x08\0"), "gzip"),
            ((W, b"FUGG\0\0\0\3"), "a big-endian file"),
            ((W, b'12345678{"'), "safetensors"),
            ((W, b'12345678{"__m'), "safetensors"),
            ((W, b"GGUXYZ"), "it starts with b'GGUX', must be"),
        ],
    ),
    "header.version": Cases(
        [((P, 2), 2), ((P, 3), 3)],
        [
            ((P, 0), "field: 0; 2 and 3 are read (byte offset 8)"),
            ((P, 1), "convert the model again"),
            ((P, 4), "4; 2 and 3 are read"),
            ((P, 1 << 16), "big-endian"),
            ((P, (1 << 16) + 1), "65537; 2 and 3"),
            ((P, 3 << 24), "big-endian"),
        ],
    ),
    "header.n_tensors": Cases(
        [((P, 0), 0), ((P, 1 << 17), 1 << 17)], [((P, (1 << 17) + 1), "131073, the limit is 131072")]
    ),
    "header.n_kv": Cases([((P, 0), 0), ((P, 1 << 16), 1 << 16)], [((P, (1 << 16) + 1), "65537, the limit is 65536")]),
    "header.counts": Cases(
        [((P, 0, 0, 0), 0), ((P, 2, 3, 66 + 42), 108), ((P, 0, 1, 900), 14)],
        [
            ((P, 2, 3, 107), "2 tensors and 3 keys take 108 bytes or more, 107 are left"),
            ((P, 0, 1, 13), "take 14 bytes"),
        ],
    ),
    "header.room": Cases(
        [((P, 8, 8, False), 8), ((P, 8, 8, True), 8), ((P, 1, 8, False), 1)],
        [
            ((P, 9, 8, False), "needs 9 bytes, the file has 8 left; it may be truncated"),
            ((P, 9, 8, True), f"needs 9 bytes, metadata may take {1 << 27} in all, 8 are left"),
            ((P, 1, -1, False), "the file has -1 left"),
        ],
    ),
    "header.key_length": Cases(
        [((P, 65535), 65535), ((P, 1), 1)], [((P, 65536), "length 65536, the limit is 65535 bytes (byte offset 8)")]
    ),
    "header.utf8": Cases(
        [((P, "é".encode()), "é"), ((P, b""), "")],
        [
            ((P, b"ab\xff"), "not UTF-8: b'ab\\xff' (byte offset 10)"),
            ((P, b"abcdefgh\xff"), "(byte offset 16)"),
            ((K, b"\x80" * 40), "not UTF-8: b'" + "\\x80" * 32 + "'"),
        ],
    ),
    "header.name": Cases(
        [((P, "blk.0.attn_q.weight"), "blk.0.attn_q.weight"), ((P, "a b"), "a b")],
        [
            ((P, ""), "'' is no name"),
            ((P, "a\0"), "'a\\x00' is no name"),
            ((P, "\x1b[2J"), "is no name"),
            ((P, "\n" * 70), "field: '" + "\\n" * 64 + "' is no"),
        ],
    ),
    "header.new_key": Cases(
        [((P, "a", {"b": 1}), "a")],
        [
            ((P, "a", {"a": 1}), "'a' occurs twice"),
            ((P, "k" * 900, {"k" * 900: 1}), ": '" + "k" * 64 + "' occurs twice"),
        ],
    ),
    "header.value_type": Cases(
        [((P, 0, TYPE_NAMES), 0), ((P, 12, TYPE_NAMES), 12)], [((P, 13, TYPE_NAMES), "value type 13 is unknown")]
    ),
    "header.bool_value": Cases(
        [((P, 0), False), ((P, 1), True)], [((P, 2), "bool is 2, must be 0 or 1"), ((P, 255), "255")]
    ),
    "header.bools": Cases(
        [((P, b"\0\1\1"), b"\0\1\1"), ((P, b""), b"")],
        [((P, b"\0\2\1"), "an array of bool"), ((P, b"\xff"), "an array of bool")],
    ),
    "header.array_depth": Cases([((P, 1), 1), ((P, 4), 4)], [((P, 5), "arrays nested deeper than 4")]),
    "header.n_arrays": Cases([((P, 1 << 14), 1 << 14), ((P, 1), 1)], [((P, (1 << 14) + 1), "more than 16384 arrays")]),
    "header.element_type": Cases(
        [((P, 9, TYPE_NAMES), 9)], [((P, 13, TYPE_NAMES), "array element type 13 is unknown")]
    ),
    "header.array_length": Cases(
        [((P, 0), 0), ((P, 1 << 22), 1 << 22)], [((P, (1 << 22) + 1), "4194305 array elements, the limit is 4194304")]
    ),
    "header.string_end": Cases(
        [((P, 100, 100, False), 100), ((P, 9, 100, True), 9)],
        [
            ((P, 101, 100, False), "its string reaches byte 101, the file ends at 100"),
            ((P, 101, 100, True), "its string reaches byte 101, metadata may end at 100"),
        ],
    ),
    "header.alignment_type": Cases(
        [((K, "u32"), "u32")], [((K, "u64"), "is of type u64, must be u32"), ((K, "arr"), "arr")]
    ),
    "header.alignment": Cases(
        [((K, 8), 8), ((K, 32), 32), ((K, 1 << 20), 1 << 20)],
        [
            ((K, value), f"metadata key k: is {value}, must be a power of two from 8 to 1048576")
            for value in (0, 1, 4, 7, 9, 10, 12, 40, 48, 136, 2**19 + 8, (1 << 20) + 1, 1 << 21, 1 << 31)
        ],
    ),
}
