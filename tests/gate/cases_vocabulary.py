"""Cases of localllm/gate/vocabulary.py."""

import math
import struct

import numpy as np

from localllm.gate.vocabulary import MAX_LENGTHS, MAX_MERGES, MAX_TOKEN
from tests.gate.cases import Cases, K

BYTE_TOKENS = ("<0x-1>", "<0x1", "<0xGG>", "<1x00>", "<0x00)", "<0x000>", "", "<0x0G>", "(0x00>", "<0x00>>", "<0x00?")


def _broken() -> None:
    raise RuntimeError("broken")


CASES = {
    "vocabulary.kind_is_told": Cases(
        [((K, "gpt2"), "gpt2")],
        [((K, None), "metadata key k is missing: this file has no tokenizer"), ((K, 7), "is 7: this file has no")],
    ),
    "vocabulary.kind": Cases(
        [((K, "gpt2", ["gpt2", "llama"]), "gpt2")],
        [((K, "x", ["gpt2", "llama"]), "the tokenizer model 'x' is not supported; supported are gpt2, llama")],
    ),
    "vocabulary.pretokenizer_name": Cases(
        [((K, "qwen2"), "qwen2"), ((K, None), None)], [((K, 3), "is 3, not a name"), ((K, ["x"]), "not a name")]
    ),
    "vocabulary.tokens": Cases(
        [((K, 1), 1), ((K, 9), 9)], [((K, 0), "is missing or empty: this file has no vocabulary")]
    ),
    "vocabulary.array": Cases([((K, True, "list"), True)], [((K, False, "str"), "is str, not an array")]),
    "vocabulary.elements": Cases(
        [((K, {int}, (int,)), {int}), ((K, {float, int}, (float, int)), {int, float}), ((K, set(), (int,)), set())],
        [((K, {bool}, (int,)), "holds bool, not int"), ((K, [str], (float, int)), "holds str, not float or int")],
    ),
    "vocabulary.unique": Cases(
        [((K, ["a", "b"], {"a": 0, "b": 1}), {"a": 0, "b": 1})],
        [
            ((K, ["a", "b", "a"], {"a": 2, "b": 1}), "holds 'a' twice"),
            ((K, ["b", "a", "a"], {"a": 2, "b": 0}), "'a'"),
            ((K, ["x" * 50, "x" * 50], {"x" * 50: 1}), "holds '" + "x" * 40 + "' twice"),
        ],
    ),
    "vocabulary.token_length": Cases(
        [((K, MAX_TOKEN), MAX_TOKEN), ((K, 0), 0)],
        [((K, MAX_TOKEN + 1), "holds a token of 16777217 characters, at most 16777216")],
    ),
    "vocabulary.one_each": Cases(
        [((K, 4, 4), 4), ((K, 5, 4), 5)], [((K, 3, 4), "has 3 entries for 4 tokens"), ((K, 0, 4), "has 0 entries")]
    ),
    "vocabulary.token_types": Cases(
        [((K, [1, 6]), bytearray(b"\1\6")), ((K, [0, 255]), bytearray(b"\0\xff"))],
        [
            ((K, [1, -1]), "holds -1: types go from 1 to 6"),
            ((K, [0, 255, 256, -3]), "holds 256: types go from 1 to 6"),
            ((K, [300]), "holds 300"),
        ],
    ),
    "vocabulary.scores": Cases(
        [((K, 0.0), 0.0), ((K, 5), 5)],
        [((K, value), "holds a value that is not finite") for value in (math.nan, math.inf)],
    ),
    "vocabulary.flag": Cases(
        [((K, True), True), ((K, False), False)], [((K, 1), "is 1, not a boolean"), ((K, "no"), "is 'no', not a bool")]
    ),
    "vocabulary.special_id": Cases(
        [((K, 0, 4), 0), ((K, 3, 4), 3)],
        [
            ((K, value, 4), f"is {value!r}: ids go from 0 to 3")
            for value in (4, -1, 1 << 63, True, "3", 1.0)  # True is no number here
        ],
    ),
    "vocabulary.added_id": Cases(
        [((K, 0, True, "bos"), 0), ((K, None, False, "bos"), None), ((K, 3, False, "eos"), 3)],
        [((K, None, True, "bos"), "is true, but the file names no bos_token_id")],
    ),
    "vocabulary.unknown_id": Cases(
        [((K, 0, "x"), 0)],
        [((K, None, "x"), "is missing, and 'x' is in no token"), ((K, None, b"b" * 99), "b'" + "b" * 40 + "' is in")],
    ),
    "vocabulary.lengths": Cases(
        [((K, MAX_LENGTHS), MAX_LENGTHS), ((K, 1), 1)],
        [((K, MAX_LENGTHS + 1), "holds tokens of 513 lengths that begin alike, at most 512")],
    ),
    "vocabulary.merges": Cases(
        [((K, 0), 0), ((K, MAX_MERGES), MAX_MERGES)],
        [
            ((K, None), "is missing: byte-pair encoding needs it"),
            ((K, MAX_MERGES + 1), "has 4194305 entries, at most 4194304 are taken"),
        ],
    ),
    "vocabulary.merge_form": Cases(
        [((K, True, ["a b"]), ["a b"])],
        [((K, False, ["a b", "ab"]), "entry 1 is 'ab': a merge is two tokens with a space between them")],
    ),
    "vocabulary.byte_token": Cases(
        [((K, 0, "<0x00>"), b"\0"), ((K, 1, "<0xfF>"), b"\xff"), ((K, 2, "<0x0A>"), b"\n")],
        [((K, 5, text), f"entry 5 is {text!r}: byte tokens are <0x00> to <0xFF>") for text in BYTE_TOKENS],
    ),
    "vocabulary.byte_tokens": Cases([((K, []), [])], [((K, ["<0x0a>", "<0x0b>"]), "has no byte token <0x0A>")]),
    "vocabulary.usable": Cases(
        [((K, 1, "x"), 1), ((K, 9, "x"), 9)],
        [((K, 0, "holds none"), "k holds none: no text can be written with this vocabulary")],
    ),
    "vocabulary.readable": Cases(
        [((K, lambda: 5), 5), ((K, str, "holds "), "")],
        [
            ((K, lambda: int("x"), "holds "), "metadata key k holds invalid literal"),
            ((K, lambda: bytes([1]).fromhex("0")), "metadata key k non-hexadecimal"),
            ((K, _broken), "metadata key k broken"),
        ],
    ),
    "vocabulary.rows": Cases(
        [((K, 8, 8), 8)],
        [
            ((K, 9, 8), "k: holds 9 tokens, the embedding matrix has 8 rows"),
            ((K, 7, 8), "holds 7 tokens, the embedding matrix has 8 rows"),
        ],
    ),
    "vocabulary.suppressed": Cases(
        [((K, [0, 3], 4), [0, 3]), ((K, [], 4), []), ((K, [1, 1, 1, 1], 4), [1, 1, 1, 1])],
        [
            ((K, [0, 4], 4), "holds 4, must be 0 to 3"),
            ((K, [-1], 4), "holds -1, must be 0 to 3"),
            ((K, [0, 9], 4), "holds 9, must be 0 to 3"),
            ((K, [0, 1, 2, 3], 4), "holds all 4 tokens: none is left to generate"),
        ],
    ),
    "vocabulary.lowered": Cases(
        [((K, range(0, 4), 4), range(0, 4)), ((K, range(0), 4), range(0))],
        [
            ((K, range(1, 5), 4), "a vocabulary of 4 tokens; this architecture suppresses tokens 1 to 4"),
            ((K, range(1, 6), 4), "tokens 1 to 5"),
        ],
    ),
    "vocabulary.model_bytes": Cases(
        [(("a.model", 256 << 20), 256 << 20), (("a.model", 0), 0)],
        [(("a.model", (256 << 20) + 1), "a.model: is larger than 256 MB, which no tokenizer is")],
    ),
    "vocabulary.sentencepiece_model": Cases(
        [(("a.model", lambda: {}), {})],
        [
            (("a.model", lambda: b"\xff".decode()), "a.model: not a SentencePiece model: 'utf-8' codec"),
            (("a.model", lambda: struct.unpack("<I", b"")), "a.model: not a SentencePiece model: unpack"),
        ],
    ),
    "vocabulary.pretokenizer": Cases(
        [(("t.json", {}, dict, "must"), {})], [(("t.json", [], dict, "must be"), "t.json: key pre_tokenizer: must be")]
    ),
    "vocabulary.cut_as": Cases(
        [(("t.json", "Split a", True, ["b", "a"]), True)],
        [
            (
                ("t.json", "Split\n", False, ["b", "a"]),
                "t.json: cuts words in a way that is not known here ('Split\\n'): name one that does the same, "
                "--pre NAME, of a, b",
            ),
            (("t.json", "x" * 300, False, []), f"({'x' * 199}): name".replace("(", "('", 1)),
        ],
    ),
    "vocabulary.infill": Cases(
        [(([],), [])],
        [((["fim_pre_token_id"],), "its vocabulary has no tokens for it (tokenizer.ggml.fim_pre_token_id)")],
    ),
    "vocabulary.token_id": Cases(
        [((0, 4), 0), ((np.int8(3), 4), 3)],
        [
            ((4, 4), "token id 4: ids go from 0 to 3"),
            ((5, 4), "token id 5: ids go from 0 to 3"),
            ((-1, 4), "token id -1: ids go from 0 to 3"),
            ((1.0, 4), "token ids are integers, not float"),
        ],
    ),
}
