"""What is made of attention scores before the softmax: change(p, scores, c0, c1, position, head, row), in place, for
cells c0 to c1 of one row's head; scores + 4 * c is that of cell c, p an attention.Params block.
"""

from .math import lanes_from, tanh16
from .simd import absolute, bitcast, cast, f32, f32x16, f64, i32, i32x16, i64, load, splat, store, u8

MASKED = -1e30
"""A score that counts for nothing; not -inf, whose differences are NaN."""
FAR = 128
"""The distance from which on biases by distance stay the same."""
WRONG = 255
"""In the place of a choice that could not be made: a score was no finite number."""
DISTANCES = 2 * FAR + 33
"""Of a head's biases: f32 for distances from -FAR - 16 to FAR + 16, so that any 16 cells find theirs side by side."""
_NAN = float("nan")


def plain(p, scores, c0, c1, position, head, row):
    pass


def capped(p, scores, c0, c1, position, head, row):
    """cap * tanh(score / cap); cap: bits of f64."""
    cap = f32(bitcast(f64, p.cap))
    for c in range(c0, c1, 16):
        s = load(f32x16, scores + 4 * c)
        store(scores + 4 * c, tanh16(s / splat(f32x16, cap)) * cap)


def alibi(p, scores, c0, c1, position, head, row):
    """The score less the distance times the head's slope, f32 [n_head] (Press et al. 2022, arXiv 2108.12409)."""
    slope = load(f32, p.slopes + 4 * head)
    for c in range(c0, c1, 16):
        distance = absolute(cast(f32x16, lanes_from(c) - splat(i32x16, position)))
        store(scores + 4 * c, load(f32x16, scores + 4 * c) - distance * slope)


def relative(p, scores, c0, c1, position, head, row):
    """With the bias for the distance, f32 [n_head][DISTANCES] in `slopes` (Raffel et al. 2020, arXiv 1910.10683)."""
    biases = p.slopes + 4 * DISTANCES * head
    for c in range(c0, c1, 16):
        first = min(max(c - position, -FAR - 16), FAR + 1) + FAR + 16
        store(scores + 4 * c, load(f32x16, scores + 4 * c) + load(f32x16, biases + 4 * first))


def blocks(p, scores, c0, c1, position, head, row):
    """Only cells of chosen blocks count: chosen is u8 [n_rows][n_lists][n_blocks], 1 or 0 for `size` cells each, or
    WRONG, which makes NaN of their scores; n_lists: 1, or n_head_kv. Cells up to the last vector's end are changed."""
    flags = p.chosen + (row * p.n_lists + head // (p.n_head // p.n_head_kv) % p.n_lists) * p.n_blocks
    end = (c1 + 15) // 16 * 16
    for block in range(c0 // p.size, (end + p.size - 1) // p.size):
        flag = load(u8, flags + block)
        if block * p.size > position or flag != 1:
            value = f32(MASKED)
            if block * p.size <= position and flag == WRONG:
                value = f32(_NAN)
            for c in range(max(c0, block * p.size), min(end, (block + 1) * p.size)):
                store(scores + 4 * c, value)


CHANGES = {"plain": plain, "capped": capped, "alibi": alibi, "relative": relative, "blocks": blocks}


def whole_range(p, step, j0, j1, group, head, first, c1):
    return first, c1


def chosen_range(p, step, j0, j1, group, head, first, c1):
    """From the first to the last block that one of queries j0 to j1 has chosen; query j is one of row j // group."""
    low, high = c1, first
    for row in range(j0 // group, (j1 - 1) // group + 1):
        flags = p.chosen + (row * p.n_lists + head % p.n_lists) * p.n_blocks
        for block in range(first // p.size, min(c1 - 1, i64(load(i32, step.positions + 4 * row))) // p.size + 1):
            if load(u8, flags + block) != 0:
                low, high = min(low, block * p.size), max(high, (block + 1) * p.size)
    return max(low, first), min(high, c1)


RANGES = dict.fromkeys(CHANGES, whole_range) | {"blocks": chosen_range}
"""Which of the cells from first to c1 have to be read."""
