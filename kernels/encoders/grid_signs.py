"""A super-block made ready for the search: entries side by side, magnitudes of about 1, signs apart."""

from ..simd import (
    Const,
    absolute,
    bitcast,
    constant,
    f32x16,
    i32x16,
    less,
    load,
    minimum,
    select,
    shuffle,
    splat,
    store,
    u32x16,
)
from .across import SWAP1
from .grid_layout import NORMAL, SIGNS, WEIGHTS, W, X
from .lanes import square

_FOUR_OF_ODD = Const(i32x16, (0, 4) * 8)


def preparation(g):
    """The elements, brought to magnitudes of 1 to 2 or less, and the weights, entries side by side; signs apart."""
    elements, signed, parity = g.elements, g.signed, g.parity
    vectors = 16 // elements
    make_even = _EVEN[elements]

    def prepare(x, w, factor, scratch):
        # The last entries are read with more behind them: not in memory that is somebody else's.
        normal, weights = scratch + NORMAL, scratch + WEIGHTS
        for i in range(0, 1024, 64):
            store(normal + i, load(f32x16, x + i) * factor)
            store(weights + i, load(f32x16, w + i))
        for v in range(vectors):
            place = scratch + X + 1024 * v
            square(normal + 64 * elements * v, 4 * elements, 16, place)
            square(weights + 64 * elements * v, 4 * elements, 16, scratch + W + 1024 * v)
            if not signed:
                signs = splat(u32x16, 0)
                for j in range(elements):
                    bits = bitcast(u32x16, load(f32x16, place + 64 * j))
                    signs = signs | ((bits >> 31) << j)
                    store(place + 64 * j, bits & 0x7FFFFFFF)
                if parity:
                    signs = make_even(place, scratch + W + 1024 * v, signs)
                store(scratch + SIGNS + 64 * v, signs)

    return prepare


def _cheapest(x, w, j, number):
    """What a wrong sign of element j costs, with its number in the last three bits, as integers that are as great."""
    return (bitcast(i32x16, absolute(load(f32x16, x + 64 * j)) * load(f32x16, w + 64 * j)) & -8) | number


def _flip(x, w, signs, odd, least, elements, number):
    """Where signs are odd, turn the one whose key is `least`: its element becomes negative. The signs."""
    least = select(less(splat(u32x16, 0), odd), least, splat(i32x16, -1))
    for j in range(elements):
        keep = less(least, _cheapest(x, w, j, number | j))
        v = load(f32x16, x + 64 * j)
        store(x + 64 * j, select(keep, v, splat(f32x16, 0.0) - v))
        signs = signs ^ select(keep, splat(u32x16, 0), splat(u32x16, 1 << j))
    return signs


def _even8(x, w, signs):
    p = signs ^ (signs >> 4)
    p = p ^ (p >> 2)
    p = p ^ (p >> 1)
    least = splat(i32x16, 0x7FFFFFFF)
    for j in range(8):
        least = minimum(_cheapest(x, w, j, splat(i32x16, 0) | j), least)
    return _flip(x, w, signs, p & 1, least, 8, splat(i32x16, 0))


def _even4(x, w, signs):
    """Of two fours side by side."""
    p = signs ^ (signs >> 2)
    p = p ^ (p >> 1)
    p = p ^ shuffle(SWAP1, p, p)
    least = splat(i32x16, 0x7FFFFFFF)
    for j in range(4):
        least = minimum(_cheapest(x, w, j, constant(_FOUR_OF_ODD) | j), least)
    least = minimum(least, shuffle(SWAP1, least, least))
    return _flip(x, w, signs, p & 1, least, 4, constant(_FOUR_OF_ODD))


_EVEN = {8: _even8, 4: _even4}
