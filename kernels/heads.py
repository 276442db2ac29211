"""Products of each head's part of a row with a matrix of its own: what multi-head latent attention (arXiv 2405.04434)
puts before the scores and after the weighted sums; and `split`, for keys and values that were made of latents.

`gather` puts the parts head after head, `quantize` makes them ready, and they are multiplied: by `rows` where the batch
has a few rows, by `tiles` otherwise. Both give the same bits.
"""

from . import matmul, matvec
from .experts import BLOCK, COUNT, K, N, describe
from .matvec import finish, lead_of, piece
from .simd import Struct, f32, f32x16, i64, load, splat, store
from .thread import Thread, claim

GatherParams = Struct("HeadGather", ("n_rows_at", "n_head", "n", "x", "row", "head", "pad", "out", "n_places"))
"""x: f32, n elements for each head of each row, `row` bytes from row to row and `head` from head to head. out: f32
[n_head][n_rows, to a multiple of pad][n], zeros in what that adds; n_places: how many parts these are, an int64."""

RowsParams = Struct(
    "HeadRows",
    (
        "n_rows_at", "n_head", "w", "row_bytes", "n", "k", "x", "x_d", "x_s", "x_row", "d_row", "s_row", "out", "chunk",
    ),
)  # fmt: skip
"""out[t, h] = w[h] @ x[h, t], f32 [n_rows][n_head][n]; w: matrices [n, k], one after another; x, x_d, x_s: as matvec's,
[n_head][n_rows], with the bytes of one; chunk: least rows of w claimed, a multiple of 4."""

TilesParams = Struct(
    "HeadTiles",
    (
        "n_rows_at", "n_head", "w", "row_bytes", "n", "k", "x", "x_d", "x_s", "x_p", "row", "row_d", "row_s", "row_p",
        "out",
    ),
)  # fmt: skip
"""The same for x, x_d, x_s, x_p as matmul's, [n_head][n_rows to a multiple of 16]; row, ...: bytes that one takes."""

SplitParams = Struct(
    "HeadSplit", ("n_rows_at", "n_head", "nope", "n_rot", "v_dim", "kv", "rotated", "stride", "k", "v")
)
"""kv: f32 [n_rows][n_head][nope + v_dim]; rotated: the n_rot elements with RoPE that all heads share, rows
`stride` bytes apart. Out: k f32 [n_rows][n_head][nope + n_rot], v [n_rows][n_head][v_dim]."""


def gather():
    """Threads claim eight parts."""

    def kernel(params, thread):
        p = GatherParams(params)
        n_rows = load(i64, p.n_rows_at)
        padded = (n_rows + p.pad - 1) // p.pad * p.pad
        place = claim(thread, 8)
        if place == 0:
            store(p.n_places, p.n_head * padded)
        while place < p.n_head * padded:
            for at in range(place, min(place + 8, p.n_head * padded)):
                head, row = at // padded, at % padded
                if row < n_rows:
                    copy(p.x + row * p.row + head * p.head, p.n, p.out + at * p.n * 4)
                else:
                    clear(p.n, p.out + at * p.n * 4)
            place = claim(thread, 8)

    return kernel


def copy(x, n, out):
    whole = n // 16 * 16
    for i in range(0, whole, 16):
        store(out + 4 * i, load(f32x16, x + 4 * i))
    for i in range(whole, n):
        store(out + 4 * i, load(f32, x + 4 * i))


def clear(n, out):
    whole = n // 16 * 16
    for i in range(0, whole, 16):
        store(out + 4 * i, splat(f32x16, 0.0))
    for i in range(whole, n):
        store(out + 4 * i, f32(0.0))


def split():
    """Threads claim heads of rows."""

    def kernel(params, thread):
        p = SplitParams(params)
        n_rows = load(i64, p.n_rows_at)
        unit = claim(thread, 1)
        while unit < n_rows * p.n_head:
            kv, k = p.kv + unit * (p.nope + p.v_dim) * 4, p.k + unit * (p.nope + p.n_rot) * 4
            copy(kv, p.nope, k)
            copy(p.rotated + unit // p.n_head * p.stride, p.n_rot, k + p.nope * 4)
            copy(kv + p.nope * 4, p.v_dim, p.v + unit * p.v_dim * 4)
            unit = claim(thread, 1)

    return kernel


def rows(fmt: str, distance: int = matvec.AHEADS[0]):
    """Threads claim rows of the weights, head after head, in pieces as matvec's."""
    products = matvec.four_rows(fmt)

    def kernel(params, thread):
        p = RowsParams(params)
        padded = (p.n + 3) // 4 * 4
        n, nth, n_rows = p.n_head * padded, Thread(thread).nth, load(i64, p.n_rows_at)
        lead = lead_of(p.row_bytes, distance)
        first, last = piece(claim(thread, 1), n, nth, p.chunk)
        while first < n:
            then, end = piece(claim(thread, 1), n, nth, p.chunk)
            after = then if then < n else first
            for at in range(first, last, 4):
                ahead = min(at + lead if at + lead < last else after + (at + lead - last), n - 1)
                four(p, at // padded, at % padded, n_rows, address(p, ahead // padded, ahead % padded))
            first, last = then, end

    def four(p, head, r, n_rows, prefetch_at):
        """Four rows of a head's weights, times that head's part of each row."""
        for t in range(n_rows):
            slot = head * n_rows + t
            x, x_d, x_s = p.x + slot * p.x_row, p.x_d + slot * p.d_row, p.x_s + slot * p.s_row
            values = products(address(p, head, 0), p.row_bytes, r, p.n, p.k, x, x_d, x_s, prefetch_at)
            finish(i64(0), i64(0), p.out + (t * p.n_head + head) * p.n * 4, r, min(4, p.n - r), values)
            prefetch_at = address(p, head, r)

    return kernel


def address(p, head, r):
    """Of row r of a head's weights."""
    return p.w + (head * p.n + r) * p.row_bytes


def tiles(fmt: str, tile: str = ""):
    """Threads claim a block of rows of one head's weights."""
    work, units = matmul.block(fmt, tile)
    fields, max_tokens = matmul.Params, matmul.MAX_TOKENS

    def kernel(params, thread):
        p = TilesParams(params)
        block = Thread(thread).scratch + BLOCK
        store(block + N, p.n)
        store(block + K, p.k)
        n_units, n_rows = units(fields(block)), load(i64, p.n_rows_at)
        unit = claim(thread, 1)
        while unit < p.n_head * n_units:
            head = unit // n_units
            for first in range(0, n_rows, max_tokens):
                store(block + COUNT, min(n_rows - first, max_tokens))
                out = p.out + (first * p.n_head + head) * p.n * 4
                start = head * ((n_rows + 15) // 16 * 16) + first
                describe(p, block, address(p, head, 0), start, i64(0), out, p.n_head * p.n * 4)
                work(fields(block), thread, unit % n_units)
            unit = claim(thread, 1)

    return kernel
