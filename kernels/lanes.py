"""How products of four rows begin and end: what is taken off for a code's offset, and sums across lanes."""

from .simd import Lanes, dot4, dot4_u7, i32x16, shuffle, splat, u8x64

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
LOWER4, UPPER4 = Lanes((0, 1, 2, 3)), Lanes((4, 5, 6, 7))


def quarters16(a, b, c, d):
    """Of four i32x16: in each quarter of 128 bits the sums of that quarter of a, b, c, d."""
    ab = shuffle(_LOW32, a, b) + shuffle(_HIGH32, a, b)
    cd = shuffle(_LOW32, c, d) + shuffle(_HIGH32, c, d)
    return shuffle(_LOW64, ab, cd) + shuffle(_HIGH64, ab, cd)


def pairs16(a, b):
    """Of two i32x16: in each quarter the sums of lanes 0 and 1, and 2 and 3, of that quarter of a, then of b."""
    return shuffle(EVENS, a, b) + shuffle(ODDS, a, b)


def sums16(a, b, c, d):
    """Sums of all lanes of four i32x16: i32x4."""
    v = quarters16(a, b, c, d)
    v = shuffle(LOWER8, v, v) + shuffle(UPPER8, v, v)
    return shuffle(LOWER4, v, v) + shuffle(UPPER4, v, v)


def sums8(a, b, c, d):
    """Sums of all lanes of four i32x8: i32x4."""
    ab = shuffle(_LOW32H, a, b) + shuffle(_HIGH32H, a, b)
    cd = shuffle(_LOW32H, c, d) + shuffle(_HIGH32H, c, d)
    v = shuffle(_LOW64H, ab, cd) + shuffle(_HIGH64H, ab, cd)
    return shuffle(LOWER4, v, v) + shuffle(UPPER4, v, v)


def starter(fmt):
    """start(x): what to begin a product of codes with x at: what their offset adds is taken off beforehand."""
    offset, dot = fmt.OFFSET, dot4_u7 if fmt.MAX_CODE < 128 else dot4

    def start(x):
        if offset:
            return splat(i32x16, 0) - dot(splat(i32x16, 0), splat(u8x64, offset), x)
        return splat(i32x16, 0)

    return start
