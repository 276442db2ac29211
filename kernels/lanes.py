"""How products of four rows begin and end: what is taken off for a code's offset, and sums across lanes."""

from .formats import SIGNED
from .simd import Lanes, dot2, dot2_u7, dot4, dot4_s8, dot4_u7, i16x32, i32, i32x16, lane, shuffle, splat, u8x64
from .simd.targets import current

# Four vectors, each in quarters of 128 bits, halved twice: lane i of a quarter is the sum of that quarter of vector i.


def _zips(quarters: int):
    """Patterns that pair lanes 0 and 1, and 2 and 3, of two vectors' quarters; then their halves."""
    n = 4 * quarters
    return (
        Lanes(tuple(4 * q + i // 2 + n * (i % 2) for q in range(quarters) for i in range(4))),
        Lanes(tuple(4 * q + 2 + i // 2 + n * (i % 2) for q in range(quarters) for i in range(4))),
        Lanes(tuple(4 * q + i % 2 + n * (i // 2) for q in range(quarters) for i in range(4))),
        Lanes(tuple(4 * q + 2 + i % 2 + n * (i // 2) for q in range(quarters) for i in range(4))),
    )


_LOW32, _HIGH32, _LOW64, _HIGH64 = _zips(4)
_LOW32H, _HIGH32H, _LOW64H, _HIGH64H = _zips(2)
EVEN128 = Lanes((0, 1, 2, 3, 8, 9, 10, 11))
ODD128 = Lanes((4, 5, 6, 7, 12, 13, 14, 15))
LOWER8, UPPER8 = Lanes(tuple(range(8))), Lanes(tuple(range(8, 16)))
QUARTERS = tuple(Lanes(tuple(range(4 * i, 4 * i + 4))) for i in range(4))
EVEN16 = Lanes(tuple(32 * q + i for q in range(4) for i in range(16)))
ODD16 = Lanes(tuple(32 * q + 16 + i for q in range(4) for i in range(16)))
"""Of two vectors of bytes, every second piece of 16."""
EVEN8 = Lanes(tuple(16 * p + i for p in range(8) for i in range(8)))
ODD8 = Lanes(tuple(16 * p + 8 + i for p in range(8) for i in range(8)))
"""Of two vectors of bytes, every second piece of 8."""
EVENS = Lanes(tuple(4 * q + v for q in range(4) for v in (0, 2, 16, 18)))
ODDS = Lanes(tuple(4 * q + v for q in range(4) for v in (1, 3, 17, 19)))
"""In each quarter, every second lane of that quarter of two vectors."""
_EVENS8 = Lanes(tuple(4 * q + v for q in range(2) for v in (0, 2, 8, 10)))
_ODDS8 = Lanes(tuple(4 * q + v for q in range(2) for v in (1, 3, 9, 11)))
"""The same of halves."""
LOWER4, UPPER4 = Lanes((0, 1, 2, 3)), Lanes((4, 5, 6, 7))
FOUR_TIMES = Lanes((0, 1, 2, 3) * 4)
"""Four lanes, in each quarter."""
EACH = tuple(Lanes(tuple(4 * q + i // 4 for i in range(16))) for q in range(4))
"""Of 16 lanes, or of the first ones, a quarter's: one to fill each quarter."""


def _of_quarters(*four: int):
    """A pattern of quarters of two vectors."""
    return Lanes(tuple(4 * q + i for q in four for i in range(4)))


_FIRST_TWO, _LAST_TWO = _of_quarters(0, 1, 4, 5), _of_quarters(2, 3, 6, 7)
_EVEN_QUARTERS, _ODD_QUARTERS = _of_quarters(0, 2, 4, 6), _of_quarters(1, 3, 5, 7)
_JOIN4, _JOIN8 = Lanes(tuple(range(8))), Lanes(tuple(range(16)))


def quarters16(a, b, c, d):
    """Of four i32x16: in each quarter of 128 bits the sums of that quarter of a, b, c, d."""
    ab = shuffle(_LOW32, a, b) + shuffle(_HIGH32, a, b)
    cd = shuffle(_LOW32, c, d) + shuffle(_HIGH32, c, d)
    return shuffle(_LOW64, ab, cd) + shuffle(_HIGH64, ab, cd)


def zip4x4(a, b, c, d):
    """Of four i32x16: in each quarter lanes 0 of that quarter of a, b, c, d; then lanes 1, 2 and 3."""
    ab, cd, ab2, cd2 = shuffle(_LOW32, a, b), shuffle(_LOW32, c, d), shuffle(_HIGH32, a, b), shuffle(_HIGH32, c, d)
    return shuffle(_LOW64, ab, cd), shuffle(_HIGH64, ab, cd), shuffle(_LOW64, ab2, cd2), shuffle(_HIGH64, ab2, cd2)


def pairs16(a, b):
    """Of two i32x16: in each quarter the sums of lanes 0 and 1, and 2 and 3, of that quarter of a, then of b."""
    return shuffle(EVENS, a, b) + shuffle(ODDS, a, b)


def quarters16_by_pairs(a, b, c, d):
    """quarters16, where an instruction adds neighbours: three of them a quarter, in the place of nine."""
    return pairs16(pairs16(a, b), pairs16(c, d))


def to_quarters():
    """The one of these two that suits the target."""
    return quarters16_by_pairs if current().adds_neighbours else quarters16


def sums16(a, b, c, d):
    """Sums of all lanes of four i32x16: i32x4."""
    return _over_all(quarters16(a, b, c, d))


def sums16_by_pairs(a, b, c, d):
    """sums16, where an instruction adds neighbours."""
    return _over_all(quarters16_by_pairs(a, b, c, d))


def _over_all(v):
    """The quarters of an i32x16 added up."""
    v = shuffle(LOWER8, v, v) + shuffle(UPPER8, v, v)
    return shuffle(LOWER4, v, v) + shuffle(UPPER4, v, v)


def sums8(a, b, c, d):
    """Sums of all lanes of four i32x8: i32x4."""
    ab = shuffle(_LOW32H, a, b) + shuffle(_HIGH32H, a, b)
    cd = shuffle(_LOW32H, c, d) + shuffle(_HIGH32H, c, d)
    v = shuffle(_LOW64H, ab, cd) + shuffle(_HIGH64H, ab, cd)
    return shuffle(LOWER4, v, v) + shuffle(UPPER4, v, v)


def sums8_by_pairs(a, b, c, d):
    """sums8, where an instruction adds neighbours."""
    ab, cd = shuffle(_EVENS8, a, b) + shuffle(_ODDS8, a, b), shuffle(_EVENS8, c, d) + shuffle(_ODDS8, c, d)
    v = shuffle(_EVENS8, ab, cd) + shuffle(_ODDS8, ab, cd)
    return shuffle(LOWER4, v, v) + shuffle(UPPER4, v, v)


def join4(a, b, c, d):
    """Four vectors of four lanes as one, a quarter each."""
    return shuffle(_JOIN8, shuffle(_JOIN4, a, b), shuffle(_JOIN4, c, d))


def over_quarters(a, b, c, d):
    """Of four i32x16 their quarters added up: that of a is quarter 0 of the result, ..."""
    ab = shuffle(_FIRST_TWO, a, b) + shuffle(_LAST_TWO, a, b)
    cd = shuffle(_FIRST_TWO, c, d) + shuffle(_LAST_TWO, c, d)
    return shuffle(_EVEN_QUARTERS, ab, cd) + shuffle(_ODD_QUARTERS, ab, cd)


def over_halves(a, b, c, d):
    """The same for the first two quarters of each vector, and for the last two: two i32x16."""
    ab = shuffle(_EVEN_QUARTERS, a, b) + shuffle(_ODD_QUARTERS, a, b)
    cd = shuffle(_EVEN_QUARTERS, c, d) + shuffle(_ODD_QUARTERS, c, d)
    return shuffle(_EVEN_QUARTERS, ab, cd), shuffle(_ODD_QUARTERS, ab, cd)


def by_quarters(a, b, c, d):
    """Of four i32x16 all quarters 0, all quarters 1, ..."""
    ab, cd = shuffle(_FIRST_TWO, a, b), shuffle(_FIRST_TWO, c, d)
    ab2, cd2 = shuffle(_LAST_TWO, a, b), shuffle(_LAST_TWO, c, d)
    return (
        shuffle(_EVEN_QUARTERS, ab, cd), shuffle(_ODD_QUARTERS, ab, cd),
        shuffle(_EVEN_QUARTERS, ab2, cd2), shuffle(_ODD_QUARTERS, ab2, cd2),
    )  # fmt: skip


def sums_of_32s(x):
    """Sums of the first 32 bytes of an i8x64, and of the others: two i32."""
    v = dot4_u7(splat(i32x16, 0), splat(u8x64, 1), x)
    v = quarters16(v, v, v, v)
    return i32(lane(v, 0) + lane(v, 4)), i32(lane(v, 8) + lane(v, 12))


def dot_of(fmt):
    """The product of four bytes that takes a format's codes."""
    if fmt.MAX_CODE == SIGNED:
        return dot4_s8
    return dot4_u7 if fmt.MAX_CODE < 128 else dot4


def two_dots(fmt):
    """dots(acc, a, x, b, y): acc plus the products of the codes a with x, and of b with y, in fours of neighbours.
    Where nothing adds four bytes at once, those of small codes are added in 16 bits first: four times 64 * 127 fit."""
    dot = dot_of(fmt)

    def dots(acc, a, x, b, y):
        return dot(dot(acc, a, x), b, y)

    def dots_by_pairs(acc, a, x, b, y):
        return dot2(acc, dot2_u7(a, x) + dot2_u7(b, y), splat(i16x32, 1))

    return dots_by_pairs if current().adds_pairs and 0 < fmt.MAX_CODE <= 64 else dots


def starter(fmt):
    """start(x): what to begin a product of codes with x at: what their offset adds is taken off beforehand."""
    offset, dot = fmt.OFFSET, dot_of(fmt)

    def start(x):
        if offset:
            return splat(i32x16, 0) - dot(splat(i32x16, 0), splat(u8x64, offset), x)
        return splat(i32x16, 0)

    return start
