"""Rows that are kept for later tokens, while their own token's result may not depend on them: an indexer's keys, cells
that may not be chosen, what entries will be made of. What is not finite in them must show in the pass that makes them,
so that no sequence keeps it.
"""

from .simd import Struct, f32, i64, load, store
from .thread import claim

Params = Struct("Kept", ("n_rows_at", "n", "x", "out"))
"""out: f32 [n_rows]: NaN is left there where a row of x, f32 [n_rows, n], has what is no finite number."""


def rows():
    """Threads claim rows."""

    def kernel(params, thread):
        p = Params(params)
        n_rows = load(i64, p.n_rows_at)
        row = claim(thread, 1)
        while row < n_rows:
            wrong = f32(wrong_in(p.x + row * p.n * 4, p.n))
            if wrong != f32(0.0):
                store(p.out + 4 * row, wrong)
            row = claim(thread, 1)

    return kernel


def wrong_in(x, n):
    """0, or NaN."""
    total = f32(0.0)
    for i in range(n):
        total = f32(total + f32(load(f32, x + 4 * i) * f32(0.0)))
    return total
