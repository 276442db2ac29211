"""Vectors turned by a Hadamard matrix, in place: an element that is far larger than the others is spread over all.

Keys of Q4_0 are turned before they get codes, and queries before they meet them: products stay what they were, while
errors become those of elements of one size (QuaRot, Ashkboos et al. 2024, arXiv 2404.00456). The matrix of n elements,
n the greatest power of two that divides their number, has entries of 1 and -1; what it is multiplied by are powers of
two, n**-1 in both together, so that nothing but its additions is rounded.
"""

from .simd import Const, Lanes, bitcast, constant, f32x16, load, shuffle, store, u32x16

_SIGN = 1 << 31
_LANES = tuple((Lanes(tuple(i ^ step for i in range(16))), step) for step in (1, 2, 4, 8))
_OTHER1, _OTHER2, _OTHER4, _OTHER8 = (lanes for lanes, _ in _LANES)
_SIGNS1, _SIGNS2, _SIGNS4, _SIGNS8 = (
    Const(u32x16, tuple(_SIGN if i & step else 0 for i in range(16))) for _, step in _LANES
)


def turn(x, n, more):
    """Times 2**-(log2(size) / 2), rounded down, or up where `more` is 1."""
    size, halvings = n & -n, more
    step = size
    while step > 1:
        step >>= 1
        halvings += 1
    halvings >>= 1
    factor = 1.0
    for _ in range(halvings):
        factor *= 0.5
    for i in range(0, n, 16):
        v = load(f32x16, x + 4 * i)
        v = shuffle(_OTHER1, v, v) + _signed(v, constant(_SIGNS1))
        v = shuffle(_OTHER2, v, v) + _signed(v, constant(_SIGNS2))
        v = shuffle(_OTHER4, v, v) + _signed(v, constant(_SIGNS4))
        v = shuffle(_OTHER8, v, v) + _signed(v, constant(_SIGNS8))
        store(x + 4 * i, v * factor)
    step = 16
    while step < size:
        for i in range(0, n, 2 * step):
            for j in range(i, i + step, 16):
                a, b = load(f32x16, x + 4 * j), load(f32x16, x + 4 * (j + step))
                store(x + 4 * j, a + b)
                store(x + 4 * (j + step), a - b)
        step *= 2


def _signed(v, signs):
    return bitcast(f32x16, bitcast(u32x16, v) ^ signs)
