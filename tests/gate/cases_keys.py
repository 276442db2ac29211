"""Cases of localllm/gate/keys.py: each row of its table, on both sides of its limits."""

import math

from localllm.gate.keys import KEYS, Limits
from tests.gate.cases import Cases, K

HUGE = 1 << 63


def _of(limits: Limits) -> Cases:
    if limits.reals:
        return Cases(
            [((K, limits.low), limits.low), ((K, limits.high), limits.high), ((K, 1.5), 1.5)][
                : 2 + _holds(limits, 1.5)
            ],
            [((K, value), f"metadata key k: is {value}, must be finite") for value in (math.nan, math.inf, -math.inf)]
            + [((K, math.nextafter(limits.high, math.inf)), f"{_upper(limits.high)}")]
            + [((K, math.nextafter(limits.low, -math.inf)), _bound(limits.low))],
        )
    told = f"must be {limits.low} to {limits.high}"
    wrong = (limits.low - 1, limits.high + 1, HUGE << 1, -HUGE)
    return Cases([((K, limits.low), limits.low), ((K, limits.high), limits.high)], [((K, n), told) for n in wrong])


def _holds(limits: Limits, value: float) -> bool:
    return limits.low <= value <= limits.high


def _upper(high: float) -> str:
    return "must be below 0" if high < 0 else f"must be at most {high:g}"


def _bound(low: float) -> str:
    return "must be 0 or more" if low == 0 else "must be above 0" if low == 1e-30 else "or more"


CASES = {f"keys.{key}": _of(limits) for key, limits in KEYS.items()}
