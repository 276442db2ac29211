"""Products of a few rows of activations: several users decode at once. Four rows of weights times four of activations.

matvec unpacks the weights again for each row of activations. Here they are unpacked once for four, whose sums across
lanes are formed together: lanes of the result are [row of weights][row of activations]. Each thread first puts the
activations into its scratch, in the order in which the codes of the format come (`by_fours` of the format's kind).
Additions have matvec's order, lane by lane: the bits are the same.
"""

from . import formats, matvec
from .matvec import Params, addresses, four_rows, keep, kind_of, lead_of, piece, prefetch_address
from .simd import Lanes, f32x4, i64, load, shuffle, store
from .simd.targets import current
from .thread import SCRATCH_BYTES, Step, Thread, claim

_FASTER = ("amx", "avx512vnni", "avxvnni", "avx2")
"""Targets where it was measured to be faster; with SSE2 alone four rows cost up to 1.4 times as much as one by one."""
_RESULTS = SCRATCH_BYTES - 64
"""Of a thread's scratch: where four times four results stand."""
_TRANSPOSED = Lanes(tuple(4 * i + t for t in range(4) for i in range(4)))


def rows(fmt: str, distance: int = matvec.AHEADS[0]):
    """The kernel for weights in this format: matvec.rows, faster for more than one row of activations.

    `by_fours(format)` of a kind gives n_bytes(k): what four rows of activations take when they are arranged; arrange(k,
    x, x_d, x_s, y, t): put row t of four at y; products(wa, wb, wc, wd, k, y, prefetch_at): f32x16; and the least rows
    that are worth it, others being copies. It is None, or missing, where there is no such product.
    """
    format_ = formats.for_products(fmt)
    by_fours = getattr(kind_of(format_), "by_fours", _none)(format_)
    if by_fours is None or current().name not in _FASTER:
        return matvec.rows(fmt, distance)
    n_bytes, arrange, products, least = by_fours
    single = four_rows(fmt)

    def kernel(params, thread):
        p = Params(params)
        out = p.out
        if out == 0:
            out = Step(p.step).logits
        lead, n_rows, nth = lead_of(p.row_bytes, distance), load(i64, p.n_rows_at), Thread(thread).nth
        scratch, size, fours = Thread(thread).scratch, n_bytes(p.k), i64(0)
        first, last = piece(claim(thread, 1), p.n, nth, p.chunk)
        if first < p.n:
            fours = min((n_rows + 4 - least) // 4, _RESULTS // size)
            arrange_all(p, n_rows, fours, scratch)
        while first < p.n:
            # See matvec.rows.
            then, end = piece(claim(thread, 1), p.n, nth, p.chunk)
            after = p.w + (then if then < p.n else first) * p.row_bytes
            for r in range(first, last, 4):
                prefetch_at = prefetch_address(p.w, p.row_bytes, r + lead, last, after)
                for t in range(0, 4 * fours, 4):
                    four(p, out, r, last, n_rows, t, scratch + t // 4 * size, scratch + _RESULTS, prefetch_at)
                    prefetch_at = p.w + r * p.row_bytes
                for t in range(4 * fours, n_rows):
                    one(p, out, r, last, t, prefetch_at)
                    prefetch_at = p.w + r * p.row_bytes
            first, last = then, end

    def arrange_all(p, n_rows, fours, scratch):
        """Put rows of activations into scratch, the last one again where they are not whole fours."""
        for t in range(4 * fours):
            row = min(t, n_rows - 1)
            x, x_d, x_s = p.x + row * p.x_row, p.x_d + row * p.d_row, p.x_s + row * p.s_row
            arrange(p.k, x, x_d, x_s, scratch + t // 4 * n_bytes(p.k), t % 4)

    def four(p, out, r, last, n_rows, t, y, results, prefetch_at):
        """Four rows of weights times four rows of activations from number t on."""
        wa, wb, wc, wd = addresses(p.w, p.row_bytes, r, last)
        values = products(wa, wb, wc, wd, p.k, y, prefetch_at)
        store(results, shuffle(_TRANSPOSED, values, values))
        for row in range(t, min(t + 4, n_rows)):
            keep(p, out, r, last, row, load(f32x4, results + 16 * (row - t)))

    def one(p, out, r, last, t, prefetch_at):
        """Four rows of weights times a row of activations that is left."""
        x, x_d, x_s = p.x + t * p.x_row, p.x_d + t * p.d_row, p.x_s + t * p.s_row
        keep(p, out, r, last, t, single(p.w, p.row_bytes, r, last, p.k, x, x_d, x_s, prefetch_at))

    return kernel


def _none(format_):
    return None
