"""Cases of localllm/gate/calls.py."""

import numpy as np

from tests.gate.cases import Cases

CASES = {
    "calls.integer": Cases(
        [(("n", 5), 5), (("n", np.int8(-3)), -3), (("n", np.uint64(2**64 - 1)), 2**64 - 1), (("n", True), 1)],
        [
            (("n_ctx", 1.0), "n_ctx is 1.0, must be an integer"),
            (("n_ctx", float("nan")), "n_ctx is nan, must be an integer"),
            (("n_ctx", "\n"), "n_ctx is '\\n', must be an integer"),
            (("n_ctx", b"1"), "n_ctx is b'1', must be an integer"),
            (("n_ctx", "1" * 99), f"n_ctx is '{'1' * 39}, must be an integer"),
            (("n_ctx", None), "n_ctx is a NoneType, must be an integer"),
            (("n_ctx", np.zeros((9, 9))), "n_ctx is a ndarray, must be an integer"),
        ],
    ),
    "calls.size": Cases(
        [(("n_ctx", 1, 8), 1), (("n_ctx", 8, 8), 8), (("n_ctx", np.int8(8), 8), 8)],
        [
            (("n_ctx", 0, 8), "n_ctx is 0, must be 1 to 8"),
            (("n_seq", 9, 8), "n_seq is 9"),
            (("n_ctx", -1, 8), "-1"),
            (("n_ctx", 1.5, 8), "n_ctx is 1.5, must be an integer"),
        ],
    ),
    "calls.one_of": Cases(
        [(("kv_type", "a", ("a", "b")), "a"), (("kv_type", "b", ["a", "b"]), "b")],
        [
            (("kv_type", "c", ("a", "b")), "kv_type is 'c', must be one of a, b"),
            (("kv_type", 1.5, ("a",)), "kv_type is 1.5, must be one of a"),
            (("kv_type", ["a"], ("a",)), "kv_type is a list, must be one of a"),
        ],
    ),
    "calls.grouped_heads": Cases(
        [(("m: blk.0", "q8_0", [32, 64], 32), [32, 64]), (("m", "q4_0", [], 32), [])],
        [
            (
                ("m: blk.0", "q8_0", [32, 48], 32),
                "m: blk.0 has heads of 32 and 48 elements: kv_type q8_0 needs multiples of 32",
            ),
            (("m: blk.0", "q4_0", [31], 32), "kv_type q4_0 needs multiples of 32, take f16"),
        ],
    ),
    "calls.text": Cases(
        [(("text", ""), ""), (("text", "a"), "a")],
        [(("text", b"a"), "text is a bytes, must be a text (str)"), (("query", None), "query is a NoneType")],
    ),
    "calls.texts": Cases(
        [(("stop", "ab"), ["ab"]), (("stop", ("a", "")), ["a", ""]), (("stop", []), [])],
        [
            (("stop", 1.5), "stop is 1.5, must be a list of texts"),
            (("stop", ["a", b"b"]), "one of stop is a bytes, must be a text (str)"),
        ],
    ),
    "calls.max_tokens": Cases(
        [((None,), None), ((0,), 0), ((np.int8(3),), 3), ((1 << 70,), 1 << 70)],
        [
            ((-1,), "max_tokens is -1, must be 0 or more (None: no limit)"),
            ((1.0,), "max_tokens is 1.0, must be an integer"),
            ((-(10**5000),), "max_tokens is an integer of 16610 bits, must be"),
        ],
    ),
    "calls.several": Cases(
        [(("texts", []), 0), (("texts", ("a", "b")), 2), (("ids", np.zeros(3)), 3)],
        [
            (("texts", "ab"), "texts are a str, must be a list"),
            (("texts", b"ab"), "texts are a bytes, must be a list"),
            (("texts", bytearray(2)), "texts are a bytearray, must be a list"),
            (("texts", None), "texts are a NoneType, must be a list"),
            (("texts", {1, 2}), "texts are a set, must be a list"),
            (("texts", {}), "texts are a dict, must be a list"),
            (("texts", np.zeros(())), "texts are a ndarray, must be a list"),
        ],
    ),
    "calls.flag": Cases(
        [(("swa_full", 1), True), (("swa_full", np.bool_(False)), False), (("swa_full", None), False)],
        [(("swa_full", np.zeros(2)), "swa_full is a ndarray, must be true or false")],
    ),
    "calls.flags": Cases(
        [(([True, 0, None, 2],), [True, False, False, True]), (([],), [])],
        [
            ((1.5,), "want_logits are a float, must be a list"),
            (("01",), "want_logits are a str, must be a list"),
            (([np.zeros(2)],), "want_logits must be true or false for each row"),
        ],
    ),
    "calls.has_logits": Cases(
        [(("m", "bert", True), True)], [(("m", "bert", False), "m: bert is run as an encoder: it has no logits, but")]
    ),
    "calls.hidden_width": Cases(
        [(((3, 8), 8), 3), (((0, 8), 8), 0)],
        [
            (((3, 7), 8), "hidden states have the shape [3, 7], must have [rows, 8]"),
            (((8,), 8), "have the shape [8], must have [rows, 8]"),
            (((1, 3, 8), 8), "have the shape [1, 3, 8]"),
            (((3, 9), 8), "[3, 9]"),
            (((3, 8, 1), 8), "[3, 8, 1]"),
        ],
    ),
    "calls.reached": Cases(
        [((0, 4, 4), 4)], [((1, 4, 3), "sequence 1 cannot go back to 4, but to 3"), ((1, 4, 5), "to 5")]
    ),
    "calls.batch_rows": Cases(
        [((1, 8), 1), ((8, 8), 8)], [((0, 8), "a batch has 1 to 8 rows, not 0"), ((9, 8), "1 to 8 rows, not 9")]
    ),
    "calls.columns": Cases(
        [((3, 3, 3, 3), 3)],
        [
            ((3, 2, 3, 3), "3 tokens need as many sequence ids and positions"),
            ((3, 4, 3, 3), "3 tokens need as many sequence ids and positions"),
            ((3, 3, 4, 3), "3 tokens need as many sequence ids and positions"),
            ((3, 3, 2, 3), "3 tokens need as many sequence ids and positions"),
            ((3, 3, 3, 4), "3 tokens need as many flags of whose logits are wanted, not 4"),
            ((3, 3, 3, 2), "not 2"),
        ],
    ),
    "calls.integers": Cases(
        [(("token id", (1, np.int64(2), True)), [1, 2, 1]), (("token id", []), [])],
        [
            (("token id", [1.5]), "token ids must be integers: 'float' object cannot be interpreted as an integer"),
            (("token id", "ab"), "token ids must be integers"),
            (("sequence id", [None]), "sequence ids must be integers"),
            (("token id", b"ab"), "token ids must be integers, not bytes"),
            (("token id", bytearray(b"ab")), "token ids must be integers, not bytearray"),
            (("token id", memoryview(b"ab")), "token ids must be integers, not memoryview"),
        ],
    ),
    "calls.tokens": Cases(
        [(([0, 3], 4), [0, 3]), (([1, 2], 4), [1, 2])],
        [
            (([0, 4], 4), "token id 4 is not in the vocabulary of 4"),
            (([1, 2, -1], 4), "token id -1 is not in the vocabulary of 4"),
            (([1, 5], 4), "token id 5 is not in the vocabulary of 4"),
            (([-1, 4], 4), "token id -1 is not in the vocabulary of 4"),
            (([1 << 63], 4), "token id 9223372036854775808 is not"),
            (([(1 << 128) - 1], 4), "token id 340282366920938463463374607431768211455 is not"),
            (([1 << 128], 4), "token id an integer of 129 bits is not"),
        ],
    ),
    "calls.sequences": Cases(
        [(([0, 3], 4), [0, 3]), (([1, 2], 4), [1, 2])],
        [
            (([1, 5], 4), "sequence 5 is not one of the 4 of this context"),
            (([1, -2], 4), "sequence -2 is not one of the 4 of this context"),
            (([0, 4], 4), "sequence 4 is not one of the 4 of this context"),
            (([0, -1], 4), "sequence -1 is not one of the 4 of this context"),
        ],
    ),
    "calls.sequence": Cases(
        [((0, 4), 0), ((np.int8(3), 4), 3)],
        [
            ((4, 4), "sequence 4 is not one of the 4 of this context"),
            ((-1, 4), "sequence -1 is not one of the 4"),
            ((1.0, 4), "sequence is 1.0, must be an integer"),
        ],
    ),
    "calls.positions": Cases(
        [(([4, 5], [4, 5], [0, 0]), [4, 5])],
        [
            (([4, 6], [4, 5], [0, 3]), "sequence 3 goes on at position 5, not 6 (row 1)"),
            (([3, 5], [4, 5], [2, 0]), "sequence 2 goes on at position 4, not 3 (row 0)"),
        ],
    ),
    "calls.context_room": Cases(
        [((8, 8), 8), ((7, 8), 7)], [((9, 8), "the context is full: it holds 8 tokens (-c, n_ctx for more)")]
    ),
    "calls.learned_positions": Cases(
        [((8, 8), 8), ((7, 8), 7)], [((9, 8), "this model has learned 8 positions, no more")]
    ),
    "calls.one_batch": Cases(
        [((0, 8), 0)], [((1, 8), "this model attends in both directions: a sequence is one batch of at most 8 tokens")]
    ),
    "calls.cut": Cases(
        [((0, 0, 4), 0), ((0, np.int8(4), 4), 4)],
        [
            ((1, 1.5, 4), "position is 1.5, must be an integer"),
            ((1, 5, 4), "sequence 1 holds 4 tokens: it cannot be cut at 5"),
            ((1, -1, 4), "it cannot be cut at -1"),
        ],
    ),
    "calls.span": Cases(
        [((0, 0, 4, 4), (0, 4)), ((0, np.int8(2), np.int8(2), 4), (2, 2))],
        [
            ((0, 0.0, 4, 4), "start is 0.0, must be an integer"),
            ((0, 0, "4", 4), "stop is '4', must be an integer"),
            ((1, 0, 5, 4), "sequence 1 holds 4 tokens: there is nothing from 0 to 5"),
            ((1, 3, 2, 4), "there is nothing from 3 to 2"),
            ((1, -1, 2, 4), "there is nothing from -1 to 2"),
        ],
    ),
    "calls.n_past": Cases(
        [((0, 0, 8), 0), ((np.int8(1), 1, 8), 1), ((8, 1, 8), 8)],
        [
            ((1.0, 0, 8), "n_past is 1.0, must be an integer"),
            ((9, 0, 8), "n_past is 9, must be 0 to n_ctx, 8"),
            ((0, 1, 8), "n_past is 0, must be 1 to n_ctx, 8"),
        ],
    ),
    "calls.stop_flag": Cases(
        [(("int64", 1), 1)],
        [
            (("int32", 1), "stop is an array of 1 × int32, must be one int64"),
            (("float64", 1), "stop is an array of 1 × float64"),
            (("uint8", 1), "stop is an array of 1 × uint8"),
            (("int64", 0), "stop is an array of 0 × int64"),
            (("int64", 2), "stop is an array of 2 × int64"),
        ],
    ),
    "calls.saved": Cases(
        [(("part 1", ""), "part 1")], [(("part 1 of it", "has 3 bytes, must have 4"), "part 1 of it has 3 bytes, must")]
    ),
}
