"""Kernels that threads claim pieces of rows of: what a kernel has of its own is what it does with one piece. Params has
n_rows_at, the address of the number of rows, and n, the elements of a row."""

from .simd import i64, load
from .thread import Thread, claim


def of_rows(Params, size, work):
    """The kernel that calls work(p, row, first, last, scratch) for pieces of `size` elements."""

    def kernel(params, thread):
        p = Params(params)
        n_rows, n_pieces = load(i64, p.n_rows_at), (p.n + size - 1) // size
        unit = claim(thread, 1)
        while unit < n_rows * n_pieces:
            first = unit % n_pieces * size
            work(p, unit // n_pieces, first, min(first + size, p.n), Thread(thread).scratch)
            unit = claim(thread, 1)

    return kernel


def of_all(Params, size, work):
    """The kernel that calls work(p, first, last, scratch) for pieces of the rows, which lie one after another."""

    def kernel(params, thread):
        p = Params(params)
        n = load(i64, p.n_rows_at) * p.n
        first = claim(thread, 1) * size
        while first < n:
            work(p, first, min(first + size, n), Thread(thread).scratch)
            first = claim(thread, 1) * size

    return kernel
