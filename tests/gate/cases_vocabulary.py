"""Cases of localllm/gate/vocabulary.py."""

from tests.gate.cases import Cases, K

CASES = {
    "vocabulary.suppressed": Cases(
        [((K, [0, 3], 4), [0, 3]), ((K, [], 4), []), ((K, [1, 1, 1, 1], 4), [1, 1, 1, 1])],
        [
            ((K, [0, 4], 4), "holds 4, must be 0 to 3"),
            ((K, [-1], 4), "holds -1, must be 0 to 3"),
            ((K, [0, 1, 2, 3], 4), "holds all 4 tokens: none is left to generate"),
        ],
    ),
    "vocabulary.lowered": Cases(
        [((K, range(0, 4), 4), range(0, 4)), ((K, range(0), 4), range(0))],
        [((K, range(1, 5), 4), "a vocabulary of 4 tokens; this architecture suppresses tokens 1 to 4")],
    ),
}
