"""What the time mixes of RWKV share (wkv6, wkv7): the way along a sequence, and a head's vectors of one token.

A unit of work is one run (thread.Run) and one head, token after token, so that a token's result does not depend on how
the sequence was cut into batches. A head's state is a matrix, a row a key's element and a column a value's: columns are
lanes. It is read from the run's source once, and then stays in the target: [size][padded(size)], f32.
"""

from .norm import root_of
from .recurrent import keep_marked, opened
from .simd import f32, f32x16, fma, hsum, i32, i64, load, splat
from .simd.targets import current
from .thread import RUN_BYTES, SCRATCH_BYTES, Run, Step, Thread, claim
from .vectors import first_lanes

MAX_VECTORS = 8
"""Of padded(size) floats each, that are kept of one token in a thread's scratch, before 64 bytes for ends of rows."""
MAX_SIZE = (SCRATCH_BYTES - 64) // MAX_VECTORS // 64 * 16
"""Elements of a head."""


def padded(size: int) -> int:
    """Floats of a row of a head's state: whole vectors, whose last lanes may be unused."""
    return (size + 15) // 16 * 16


def together(size: int) -> int:
    """Vectors of columns that may go together through a head's state: 4, 2 or 1."""
    n = padded(size) // 16
    return next(v for v in (4, 2, 1) if n % v == 0)


def fitting(vectors: int) -> int:
    """Of them, as many as the target has registers for."""
    return vectors if current().tile_vectors > 1 else min(2, vectors)


def along(Params, token):
    """The kernel that calls token(p, row, head, source, target, scratch) for each row of a run. source: the head's
    state as it was before the row; target: where it is to be left, which may be the same."""

    def kernel(params, thread):
        p = Params(params)
        step = Step(p.step)
        unit = claim(thread, 1)
        while unit < step.n_runs * p.n_head:
            run, head = Run(step.runs + unit // p.n_head * RUN_BYTES), unit % p.n_head
            size = p.size * padded(p.size) * 4
            state = p.state + head * size
            source, target = opened(run, state, p.state_stride, size)
            for t in range(run.count):
                keep_marked(run, t, source, state, p.state_stride, size)
                row = i64(load(i32, step.order + 4 * (run.first + t)))
                token(p, row, head, source, target, Thread(thread).scratch)
                source = target
            unit = claim(thread, 1)

    return kernel


def part(at, n):
    """The vector at an address; zeros in lanes from n on."""
    v = load(f32x16, at)
    if n >= 16:
        return v
    return first_lanes(v, n)


def norm_of(x, n, eps):
    """(what is taken off, what the rest is multiplied by) of the LayerNorm of n floats."""
    total = splat(f32x16, 0.0)
    for i in range(0, n, 16):
        total = total + part(x + 4 * i, n - i)
    mean = f32(hsum(total) / f32(n))
    squares = splat(f32x16, 0.0)
    for i in range(0, n, 16):
        v = load(f32x16, x + 4 * i) - mean
        if n - i < 16:
            v = first_lanes(v, n - i)
        squares = fma(v, v, squares)
    return mean, root_of(hsum(squares), n, eps)
