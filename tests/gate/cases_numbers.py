"""Cases of localllm/gate/numbers.py."""

import math

from localllm.gate.keys import MAX_LAYERS, MAX_VOCAB
from tests.gate.cases import Cases, K


def shown() -> str:
    return "this (u8)"


CASES = {
    "numbers.present": Cases([((K, True), True)], [((K, False), "metadata key k: is missing")]),
    "numbers.architecture": Cases(
        [(("m", "llama", ("llama",)), "llama")],
        [
            (("m", "x\n", ("b", "a")), "m: architecture 'x\\n' is not supported; supported: a, b"),
            (("m", "y" * 99, ("a",)), f"architecture '{'y' * 79} is not"),
        ],
    ),
    "numbers.not_known_yet": Cases(
        [((K, 0), 0), ((K, None), None), ((K, False), False)],
        [
            ((K, 0.5), "metadata key k: is 0.5, which is not supported yet"),
            ((K, "\n"), "is '\\n', which is not supported yet"),
            ((K, "z" * 99), f"is '{'z' * 39}, which"),
            ((K, [1]), "is a list, which"),
        ],
    ),
    "numbers.type_of_value": Cases(
        [((K, int, int, shown), int), ((K, int, float, shown), float), ((K, str, str, shown), str)],
        [
            ((K, float, int, shown), "is this (u8), must be an integer"),
            ((K, bool, int, shown), "must be an integer"),
            ((K, bool, float, shown), "must be a number"),
            ((K, int, bool, shown), "must be a bool"),
            ((K, list, str, shown), "must be a string"),
            ((K, str, float, shown), "must be a number"),
        ],
    ),
    "numbers.finite": Cases(
        [((K, -1.5), -1.5), ((K, 0.0), 0.0)],
        [((K, value), f"is {value}, must be a finite number") for value in (math.nan, math.inf, -math.inf)],
    ),
    "numbers.type_of_array": Cases(
        [((K, True, int, int, shown), int)],
        [
            ((K, False, int, int, shown), "is this (u8), must be an array of int"),
            ((K, True, float, int, shown), "must be an array of int"),
            ((K, True, int, str, shown), "must be an array of str"),
        ],
    ),
    "numbers.list_length": Cases(
        [((K, 3, 3), 3), ((K, 4, 3), 4)],
        [((K, 2, 3), "has 2 elements, must have one a layer, 3"), ((K, 0, 1), "has 0")],
    ),
    "numbers.n_layers": Cases(
        [((K, 32, 1), 32), ((K, MAX_LAYERS // 2, 2), MAX_LAYERS)],
        [((K, MAX_LAYERS // 2 + 1, 2), "513 layers are applied 2 times, the limit is 1024")],
    ),
    "numbers.n_vocab": Cases(
        [((K, 1), 1), ((K, MAX_VOCAB), MAX_VOCAB)],
        [((K, MAX_VOCAB + 1), "has 16777217 rows, must have 1 to 16777216"), ((K, 0), "has 0 rows")],
    ),
    "numbers.has_heads": Cases(
        [((K, 1, 3), 1), ((K, 8, 3, True), 8)],
        [
            ((K, 0, 3), "is 0, must be 1 or more for layer 3, which has attention"),
            ((K, 0, 3, False), "is missing, must be 1 or more for layer 3"),
        ],
    ),
    "numbers.at_least": Cases(
        [((K, 1), 1), ((K, 5), 5), ((K, 2, 2), 2)],
        [((K, 0), "is 0, must be 1 or more"), ((K, 1, 2), "is 1, must be 2 or more")],
    ),
    "numbers.divides": Cases(
        [((K, 4, ("a", 8)), 4), ((K, 4, ("a", 8), ("b", 12)), 4), ((K, 1, ("a", 0)), 1)],
        [
            ((K, 3, ("a", 8)), "is 3, must divide a, 8"),
            ((K, 4, ("a", 8), ("b", 6)), "is 4, must divide a, 8, and b, 6"),
            ((K, 4, ("a", 6), ("b", 8)), "is 4, must divide"),
            ((K, 0, ("a", 8)), "is 0, must divide"),
            ((K, -1, ("a", 8)), "is -1, must divide"),
        ],
    ),
    "numbers.multiple": Cases(
        [((K, 8, 4, "a"), 8), ((K, 12, 4, "a"), 12)],
        [((K, 3, 4, "a"), "is 3, must"), ((K, 6, 4, "a"), "is 6, must be a multiple of a, 4")],
    ),
    "numbers.same": Cases(
        [((K, 8, 8, "a"), 8)], [((K, 8, 9, "a"), "is 8, must be a, 9"), ((K, 10, 9, "a"), "is 10, must be a, 9")]
    ),
    "numbers.at_most": Cases(
        [((K, 8, 8, "a"), 8), ((K, 0, 8, "a"), 0)], [((K, 9, 8, "a"), "is 9, must be at most a, 8")]
    ),
    "numbers.rope_dimensions": Cases(
        [((K, 64, 64), 64), ((K, 0, 64), 0)],
        [((K, 63, 64), "is 63, must be even"), ((K, 66, 64), "is 66, must be at most a head's size, 64")],
    ),
    "numbers.experts_used": Cases(
        [((K, 1, 8, 0, 0), 1), ((K, 8, 8, 0, 0), 8), ((K, 4, 8, 4, 2), 4), ((K, 3, 8, 4, 2), 3), ((K, 6, 9, 3, 2), 6)],
        [
            ((K, 0, 8, 0, 0), "is 0, must be 1 to 8"),
            ((K, 9, 8, 0, 0), "is 9, must be 1 to 8"),
            ((K, 5, 8, 4, 2), "is 5, more than the experts of 2 groups"),
            ((K, 3, 8, 4, 1), "is 3, more than the experts of 1 groups"),
        ],
    ),
    "numbers.expert_groups": Cases(
        [((K, 4, 8), 4)],
        [
            ((K, 8, 8), "is 8, must divide expert_count, 8"),
            ((K, 3, 8), "is 3, must"),
            ((K, 9, 8), "is 9, must"),
            ((K, 16, 8), "is 16, must"),
            ((K, 4, 0), "is 4, must divide expert_count, 0"),
        ],
    ),
    "numbers.groups_used": Cases(
        [((K, 1, 4), 1), ((K, 3, 4), 3)],
        [((K, 0, 4), "is 0, must be 1 to 3"), ((K, 4, 4), "is 4, must be 1 to 3"), ((K, 5, 4), "is 5, must")],
    ),
    "numbers.epsilon": Cases(
        [((K, 1e-5, False), 1e-5), ((K, 1e-5, True), 1e-5), ((K, 0.0, True), 0.0)],
        [((K, 0.0, False), "is 0.0, must be above 0")],
    ),
    "numbers.rope_base": Cases(
        [((K, 1.5), 1.5), ((K, 1e30), 1e30)],
        [
            ((K, value), f"is {value}, must be above 1, at most 1e+30")
            for value in (1.0, 0.5, -2.0, math.inf, math.nan, 2e30)
        ],
    ),
    "numbers.rope_factors": Cases(
        [((K, 0.5, 8.0), (0.5, 8.0))],
        [
            ((K, *pair), "has elements that are no numbers above 0")
            for pair in ((0.0, 8.0), (-1.0, 8.0), (1.0, math.inf), (math.nan, math.nan), (1.0, math.nan))
        ],
    ),
    "numbers.one_of": Cases(
        [((K, "yarn", ("none", "yarn")), "yarn"), ((K, 4, (0, 4)), 4), ((K, True, (True,)), True)],
        [
            ((K, "dynamic", ("none", "yarn")), "is 'dynamic'; supported: none, yarn"),
            ((K, 8, (0, 4)), "is 8; supported: 0, 4"),
            ((K, 8, ("Yarn", 4)), "is 8; supported: Yarn, 4"),
            ((K, False, (True,)), "is false; supported: true"),
        ],
    ),
    "numbers.is_list": Cases([((K, True), True)], [((K, False), "is not there, or no list")]),
    "numbers.has_source": Cases([((K, 1, True), True)], [((K, 1, False), "layer 1 has no layer like it before it")]),
    "numbers.same_cells": Cases(
        [((K, (2, 32, 16), 0, (2, 32, 16)), (2, 32, 16))],
        [
            (
                (K, (2, 32, 16), 4, (1, 32, 16)),
                "uses the keys and values of layer 4: it has 2 heads of 32 and 16 elements, that one 1 of 32 and 16",
            ),
            ((K, (2, 32, 16), 4, (2, 64, 16)), "that one 2 of 64 and 16"),
        ],
    ),
}
