"""Mixture of experts (Shazeer et al. 2017, arXiv 1701.06538): routing, and products with the chosen experts alone.

`route` writes which experts a row goes to and with which weights: NaN, where a score is no finite number. A single row
reads its experts in place (`rows`). A batch is put in order of experts (`group`), its activations gathered in that
order (`gather`), each expert's rows starting a tile of 16; `tiles` runs matmul over them, expert by expert, and
`combine` adds up what a row's experts gave.
"""

from . import matmul, matvec
from .math import exp16, nan_of, sigmoid16, softplus16
from .matvec import finish, lead_of, piece
from .simd import (
    Struct,
    bitcast,
    f32,
    f32x16,
    f64,
    i32,
    i64,
    lane,
    load,
    splat,
    sqrt,
    store,
)
from .thread import SCRATCH_BYTES, Thread, claim

RouteParams = Struct(
    "Route",
    (
        "n_rows_at", "n_expert", "n_used", "n_groups", "n_group_used", "logits", "bias", "normed", "factor", "divide",
        "probs", "ids", "weights",
    ),
)  # fmt: skip
"""logits: f32 [n_rows, n_expert]; bias: f32 [n_expert] that counts for the choice alone, or 0; normed: 1 where weights
are divided by their sum; factor: of the weights (bits of f64); n_groups: of experts, the n_group_used best of which are
chosen from, or 0; divide: ids are divided by it, once chosen, and weights read there. probs: scratch, f32 [n_rows, 2,
n_expert]. Out: ids int32, weights f32 [n_rows, n_used]."""

GroupParams = Struct(
    "Group", ("n_rows_at", "n_expert", "n_used", "ids", "counts", "starts", "places", "sources", "n_places")
)
"""ids: int32 [n_rows, n_used]. Out: counts, int64 [n_expert], rows of each expert; starts, int64 [n_expert]: their
first place, a multiple of 16; places int32 [n_rows, n_used]: where each row's copy for an expert lies; sources int32
[n_places]: the number row * n_used + slot of the copy there, or -1; n_places, an int64."""

GatherParams = Struct("Gather", ("n_places_at", "n", "n_used", "x", "sources", "weights", "out"))
"""out, f32 [n_places, n]: rows of x (f32 [n_rows, n]) as sources name them, times their weight where `weights` is not
0; zeros where there is none. n_places_at, sources: of `group`; sources 0: place s of a single row is slot s."""

RowsParams = Struct(
    "ExpertRows",
    (
        "w", "stride", "row_bytes", "n", "k", "n_used", "ids", "x", "x_d", "x_s", "slot", "slot_d", "slot_s",
        "bias", "bias_stride", "out", "chunk",
    ),
)  # fmt: skip
"""out[s, n] = w[ids[s]] @ x[s] (+ bias[ids[s]]) for a single row; stride, bias_stride: bytes from an expert to the
next; x, x_d, x_s: of slot 0, see matvec; slot, slot_d, slot_s: bytes to the next slot's, 0 where all read the same."""

TilesParams = Struct(
    "ExpertTiles",
    (
        "n_expert", "counts", "starts", "w", "stride", "row_bytes", "n", "k", "x", "x_d", "x_s", "x_p",
        "row", "row_d", "row_s", "row_p", "bias", "bias_stride", "out",
    ),
)  # fmt: skip
"""out[place, n] = w[expert] @ x[place] (+ bias[expert]) for all places of `group`; x, x_d, x_s, x_p: see matmul; row,
...: bytes of each that a place takes."""

CombineParams = Struct("Combine", ("n_rows_at", "n", "n_used", "y", "places", "weights", "add", "out"))
"""out = sum over slots of weights[row, slot] * y[places[row, slot]] (+ add): f32 [n_rows, n]; weights 0: all 1; places
0: slot s of a single row is at s. add: or 0; it may be out."""

_NONE, _LEAST = -3.0e38, -2.9e38
"""Below all: a choice that is taken, and one that is the last resort."""


def route(gating: str):
    """Threads claim rows. gating: "softmax", "sigmoid", "sqrt_softplus" of all, "softmax_weight" of the chosen."""
    probabilities = GATINGS[gating]
    late = gating == "softmax_weight"

    def kernel(params, thread):
        p = RouteParams(params)
        n_rows = load(i64, p.n_rows_at)
        row = claim(thread, 1)
        while row < n_rows:
            probs = p.probs + row * p.n_expert * 8
            choice = probs + p.n_expert * 4
            ids, weights = p.ids + row * p.n_used * 4, p.weights + row * p.n_used * 4
            probabilities(p.logits + row * p.n_expert * 4, probs, p.n_expert)
            wrong = f32(0.0)
            for e in range(p.n_expert):
                c = load(f32, probs + 4 * e)
                if p.bias != 0:
                    c = f32(c + load(f32, p.bias + 4 * e))
                wrong = f32(wrong + f32(c * f32(0.0)))
                # What is no number is chosen last, and like all others only once.
                if not c > f32(_LEAST):
                    c = f32(_LEAST)
                store(choice + 4 * e, c)
            if p.n_groups != 0:
                drop_groups(choice, p.n_expert // p.n_groups, p.n_groups, p.n_group_used)
            for s in range(p.n_used):
                e = best(choice, p.n_expert)
                store(choice + 4 * e, f32(_NONE))
                store(ids + 4 * s, i32(e // p.divide))
                store(weights + 4 * s, load(f32, probs + e // p.divide * 4))
            if late:
                softmax(weights, weights, p.n_used)
            scale(weights, p.n_used, p.normed, f32(bitcast(f64, p.factor)))
            if wrong != f32(0.0):
                store(weights, wrong)
            row = claim(thread, 1)

    return kernel


def best(choice, n):
    """The number of the greatest; of equals the first."""
    at, greatest = i64(0), f32(_NONE)
    for e in range(n):
        c = load(f32, choice + 4 * e)
        if c > greatest:
            at, greatest = i64(e), c
    return at


def drop_groups(choice, size, n_groups, n_used):
    """Leave the groups whose two best experts have the greatest sums (DeepSeek-V3, arXiv 2412.19437)."""
    for _ in range(n_groups - n_used):
        least, lowest = i64(0), f32(3.0e38)
        for g in range(n_groups):
            first, second = f32(_NONE), f32(_NONE)
            for e in range(g * size, (g + 1) * size):
                c = load(f32, choice + 4 * e)
                if c > first:
                    second, first = first, c
                elif c > second:
                    second = c
            total = f32(first + second)
            # A group that was dropped has the lowest sum of all; it must not be found as the lowest again.
            if first > f32(_NONE) and total <= lowest:
                least, lowest = i64(g), total
        for e in range(least * size, (least + 1) * size):
            store(choice + 4 * e, f32(_NONE))


def softmax(x, out, n):
    m = f32(_NONE)
    for e in range(n):
        m = max(m, load(f32, x + 4 * e))
    total = f32(0.0)
    for e in range(n):
        v = load(f32, x + 4 * e)
        w = lane(exp16(splat(f32x16, f32(v - m))) + nan_of(splat(f32x16, v)), 0)
        store(out + 4 * e, w)
        total = f32(total + w)
    for e in range(n):
        store(out + 4 * e, f32(load(f32, out + 4 * e) / total))


def sigmoid(x, out, n):
    for e in range(n):
        store(out + 4 * e, lane(sigmoid16(splat(f32x16, load(f32, x + 4 * e))), 0))


def sqrt_softplus(x, out, n):
    for e in range(n):
        store(out + 4 * e, sqrt(lane(softplus16(splat(f32x16, load(f32, x + 4 * e))), 0)))


def unchanged(x, out, n):
    for e in range(n):
        store(out + 4 * e, load(f32, x + 4 * e))


GATINGS = {"softmax": softmax, "sigmoid": sigmoid, "sqrt_softplus": sqrt_softplus, "softmax_weight": unchanged}


def scale(weights, n, normed, factor):
    total = f32(0.0)
    for s in range(n):
        total = f32(total + load(f32, weights + 4 * s))
    # As llama.cpp bounds it: the least number that binary16 has without losing bits.
    total = max(total, f32(6.103515625e-5))
    for s in range(n):
        w = load(f32, weights + 4 * s)
        if normed != 0:
            w = f32(w / total)
        store(weights + 4 * s, f32(w * factor))


def group():
    """One thread puts the copies of all rows in order of experts; it is a matter of microseconds."""

    def kernel(params, thread):
        p = GroupParams(params)
        if claim(thread, 1) != 0:
            return
        n = load(i64, p.n_rows_at) * p.n_used
        for e in range(p.n_expert):
            store(p.counts + 8 * e, i64(0))
        for i in range(n):
            at = p.counts + 8 * i64(load(i32, p.ids + 4 * i))
            store(p.places + 4 * i, i32(load(i64, at)))
            store(at, load(i64, at) + 1)
        place = i64(0)
        for e in range(p.n_expert):
            store(p.starts + 8 * e, place)
            place += (load(i64, p.counts + 8 * e) + 15) // 16 * 16
        store(p.n_places, place)
        for i in range(place):
            store(p.sources + 4 * i, i32(-1))
        for i in range(n):
            at = load(i64, p.starts + 8 * i64(load(i32, p.ids + 4 * i))) + i64(load(i32, p.places + 4 * i))
            store(p.places + 4 * i, i32(at))
            store(p.sources + 4 * at, i32(i))

    return kernel


def n_places(p):
    """Of a batch, as `group` counted them, or of a single row, whose slots they are: sources is 0 then."""
    if p.sources == 0:
        return i64(p.n_used)
    return load(i64, p.n_places_at)


def source_of(p, place):
    """The number row * n_used + slot of the copy at a place, or -1."""
    if p.sources == 0:
        return i64(place)
    return i64(load(i32, p.sources + 4 * place))


def gather():
    """Threads claim places."""

    def kernel(params, thread):
        p = GatherParams(params)
        n = n_places(p)
        place = claim(thread, 1)
        while place < n:
            source = source_of(p, place)
            factor = f32(0.0)
            if source >= 0:
                factor = f32(1.0)
                if p.weights != 0:
                    factor = load(f32, p.weights + 4 * source)
            x = p.x + max(i64(0), source) // p.n_used * p.n * 4
            out = p.out + place * p.n * 4
            whole = p.n // 16 * 16
            for i in range(0, whole, 16):
                store(out + 4 * i, load(f32x16, x + 4 * i) * factor)
            for i in range(whole, p.n):
                store(out + 4 * i, f32(load(f32, x + 4 * i) * factor))
            place = claim(thread, 1)

    return kernel


def rows(fmt: str, distance: int = matvec.AHEADS[0]):
    """Threads claim rows of the chosen experts' weights, slot after slot, in pieces as matvec's."""
    products = matvec.four_rows(fmt)

    def kernel(params, thread):
        p = RowsParams(params)
        padded = (p.n + 3) // 4 * 4
        n, nth, lead = p.n_used * padded, Thread(thread).nth, lead_of(p.row_bytes, distance)
        first, last = piece(claim(thread, 1), n, nth, p.chunk)
        while first < n:
            then, end = piece(claim(thread, 1), n, nth, p.chunk)
            after = then if then < n else first
            for at in range(first, last, 4):
                ahead = at + lead if at + lead < last else after + (at + lead - last)
                rows_of_slot(p, at // padded, at % padded, place_of(p, padded, min(ahead, n - 1)))
            first, last = then, end

    def rows_of_slot(p, slot, r, prefetch_at):
        expert = i64(load(i32, p.ids + 4 * slot))
        bias = i64(0)
        if p.bias != 0:
            bias = p.bias + expert * p.bias_stride
        values = products(
            p.w + expert * p.stride, p.row_bytes, r, p.n, p.k,
            p.x + slot * p.slot, p.x_d + slot * p.slot_d, p.x_s + slot * p.slot_s, prefetch_at,
        )  # fmt: skip
        finish(bias, i64(0), p.out + slot * p.n * 4, r, min(4, p.n - r), values)

    return kernel


def place_of(p, padded, at):
    """Address of a row, counted through all slots, each of `padded` rows."""
    return p.w + i64(load(i32, p.ids + 4 * (at // padded))) * p.stride + at % padded * p.row_bytes


BLOCK = SCRATCH_BYTES - 256
"""Of a thread's scratch: where the parameters of matmul for one expert are made."""


def tiles(fmt: str, tile: str = ""):
    """Threads claim a block of rows of one expert's weights."""
    work, units = matmul.block(fmt, tile)
    fields = matmul.Params

    def kernel(params, thread):
        p = TilesParams(params)
        block = Thread(thread).scratch + BLOCK
        store(block + N, p.n)
        store(block + K, p.k)
        n_units = units(fields(block))
        unit = claim(thread, 1)
        while unit < p.n_expert * n_units:
            expert = unit // n_units
            start, n = load(i64, p.starts + 8 * expert), load(i64, p.counts + 8 * expert)
            bias = i64(0)
            if p.bias != 0:
                bias = p.bias + expert * p.bias_stride
            if n > 0:
                store(block + COUNT, n)
                out = p.out + start * p.n * 4
                describe(p, block, p.w + expert * p.stride, start, bias, out, p.n * 4)
                work(fields(block), thread, unit % n_units)
            unit = claim(thread, 1)

    return kernel


COUNT = matmul.Params.size
"""Where the number of rows stands, behind the parameters."""
N, K = matmul.Params.offset("n"), matmul.Params.offset("k")
AT_N_ROWS, AT_W, AT_ROW_BYTES = (matmul.Params.offset(f) for f in ("n_rows_at", "w", "row_bytes"))
AT_X, AT_X_D, AT_X_S, AT_X_P = (matmul.Params.offset(f) for f in ("x", "x_d", "x_s", "x_p"))
AT_BIAS, AT_ADD, AT_OUT, AT_STRIDE = (matmul.Params.offset(f) for f in ("bias", "add", "out", "stride"))


def describe(p, block, w, start, bias, out, stride):
    """matmul's parameters for the rows of activations from `start` on and the matrix at w; n and k are there already,
    and the number of rows stands at block + COUNT."""
    store(block + AT_N_ROWS, block + COUNT)
    store(block + AT_W, w)
    store(block + AT_ROW_BYTES, p.row_bytes)
    store(block + AT_X, p.x + start * p.row)
    store(block + AT_X_D, p.x_d + start * p.row_d)
    store(block + AT_X_S, p.x_s + start * p.row_s)
    store(block + AT_X_P, p.x_p + start * p.row_p)
    store(block + AT_BIAS, bias)
    store(block + AT_ADD, i64(0))
    store(block + AT_OUT, out)
    store(block + AT_STRIDE, stride)


def combine():
    """Threads claim rows' pieces of 256 elements."""

    def kernel(params, thread):
        p = CombineParams(params)
        n_rows = load(i64, p.n_rows_at)
        pieces = (p.n + 255) // 256
        unit = claim(thread, 1)
        while unit < n_rows * pieces:
            row, first = unit // pieces, unit % pieces * 256
            for i in range(first, min(first + 256, p.n)):
                total = f32(0.0)
                for s in range(p.n_used):
                    slot = row * p.n_used + s
                    place = slot
                    if p.places != 0:
                        place = i64(load(i32, p.places + 4 * slot))
                    y = load(f32, p.y + (place * p.n + i) * 4)
                    if p.weights != 0:
                        y = f32(y * load(f32, p.weights + 4 * slot))
                    total = f32(total + y)
                at = (row * p.n + i) * 4
                if p.add != 0:
                    total = f32(total + load(f32, p.add + at))
                store(p.out + at, total)
            unit = claim(thread, 1)

    return kernel
