"""Cases of localllm/gate/tensors.py."""

import math

from localllm.gate.tensors import MAX_STAND_IN
from tests.gate.cases import Cases, P

CASES = {
    "tensors.present": Cases([((P, "it"), "it"), ((P, 0), 0)], [((P, None), "m.gguf: field: is missing")]),
    "tensors.shape": Cases(
        [
            ((P, (32, 2), (32, 2)), (32, 2)),
            ((P, (32,), (32, 1)), (32, 1)),
            ((P, (32, 1, 1), (32,)), (32,)),
            ((P, [32, 2, 1], (32, 2)), (32, 2)),
            ((P, (32,), (32, 1, 1)), (32, 1, 1)),
        ],
        [
            ((P, (32, 2), (32, 3)), "has shape [32, 2], must be [32, 3]"),
            ((P, (32, 2), (16, 2)), "has shape [32, 2]"),
            ((P, (32,), (32, 2)), "has shape [32]"),
            ((P, (32, 2), (32,)), "has shape [32, 2]"),
            ((P, (1, 32), (32,)), "has shape [1, 32]"),
            ((P, (32, 1, 2), (32, 1)), "has shape [32, 1, 2]"),
            ((P, (32, 0), (32,)), "has shape [32, 0]"),
        ],
    ),
    "tensors.format_of_role": Cases(
        [((P, "F16", ("F32", "F16")), "F16")],
        [
            ((P, "I8", ("F32", "F16")), "field: format I8 is not supported; supported: F32, F16"),
            ((P, "I8", ("F32",), "a vector in "), "field: a vector in format I8 is not supported"),
        ],
    ),
    "tensors.row_length": Cases(
        [((P, 64, 64, "F16"), 64), ((P, 8, 64, "F16"), 8)],
        [((P, 65, 64, "F16"), "has rows of 65 elements: in F16 at most 64 are supported")],
    ),
    "tensors.indices": Cases(
        [((P, 0, 3, 4), (0, 3)), ((P, 1, 2, 4), (1, 2))],
        [
            ((P, 0, 9, 4), "has elements from 0 to 9"),
            ((P, -1, 3, 4), "has elements from -1 to 3, must be 0 to 3"),
            ((P, 0, 4, 4), "has elements from 0 to 4"),
        ],
    ),
    "tensors.rows": Cases([((P, 8, 8), 8), ((P, 9, 8), 9)], [((P, 7, 8), "has 7 rows, must have 8")]),
    "tensors.gate_rows": Cases(
        [((P, 4, 4, 64), 4), ((P, 64, 4, 64), 64)], [((P, 8, 4, 64), "has 8 rows, must have 4 or 64")]
    ),
    "tensors.decays": Cases(
        [((P, 0.0), 0.0), ((P, -1.0), -1.0)],
        [((P, 1e-9), "has elements above 0: a state that grows"), ((P, math.inf), "above 0")],
    ),
    "tensors.all_used": Cases(
        [(("m.gguf", []), [])],
        [
            (("m.gguf", ["a"]), "m.gguf: tensor a: this architecture's spec has no use for it"),
            (("m.gguf", ["a", "b"]), "tensor a and 1 more: "),
            (("m.gguf", ["a", "b", "c"]), "tensor a and 2 more: "),
        ],
    ),
    "tensors.stand_in": Cases(
        [((P, MAX_STAND_IN), MAX_STAND_IN), ((P, 4), 4)],
        [((P, MAX_STAND_IN + 1), "134217729 bytes are too many for a vector")],
    ),
    "tensors.fits_scratch": Cases(
        [((P, True, "heads"), True)], [((P, False, "heads of 9"), "heads of 9 are more than scratch can hold")]
    ),
    "tensors.supported": Cases(
        [((P, True, "x"), True)], [((P, False, "this and that"), "this and that is not supported")]
    ),
    "tensors.block_kind": Cases([((P, True, "x"), True)], [((P, False, "has no gate"), "field: has no gate")]),
}
