"""Vectors of which only the first lanes count, as at the end of a row; and memory that is whole vectors."""

from .math import lanes_from
from .simd import f32, f32x16, i32x16, less, load, select, splat, store


def first_lanes(v, n):
    """v with zeros past the first n lanes."""
    return select(less(lanes_from(0), splat(i32x16, n)), v, splat(f32x16, 0.0))


def put(at, v, n, scratch):
    """Store the first n lanes, at most 16."""
    if n >= 16:
        store(at, v)
    else:
        store(scratch, v)
        for i in range(n):
            store(at + 4 * i, load(f32, scratch + 4 * i))


def clear(at, n_bytes):
    for i in range(0, n_bytes, 64):
        store(at + i, splat(f32x16, 0.0))


def copy(source, n_bytes, target):
    for i in range(0, n_bytes, 64):
        store(target + i, load(f32x16, source + i))
