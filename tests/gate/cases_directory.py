"""Cases of localllm/gate/directory.py."""

from tests.gate.cases import Cases, P

KNOWN, REMOVED, NAMES = {0, 2}, {4: "Q4_2 (removed)"}, ("F32", "Q4_0")
CASES = {
    "directory.name_length": Cases([((P, 63), 63), ((P, 1), 1)], [((P, 64), "length 64, the limit is 63 bytes")]),
    "directory.new_name": Cases([((P, "a", {"b": 1}), "a")], [((P, "a", {"a": 1}), "the name 'a' occurs twice")]),
    "directory.n_dims": Cases(
        [((P, 1), 1), ((P, 4), 4)],
        [((P, 0), "0 dimensions, must be 1 to 4"), ((P, 5), "5 dimensions"), ((P, 2**32 - 1), "4294967295 dimensions")],
    ),
    "directory.shape": Cases(
        [((P, (1,)), (1,)), ((P, (32, 1, 2)), (32, 1, 2)), ((P, (32, 2)), (32, 2))],
        [((P, (32, 0)), "shape [32, 0]: every dimension must be 1 or more"), ((P, (-1, 8)), "shape [-1, 8]")],
    ),
    "directory.tensor_type": Cases(
        [((P, 2, KNOWN, REMOVED, NAMES), 2)],
        [
            ((P, 4, KNOWN, REMOVED, NAMES), "type 4 is Q4_2 (removed)"),
            ((P, 5, KNOWN, REMOVED, NAMES), "type 5 is unknown; known are F32, Q4_0"),
        ],
    ),
    "directory.whole_blocks": Cases(
        [((P, 64, 32, "Q4_0"), 64), ((P, 3, 1, "F32"), 3)],
        [((P, 48, 32, "Q4_0"), "rows of 48 elements are no whole blocks of 32 (Q4_0)")],
    ),
    "directory.data_offset": Cases(
        [((P, 64, 64, 32), 64)],
        [((P, 65, 64, 32), "data offset 65, must be 64: next in order, aligned to 32"), ((P, 32, 64, 32), "offset 32")],
    ),
    "directory.data_end": Cases(
        [((P, 100, 100), 100), ((P, 99, 100), 99)],
        [((P, 101, 100), "data ends at byte 101, the file at 100"), ((P, 2**64 + 1, 100), "file")],
    ),
}
