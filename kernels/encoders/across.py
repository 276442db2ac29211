"""Sums and maxima over neighbouring lanes: groups that share something larger."""

from ..simd import Lanes, maximum, shuffle

SWAP1, SWAP2, SWAP4 = (Lanes(tuple(i ^ n for i in range(16))) for n in (1, 2, 4))


def add(a, b):
    return a + b


def greater(a, b):
    return maximum(a, b)


def over(entries, combine):
    """f(v): v combined over each `entries` neighbouring lanes, in all of them."""

    def two(v):
        return combine(v, shuffle(SWAP1, v, v))

    def four(v):
        v = two(v)
        return combine(v, shuffle(SWAP2, v, v))

    def eight(v):
        v = four(v)
        return combine(v, shuffle(SWAP4, v, v))

    return {2: two, 4: four, 8: eight}[entries]
