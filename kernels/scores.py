"""What is made of attention scores before the softmax: change(p, scores, c0, c1, position, head), in place, for cells
c0 to c1 of one row's head; scores + 4 * c is that of cell c, p an attention.Params block.
"""

from .math import lanes_from, tanh16
from .simd import absolute, bitcast, cast, f32, f32x16, f64, i32x16, load, splat, store

FAR = 128
"""The distance from which on biases by distance stay the same."""
DISTANCES = 2 * FAR + 33
"""Of a head's biases: f32 for distances from -FAR - 16 to FAR + 16, so that any 16 cells find theirs side by side."""


def plain(p, scores, c0, c1, position, head):
    pass


def capped(p, scores, c0, c1, position, head):
    """cap * tanh(score / cap); cap: bits of f64."""
    cap = f32(bitcast(f64, p.cap))
    for c in range(c0, c1, 16):
        s = load(f32x16, scores + 4 * c)
        store(scores + 4 * c, tanh16(s / splat(f32x16, cap)) * cap)


def alibi(p, scores, c0, c1, position, head):
    """The score less the distance times the head's slope, f32 [n_head] (Press et al. 2022, arXiv 2108.12409)."""
    slope = load(f32, p.slopes + 4 * head)
    for c in range(c0, c1, 16):
        distance = absolute(cast(f32x16, lanes_from(c) - splat(i32x16, position)))
        store(scores + 4 * c, load(f32x16, scores + 4 * c) - distance * slope)


def relative(p, scores, c0, c1, position, head):
    """With the bias for the distance, f32 [n_head][DISTANCES] in `slopes` (Raffel et al. 2020, arXiv 1910.10683)."""
    biases = p.slopes + 4 * DISTANCES * head
    for c in range(c0, c1, 16):
        first = min(max(c - position, -FAR - 16), FAR + 1) + FAR + 16
        store(scores + 4 * c, load(f32x16, scores + 4 * c) + load(f32x16, biases + 4 * first))


CHANGES = {"plain": plain, "capped": capped, "alibi": alibi, "relative": relative}
