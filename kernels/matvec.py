"""Matrix-vector products in place: what a token costs. Weights are read once, at the speed of memory.

A thread claims pieces of the matrix, large ones first; four rows run together: each load of the activations serves all
four, and their sums are formed side by side. The integer part of a product is exact, and floats are added in the order
in which matmul adds them: a token gives the same bits alone and in a batch.
"""

from . import (
    formats,
    matvec_block32,
    matvec_digits,
    matvec_float,
    matvec_grids,
    matvec_k,
    matvec_lanes,
    matvec_pairs,
    matvec_super,
)
from .simd import Struct, f32, f32x4, i64, lane, load, store
from .simd.targets import current
from .thread import Step, Thread, claim

Params = Struct(
    "MatVec",
    (
        "n_rows_at", "w", "row_bytes", "n", "k", "x", "x_d", "x_s", "x_row", "d_row", "s_row", "bias", "add", "out",
        "stride", "step", "chunk",
    ),
)  # fmt: skip
"""out[t, n] = x[t] @ w[n, k] (+ bias) (+ add[t]), f32 rows `stride` bytes apart, for t < the int64 at n_rows_at, a few.
x, x_d, x_s: see quantize.rows, with the bytes from row to row; or f32 rows of k for float formats. bias: f32 [n] or 0;
add: rows like out's, or 0; it may be out. out 0: the logits of the step. chunk: least rows claimed, a multiple of 4."""

AHEADS = 8192, 2048, 32768
"""Prefetch distances in bytes, the variants of `rows`: weights are prefetched at least so far before they are used."""


def rows(fmt: str, distance: int = AHEADS[0]):
    """The kernel for weights in this format."""
    arrange = arrangement(fmt)
    products, is_arranged = four_rows(fmt, arrange is not None), arrange is not None
    put = arrange or _leave

    def kernel(params, thread):
        p = Params(params)
        out = p.out
        if out == 0:
            out = Step(p.step).logits
        lead, n_rows = lead_of(p.row_bytes, distance), load(i64, p.n_rows_at)
        nth = Thread(thread).nth
        first, last = piece(claim(thread, 1), p.n, nth, p.chunk)
        x, x_row, x_s, s_row = p.x, p.x_row, p.x_s, p.s_row
        if is_arranged and first < p.n:
            x, x_row, x_s, s_row = arrange_all(p, n_rows, Thread(thread).scratch)
        while first < p.n:
            # Claimed early: at the end of these rows the start of the next ones must be prefetched.
            then, end = piece(claim(thread, 1), p.n, nth, p.chunk)
            after = p.w + (then if then < p.n else first) * p.row_bytes
            for r in range(first, last, 4):
                prefetch_at = prefetch_address(p.w, p.row_bytes, r + lead, last, after)
                for t in range(n_rows):  # while these rows of weights are in the nearest cache
                    at, s, d = x + t * x_row, x_s + t * s_row, p.x_d + t * p.d_row
                    keep(p, out, r, last, t, products(p.w, p.row_bytes, r, last, p.k, at, d, s, prefetch_at))
                    prefetch_at = p.w + r * p.row_bytes
            first, last = then, end

    def arrange_all(p, n_rows, y):
        size = 2 * p.k
        for t in range(n_rows):
            put(p.k, p.x + t * p.x_row, p.x_s + t * p.s_row, y + t * size)
        return y, size, y + p.k, size

    return kernel


def piece(unit, n, nth, least):
    """Rows, first and last, of a unit of work: each round of nth units shares half of what is left, in fours.

    The longer a thread reads on in one place, the better: with pieces of 32 KB a fifth of the bandwidth was lost. The
    last pieces are small, so that all threads end at once.
    """
    first = 0
    size = max(least, n // (2 * nth) // 4 * 4)
    for _ in range(unit // nth):
        first += size * nth
        if first >= n:
            return n, n
        size = max(least, (n - first) // (2 * nth) // 4 * 4)
    first += unit % nth * size
    return min(first, n), min(first + size, n)


def keep(p, out, r, last, t, values):
    """Store the results of rows r to r + 3, or to `last`, times row t of activations."""
    add = p.add
    if add != 0:
        add += t * p.stride
    finish(p.bias, add, out + t * p.stride, r, min(4, last - r), values)


def finish(bias, add, out, r, n, values):
    """Add bias and residual to n of four results, and store them."""
    if n == 4:
        if bias != 0:
            values = values + load(f32x4, bias + 4 * r)
        if add != 0:
            values = values + load(f32x4, add + 4 * r)
        store(out + 4 * r, values)
        return
    for i in range(n):
        value = lane(values, i)
        if bias != 0:
            value = f32(value + load(f32, bias + 4 * (r + i)))
        if add != 0:
            value = f32(value + load(f32, add + 4 * (r + i)))
        store(out + 4 * (r + i), value)


def lead_of(row_bytes, distance):
    """Rows to look ahead, in whole fours."""
    return (distance // (4 * row_bytes) + 1) * 4


def prefetch_address(w, row_bytes, r, last, after):
    """Address of row r; past `last`, of the rows that follow at `after`."""
    if r < last:
        return w + r * row_bytes
    return after + (r - last) * row_bytes


def arrangement(fmt: str):
    """arrange(k, x, x_s, y): puts activations, k bytes, into the order in which the codes of a format come, and behind
    them what is wanted of their sums, as many bytes at most. Once for all rows of weights: each four would do it anew.
    None where they are taken as they stand. Those of all rows must fit a thread's scratch: the gate limits k.
    """
    format_ = formats.for_products(fmt)
    return getattr(product_of(format_), "arrangement", _as_they_stand)(format_)


def _as_they_stand(format_):
    return None


def _leave(k, x, x_s, y):
    pass


def four_rows(fmt: str, is_arranged=False):
    """products(w, row_bytes, r, last, k, x, x_d, x_s, prefetch_at): of rows r to r + 3 of w with x, f32x4.

    prefetch_at: address of as many bytes that will be needed; they are prefetched line by line as these are used. Where
    fewer than four rows are left before `last`, the last one repeats. is_arranged: x and x_s are what the format's
    `arrangement` has made of them.
    """
    format_ = formats.for_products(fmt)
    module = product_of(format_)
    products = module.four_rows(format_, True) if is_arranged else module.four_rows(format_)

    def from_row(w, row_bytes, r, last, k, x, x_d, x_s, prefetch_at):
        wa, wb, wc, wd = addresses(w, row_bytes, r, last)
        return products(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at)

    return from_row


def addresses(w, row_bytes, r, last):
    """Of rows r to r + 3 of w; where fewer are left before `last`, the last one's again."""
    return (
        w + r * row_bytes, w + min(r + 1, last - 1) * row_bytes,
        w + min(r + 2, last - 1) * row_bytes, w + min(r + 3, last - 1) * row_bytes,
    )  # fmt: skip


_WITHOUT_LOOK_UPS = ("generic",)
"""Targets where a look-up of bytes is many instructions: matvec_digits takes 1.4 times as many as matvec_super."""


def product_of(format_):
    """The module whose four_rows multiplies a format on this target."""
    target = current()
    if format_.KIND == "super" and target.scales_by_lane:
        return matvec_lanes
    if formats.optional(format_, "five_digits") and target.name not in _WITHOUT_LOOK_UPS:
        return matvec_digits
    if formats.optional(format_, "entries"):
        return matvec_grids
    by_pairs = target.adds_pairs and format_.KIND == "super" and format_.MAX_CODE < 128
    return matvec_pairs if by_pairs else kind_of(format_)


def kind_of(format_):
    """The module that multiplies a format, as a rule."""
    return matvec_k if formats.optional(format_, "quarters") else _KINDS[format_.KIND]


_KINDS = {"float": matvec_float, "block32": matvec_block32, "super": matvec_super}
"""What multiplies a format of each KIND: four_rows(format) gives
products(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at)."""
