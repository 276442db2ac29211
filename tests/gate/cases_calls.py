"""Cases of localllm/gate/calls.py."""

import numpy as np

from tests.gate.cases import Cases

CASES = {
    "calls.size": Cases(
        [(("n_ctx", 1, 8), 1), (("n_ctx", 8, 8), 8)],
        [(("n_ctx", 0, 8), "n_ctx is 0, must be 1 to 8"), (("n_seq", 9, 8), "n_seq is 9"), (("n_ctx", -1, 8), "-1")],
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
        [((0, 0, 4), 0), ((0, 4, 4), 4)],
        [((1, 5, 4), "sequence 1 holds 4 tokens: it cannot be cut at 5"), ((1, -1, 4), "it cannot be cut at -1")],
    ),
    "calls.span": Cases(
        [((0, 0, 4, 4), (0, 4)), ((0, 2, 2, 4), (2, 2))],
        [
            ((1, 0, 5, 4), "sequence 1 holds 4 tokens: there is nothing from 0 to 5"),
            ((1, 3, 2, 4), "there is nothing from 3 to 2"),
            ((1, -1, 2, 4), "there is nothing from -1 to 2"),
        ],
    ),
    "calls.n_past": Cases(
        [((0, 0, 8), 0), ((1, 1, 8), 1), ((8, 1, 8), 8)],
        [((9, 0, 8), "n_past is 9, must be 0 to n_ctx, 8"), ((0, 1, 8), "n_past is 0, must be 1 to n_ctx, 8")],
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
