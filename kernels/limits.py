"""What the machine can do at most: plain loops to hold kernels against."""

from .matvec import piece
from .simd import (
    Struct,
    i32x16,
    load,
    prefetch,
    splat,
    squares_add,
    squares_begin,
    squares_clear,
    squares_end,
    squares_put,
    store,
    tile_dots,
    tile_fill,
    tile_store,
)
from .simd.targets import current
from .thread import Thread, claim

ReadParams = Struct("Read", ("x", "n"))
"""n bytes at x, a multiple of PIECE, are read once."""

DotsParams = Struct("Dots", ("n",))
"""n times MACS products of a code with an int8, from the first-level cache."""

PIECE = 1 << 16
_QUARTER = PIECE // 4
_ROUNDS = 64
_STEPS = 256
"""Rows of scratch that a round walks over: 1 KB each of weights."""
_SQUARES = 64
"""Times that a round adds to four squares."""


def macs() -> int:
    """Products of one unit of `dots`."""
    target = current()
    if target.squares:
        return _ROUNDS * _SQUARES * 4 * 16 * 16 * 64
    return _ROUNDS * _STEPS * target.tile_rows * target.tile_vectors * 64


def read():
    """Threads claim pieces as matvec does; the sums go to their scratch, so that nothing is left out."""

    def kernel(params, thread):
        p = ReadParams(params)
        n, nth = p.n // _QUARTER, Thread(thread).nth
        first, last = piece(claim(thread, 1), n, nth, 4)
        a, b = splat(i32x16, 0), splat(i32x16, 0)
        c, d = a, b
        while first < n:
            for at in range(p.x + first * _QUARTER, p.x + last * _QUARTER, 256):
                for line in range(0, 256, 64):
                    prefetch(at + 32768 + line)
                a, b = a + load(i32x16, at), b + load(i32x16, at + 64)
                c, d = c + load(i32x16, at + 128), d + load(i32x16, at + 192)
            first, last = piece(claim(thread, 1), n, nth, 4)
        store(Thread(thread).scratch, a + b + c + d)

    return kernel


def dots():
    """The register tile of matmul's inner loop, or its squares, and nothing around it."""
    target = current()
    if target.squares:
        return _square_dots
    R, V = target.tile_rows, target.tile_vectors
    RV = R * V

    def kernel(params, thread):
        p = DotsParams(params)
        scratch = Thread(thread).scratch
        unit = claim(thread, 1)
        acc = tile_fill(RV, splat(i32x16, 0))
        while unit < p.n:
            for _ in range(_ROUNDS):
                for j in range(0, _STEPS, 8):
                    x = scratch + 16384 + 64 * (j & 56)
                    acc = tile_dots(acc, scratch + 4 * j, 1024, x, 4096, V, 8, 1)
            unit = claim(thread, 1)
        tile_store(scratch + 65536, V * 64, 64, acc, V)

    return kernel


def _square_dots(params, thread):
    p = DotsParams(params)
    scratch = Thread(thread).scratch
    unit = claim(thread, 1)
    squares_begin(64)
    squares_clear(scratch, 4)
    while unit < p.n:
        for _ in range(_ROUNDS * _SQUARES):
            squares_add(scratch, scratch + 4096, 1024, 2, scratch + 6144, 1024, 2, 64, 2)
        unit = claim(thread, 1)
    squares_put(scratch, 4)
    squares_end()
