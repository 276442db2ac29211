"""The gated delta rule (Yang et al. 2024, arXiv 2412.06464): a head's state is a matrix S, [k_dim][n], that decays with
each token, is corrected so that the token's key finds its value, and is read by its query:

    S *= decay;  S += outer(k, beta * (v - k @ S));  out = scale * q @ S

decay is one number a head (Qwen3-Next) or one a key channel (Kimi Delta Attention, arXiv 2510.26692). A unit of work is
one run (thread.Run), one head and 32 columns of S, row after row: a row's result does not depend on how the sequence
was cut into batches. The columns stay in the nearest cache; each pass over them ends one token and begins the next.
"""

from .math import exp16, nan_of, sigmoid16, softplus16
from .pieces import of_rows
from .recurrent import keep_marked, opened
from .simd import (
    Struct,
    bitcast,
    f32,
    f32x16,
    f64,
    fma,
    i32,
    i64,
    load,
    splat,
    store,
    tile_fill,
    tile_fma,
    tile_get,
)
from .thread import RUN_BYTES, Run, Step, Thread, claim
from .vectors import first_lanes, put

DecayParams = Struct("Decay", ("n_rows_at", "n", "x", "a", "dt", "bound", "out"))
"""out = e**g, f32 [n_rows, n], of x, f32 [n_rows, n]; a, dt: f32 [n], up to the next multiple of 16; bound: bits of
f64. g by the factory's name: see `decay`."""

ScanParams = Struct(
    "DeltaNet",
    (
        "step", "n_head", "n", "k_dim", "n_head_k", "repeat", "q", "q_stride", "k", "k_stride", "v", "v_stride",
        "decay", "beta", "scale", "state", "state_stride", "out",
    ),
)  # fmt: skip
"""q, k: f32 rows of n_head_k * k_dim, strides in bytes; v: f32 rows of n_head * n; head h has the keys of head
h // repeat % n_head_k. decay: f32 [n_rows, n_head], or [n_rows, n_head * k_dim]; beta: f32 [n_rows, n_head]; scale:
bits of f64. state: f32 [n_slots][n_head][n / 32, rounded up][k_dim][32], a slot state_stride bytes; columns past n
stay 0. out: f32 [n_rows, n_head * n]."""

COLUMNS = 32
"""Of a unit; a row of them is 128 bytes."""
_ROW = 4 * COLUMNS
_PIECE = 1024


def state_floats(n_head: int, k_dim: int, n: int) -> int:
    """Floats of a slot."""
    return n_head * -(-n // COLUMNS) * COLUMNS * k_dim


def softplus_decay(x, a, dt, bound):
    return a * softplus16(x + dt)


def bounded_decay(x, a, dt, bound):
    return sigmoid16(a * (x + dt)) * bound


_DECAYS = {"softplus": softplus_decay, "bounded": bounded_decay}


def decay(kind: str):
    """kind: "softplus": g = a * softplus(x + dt); "bounded": g = bound * sigmoid(a * (x + dt))."""
    exponent = _DECAYS[kind]

    def piece(p, row, first, last, scratch):
        at, bound = row * p.n * 4, f32(bitcast(f64, p.bound))
        for i in range(first, last, 16):
            x = load(f32x16, p.x + at + 4 * i)
            g = exponent(x, load(f32x16, p.a + 4 * i), load(f32x16, p.dt + 4 * i), bound)
            put(p.out + at + 4 * i, exp16(g) + nan_of(g), p.n - i, scratch)

    return of_rows(DecayParams, _PIECE, piece)


def scan(decays: str):
    """decays: "head" or "channel"."""
    by_channel = decays == "channel"

    def kernel(params, thread):
        p = ScanParams(params)
        step = Step(p.step)
        n_blocks = (p.n + COLUMNS - 1) // COLUMNS
        unit = claim(thread, 1)
        while unit < step.n_runs * p.n_head * n_blocks:
            run = Run(step.runs + unit // (p.n_head * n_blocks) * RUN_BYTES)
            piece = unit % (p.n_head * n_blocks)
            order, place = step.order + 4 * run.first, p.state + piece * p.k_dim * _ROW
            columns(p, run, order, place, piece // n_blocks, piece % n_blocks * COLUMNS, Thread(thread).scratch)
            unit = claim(thread, 1)

    def columns(p, run, order, place, head, c, scratch):
        """Columns c to c + 32 of a head, for all rows of a run; place: their address in slot 0."""
        size = p.k_dim * _ROW
        now, target = opened(run, place, p.state_stride, size)
        factor = f32(bitcast(f64, p.scale))
        head_k = 4 * (head // p.repeat % p.n_head_k) * p.k_dim
        found = look_up(now, p.k_dim, key_of(p, i64(load(i32, order)), head, head_k, scratch))
        found0, found1 = tile_get(found, 0), tile_get(found, 1)
        for t in range(run.count):
            keep_marked(run, t, now, place, p.state_stride, size)
            row = i64(load(i32, order + 4 * t))
            at = row * p.n_head + head
            v, beta = p.v + row * p.v_stride + 4 * (head * p.n + c), load(f32, p.beta + 4 * at)
            v0 = first_lanes(load(f32x16, v), p.n - c)
            v1 = first_lanes(load(f32x16, v + 64), p.n - c - 16)
            faded = p.decay + 4 * at
            if by_channel:
                faded = p.decay + 4 * at * p.k_dim
            else:
                found0, found1 = found0 * load(f32, faded), found1 * load(f32, faded)
            # After the last row its own key is looked up once more, for nothing.
            following = i64(load(i32, order + 4 * min(t + 1, run.count - 1)))
            key = key_of(p, following, head, head_k, scratch)
            q, k = p.q + row * p.q_stride + head_k, p.k + row * p.k_stride + head_k
            a = advance(now, target, p.k_dim, faded, k, (v0 - found0) * beta, (v1 - found1) * beta, q, key)
            found0, found1 = tile_get(a, 2), tile_get(a, 3)
            put(p.out + 4 * (at * p.n + c), tile_get(a, 0) * factor, p.n - c, scratch)
            put(p.out + 4 * (at * p.n + c + 16), tile_get(a, 1) * factor, p.n - c - 16, scratch)
            now = target

    def key_of(p, row, head, head_k, scratch):
        """Address of what a row looks up with: its key, by channel faded as the state will be."""
        k = p.k + row * p.k_stride + head_k
        if not by_channel:
            return k
        decays = p.decay + 4 * (row * p.n_head + head) * p.k_dim
        faded = scratch + 64  # `put` has what comes before
        for i in range(0, p.k_dim, 16):
            store(faded + 4 * i, load(f32x16, k + 4 * i) * load(f32x16, decays + 4 * i))
        return faded

    def advance(now, target, k_dim, faded, k, change0, change1, q, key):
        """Let the state at `now` fade, add outer(k, change), leave it at `target`; (q @ state, key @ state)."""
        a = tile_fill(4, splat(f32x16, 0.0))
        factor = load(f32, faded)
        for i in range(k_dim):
            if by_channel:
                factor = load(f32, faded + 4 * i)
            e = splat(f32x16, load(f32, k + 4 * i))
            s0 = fma(e, change0, load(f32x16, now + _ROW * i) * factor)
            s1 = fma(e, change1, load(f32x16, now + _ROW * i + 64) * factor)
            store(target + _ROW * i, s0)
            store(target + _ROW * i + 64, s1)
            a = tile_fma(a, q + 4 * i, key - q, (s0, s1))
        return a

    return kernel


def look_up(state, k_dim, key):
    """key @ state."""
    a = tile_fill(2, splat(f32x16, 0.0))
    for i in range(k_dim):
        at = state + _ROW * i
        a = tile_fma(a, key + 4 * i, 0, (load(f32x16, at), load(f32x16, at + 64)))
    return a
