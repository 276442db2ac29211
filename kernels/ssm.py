"""Selective scans along a sequence: Mamba (Gu and Dao 2023, arXiv 2312.00752) and Mamba-2 (Dao and Gu 2024, arXiv
2405.21060).

Each channel has a state of d_state elements: state = decay * state + (dt * x) * B; y = state . C + D * x, gated by SiLU
of z. A unit of work is one run (thread.Run) and 16 channels of a head, which are the lanes; tokens follow each other,
so that a result does not depend on how the sequence was cut into batches. A few rows of the state stay in registers
while a few tokens pass over them.
"""

from .math import exp16, nan_of, silu16, softplus16
from .recurrent import keep_marked, opened
from .simd import (
    Struct,
    bitcast,
    f32,
    f32x16,
    fma,
    i32,
    i32x16,
    i64,
    load,
    maximum,
    prefetch,
    splat,
    store,
)
from .thread import RUN_BYTES, Run, Step, Thread, claim
from .vectors import first_lanes, put

ScanParams = Struct(
    "Scan",
    (
        "step", "n_head", "head_dim", "n_group", "d_state", "x", "x_stride", "bc", "bc_stride", "dt", "dt_stride", "a",
        "d", "z", "z_stride", "z_head", "state", "state_stride", "out",
    ),
)  # fmt: skip
"""x: f32 rows [n_head * head_dim]; bc: rows of B [n_group][d_state], then C alike; dt, a: see `scan`; d: f32
[n_head * head_dim]; z: rows of heads z_head bytes apart; *_stride: bytes from a row to the next one; state: f32
[n_slots][n_head][blocks of 16 channels][state_rows][16], a slot state_stride bytes, lanes past a head's channels 0;
out: f32 [n_rows, n_head * head_dim]."""

StepsParams = Struct("SsmSteps", ("n_rows_at", "n", "dt", "stride", "bias", "a", "out"))
"""dt: f32 rows of n heads, `stride` bytes apart; bias: f32 [n] or 0; a: f32 [n]; out: f32 [n_rows][2][n]: the sizes of
the steps, softplus(dt + bias), and the decays, e**(size * a)."""

_TOKENS = 32
"""Tokens that pass over the state together: what they need lies in the nearest cache."""
_ENTRY = 256
"""Bytes of scratch a token: the address of its B and, by 64 bytes, what its decay is made of, dt * x, y."""
_RENEWED = 8
"""Where in an entry the factor is that renews a head's state."""
_LOWEST, _HIGHEST = 2.0**-32, 2.0**32
"""Of a head's scale."""
_AHEAD = 2048
"""The prefetch distance in the state, in bytes."""


def state_rows(decay: str, d_state: int) -> int:
    """Rows of 16 lanes that the state of 16 channels takes."""
    return d_state + _EXTRA[decay]


_EXTRA = {"head": 1, "channel": 0}


def scan(decay: str):
    """decay: "head": those of Mamba-2, one for a head: dt as `steps` leaves it, a unused. A decay does not multiply the
    state's rows but their scale, which is its last row. What a token adds is divided by it, and when it has gone
    too far, the rows are renewed. "channel": Mamba's, one for each element, 2**(size * a): dt f32 rows [head_dim], the
    sizes softplus(dt); a: f32 [blocks of 16 channels][d_state][16], at most 0; n_head is 1."""
    enter, whole, one, result = _of_head() if decay == "head" else _of_channel()
    rows, extra = 16 if decay == "head" else 8, _EXTRA[decay]

    def kernel(params, thread):
        p = ScanParams(params)
        step = Step(p.step)
        blocks = (p.head_dim + 15) // 16
        units = p.n_head * blocks
        unit = claim(thread, 1)
        while unit < step.n_runs * units:
            run = Run(step.runs + unit // units * RUN_BYTES)
            block = unit % units
            at = p.state + block * (p.d_state + extra) * 64
            sequence(p, step, run, at, block // blocks, block % blocks, Thread(thread).scratch)
            unit = claim(thread, 1)

    def sequence(p, step, run, at, head, block, scratch):
        """All tokens of a run. at: where the unit's state lies in slot 0."""
        order = step.order + 4 * run.first
        size = (p.d_state + extra) * 64
        source, target = opened(run, at, p.state_stride, size)
        if extra and run.source < 0:
            store(target + 64 * p.d_state, splat(f32x16, 1.0))
        t = 0
        while t < run.count:
            last = min(t + _TOKENS, run.count)
            if t < run.mark:
                last = min(last, run.mark)
            keep_marked(run, t, source, at, p.state_stride, size)
            tokens(p, order + 4 * t, last - t, head, block, source, target, scratch)
            source = target
            t = last

    def tokens(p, order, n, head, block, source, target, scratch):
        channel = head * p.head_dim + 16 * block
        channels = p.head_dim - 16 * block
        bc = p.bc + head // (p.n_head // p.n_group) * p.d_state * 4
        c = p.n_group * p.d_state * 4
        end = scratch + n * _ENTRY
        scale = f32(1.0)
        if extra:
            scale = load(f32, source + 64 * p.d_state)
        for t in range(n):
            row, entry = i64(load(i32, order + 4 * t)), scratch + t * _ENTRY
            store(entry, bc + row * p.bc_stride)
            x = first_lanes(load(f32x16, p.x + row * p.x_stride + 4 * channel), channels)
            scale = enter(p, row, head, channel, channels, x, scale, entry)
        if extra:
            store(target + 64 * p.d_state, splat(f32x16, scale))
        a = p.a + block * p.d_state * 64
        n_whole = p.d_state // rows * rows
        for i in range(0, n_whole, rows):
            whole(source, target, a, i, c, scratch, end)
        for i in range(n_whole, p.d_state):
            one(source, target, a, i, c, scratch, end)
        for t in range(n):
            row = i64(load(i32, order + 4 * t))
            z = load(f32x16, p.z + row * p.z_stride + head * p.z_head + 64 * block)
            y = result(scratch + t * _ENTRY) * silu16(z)
            put(p.out + (row * p.n_head * p.head_dim + channel) * 4, y, channels, scratch + t * _ENTRY)

    return kernel


def _of_head():
    """Sixteen rows of a state, or one, from row i on, through all tokens of the entries: one scale for all rows."""

    def enter(p, row, head, channel, n, x, scale, entry):
        """Fill in a token's entry; the scale after it."""
        at = p.dt + row * p.dt_stride + 4 * head
        size, renewed = load(f32, at), f32(1.0)
        scale = f32(scale * load(f32, at + 4 * p.n_head))
        if not (f32(_LOWEST) < scale < f32(_HIGHEST)):
            renewed, scale = scale, f32(1.0)
        store(entry + _RENEWED, renewed)
        inverse = f32(f32(1.0) / scale)
        store(entry + 64, splat(f32x16, scale))
        store(entry + 128, x * f32(size * inverse))
        store(entry + 192, x * load(f32x16, p.d + 4 * channel) * inverse)
        return scale

    def result(entry):
        return load(f32x16, entry + 192) * load(f32x16, entry + 64)

    def whole(source, target, a, i, c, first, end):
        at, to = source + 64 * i, target + 64 * i
        a0, a1, a2, a3 = four(at)
        b0, b1, b2, b3 = four(at + 256)
        c0, c1, c2, c3 = four(at + 512)
        d0, d1, d2, d3 = four(at + 768)
        for line in range(0, 1024, 64):
            prefetch(at + _AHEAD + line)
        for entry in range(first, end, _ENTRY):
            b, renewed = load(i64, entry) + 4 * i, load(f32, entry + _RENEWED)
            x, y = load(f32x16, entry + 128), load(f32x16, entry + 192)
            if renewed != f32(1.0):
                a0, a1, a2, a3 = a0 * renewed, a1 * renewed, a2 * renewed, a3 * renewed
                b0, b1, b2, b3 = b0 * renewed, b1 * renewed, b2 * renewed, b3 * renewed
                c0, c1, c2, c3 = c0 * renewed, c1 * renewed, c2 * renewed, c3 * renewed
                d0, d1, d2, d3 = d0 * renewed, d1 * renewed, d2 * renewed, d3 * renewed
            a0, a1, a2, a3, ya = advance(a0, a1, a2, a3, x, b, b + c)
            b0, b1, b2, b3, yb = advance(b0, b1, b2, b3, x, b + 16, b + c + 16)
            c0, c1, c2, c3, yc = advance(c0, c1, c2, c3, x, b + 32, b + c + 32)
            d0, d1, d2, d3, yd = advance(d0, d1, d2, d3, x, b + 48, b + c + 48)
            store(entry + 192, y + ((ya + yb) + (yc + yd)))
        put4(to, a0, a1, a2, a3)
        put4(to + 256, b0, b1, b2, b3)
        put4(to + 512, c0, c1, c2, c3)
        put4(to + 768, d0, d1, d2, d3)

    def one(source, target, a, i, c, first, end):
        h = load(f32x16, source + 64 * i)
        for entry in range(first, end, _ENTRY):
            h = single(h * load(f32, entry + _RENEWED), entry, i, c)
        store(target + 64 * i, h)

    return enter, whole, one, result


def _of_channel():
    """The same for eight rows, or one, where each element has a decay of its own."""

    def enter(p, row, head, channel, n, x, scale, entry):
        size = first_lanes(softplus16(load(f32x16, p.dt + row * p.dt_stride + 4 * channel)), n)
        store(entry + 64, size)
        store(entry + 128, x * size)
        store(entry + 192, x * load(f32x16, p.d + 4 * channel))
        return scale

    def result(entry):
        return load(f32x16, entry + 192)

    def whole(source, target, a, i, c, first, end):
        at, to, rates = source + 64 * i, target + 64 * i, a + 64 * i
        a0, a1, a2, a3 = four(at)
        b0, b1, b2, b3 = four(at + 256)
        for line in range(0, 512, 64):
            prefetch(at + _AHEAD + line)
        for entry in range(first, end, _ENTRY):
            b = load(i64, entry) + 4 * i
            size, x, y = load(f32x16, entry + 64), load(f32x16, entry + 128), load(f32x16, entry + 192)
            v0, v1, v2, v3 = four_decays(size, rates)
            w0, w1, w2, w3 = four_decays(size, rates + 256)
            a0, a1, a2, a3, ya = advance(a0 * v0, a1 * v1, a2 * v2, a3 * v3, x, b, b + c)
            b0, b1, b2, b3, yb = advance(b0 * w0, b1 * w1, b2 * w2, b3 * w3, x, b + 16, b + c + 16)
            store(entry + 192, y + (ya + yb))
        put4(to, a0, a1, a2, a3)
        put4(to + 256, b0, b1, b2, b3)

    def one(source, target, a, i, c, first, end):
        h, rate = load(f32x16, source + 64 * i), load(f32x16, a + 64 * i)
        for entry in range(first, end, _ENTRY):
            h = single(h * power16(load(f32x16, entry + 64) * rate), entry, i, c)
        store(target + 64 * i, h)

    return enter, whole, one, result


def four_decays(size, a):
    r0, r1, r2, r3 = four(a)
    return power16(size * r0), power16(size * r1), power16(size * r2), power16(size * r3)


def power16(x):
    """2**x for x <= 0, to 2 ulp; from -125 on the value there. Exactly 1 at 0: no decay may be more.

    The polynomial is the best of its degree on -0.5 to 0.5, 3e-9 away.
    """
    x = maximum(splat(f32x16, -125.0), x)
    rounded = x + 12582912.0  # 1.5 * 2**23: its last bits are the integer
    f = x - (rounded - 12582912.0)
    y = splat(f32x16, 1.5594677562e-4)
    y = fma(y, f, splat(f32x16, 1.3406643905e-3))
    y = fma(y, f, splat(f32x16, 9.6176929748e-3))
    y = fma(y, f, splat(f32x16, 5.5503105510e-2))
    y = fma(y, f, splat(f32x16, 2.4022652783e-1))
    y = fma(y, f, splat(f32x16, 6.9314721497e-1))
    y = fma(y, f, splat(f32x16, 1.0))
    return bitcast(f32x16, bitcast(i32x16, y) + (bitcast(i32x16, rounded) << 23))


def four(at):
    return load(f32x16, at), load(f32x16, at + 64), load(f32x16, at + 128), load(f32x16, at + 192)


def put4(at, h0, h1, h2, h3):
    store(at, h0)
    store(at + 64, h1)
    store(at + 128, h2)
    store(at + 192, h3)


def advance(h0, h1, h2, h3, x, b, c):
    """Four rows, decayed, one token on: the rows, and their part of y. x: dt * x; b, c: addresses of four numbers of B
    and C."""
    h0 = fma(splat(f32x16, load(f32, b)), x, h0)
    h1 = fma(splat(f32x16, load(f32, b + 4)), x, h1)
    h2 = fma(splat(f32x16, load(f32, b + 8)), x, h2)
    h3 = fma(splat(f32x16, load(f32, b + 12)), x, h3)
    y = h0 * splat(f32x16, load(f32, c))
    y = fma(h1, splat(f32x16, load(f32, c + 4)), y)
    y = fma(h2, splat(f32x16, load(f32, c + 8)), y)
    y = fma(h3, splat(f32x16, load(f32, c + 12)), y)
    return h0, h1, h2, h3, y


def single(h, entry, i, c):
    """Row i, decayed, one token on; its part is added to y."""
    b = load(i64, entry) + 4 * i
    h = fma(splat(f32x16, load(f32, b)), load(f32x16, entry + 128), h)
    store(entry + 192, fma(h, splat(f32x16, load(f32, b + c)), load(f32x16, entry + 192)))
    return h


def steps():
    """Threads claim rows."""

    def kernel(params, thread):
        p = StepsParams(params)
        n_rows = load(i64, p.n_rows_at)
        row = claim(thread, 1)
        while row < n_rows:
            for i in range(0, p.n, 16):
                dt = load(f32x16, p.dt + row * p.stride + 4 * i)
                if p.bias != 0:
                    dt = dt + load(f32x16, p.bias + 4 * i)
                size = softplus16(dt)
                exponent = size * load(f32x16, p.a + 4 * i)
                decay = exp16(exponent) + nan_of(exponent)
                at = p.out + (2 * row * p.n + i) * 4
                put(at, size, p.n - i, Thread(thread).scratch)
                put(at + 4 * p.n, decay, p.n - i, Thread(thread).scratch)
            row = claim(thread, 1)

    return kernel
