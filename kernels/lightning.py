"""Lightning attention (MiniMax-01, arXiv 2501.08313): linear attention whose state fades by a fixed factor a head.

A unit of work is one run (thread.Run), one head and 16 of its value columns, token after token, so that a row's result
does not depend on how the sequence was cut into batches: S = decay * S + k v^T, out = q S.
"""

from .recurrent import opened
from .simd import Struct, f32, f32x16, fma, i32, i64, load, splat, store
from .thread import RUN_BYTES, Run, Step, Thread, claim
from .vectors import copy, put

Params = Struct("Lightning", ("step", "qkv", "stride", "n_head", "dim", "decay", "state", "state_stride", "out"))
"""qkv: f32 rows, `stride` bytes apart, of n_head times [query, key, value], dim floats each; decay: f32 [n_head];
state: f32 [n_slots][n_head][columns][dim][16], 16 value columns each (state_floats), a slot state_stride bytes; out:
f32 [n_rows, n_head * dim]."""


def state_floats(n_head: int, dim: int) -> int:
    """Floats of a slot: columns in whole vectors."""
    return n_head * -(-dim // 16) * dim * 16


def scan():
    """Threads claim 16 columns of a head of a run."""

    def kernel(params, thread):
        p = Params(params)
        step = Step(p.step)
        n_columns = (p.dim + 15) // 16
        unit = claim(thread, 1)
        while unit < step.n_runs * p.n_head * n_columns:
            part = unit % (p.n_head * n_columns)
            head, column = part // n_columns, part % n_columns
            run = Run(step.runs + unit // (p.n_head * n_columns) * RUN_BYTES)
            order, size = step.order + 4 * run.first, 64 * p.dim
            state = p.state + part * size
            source, s = opened(run, state, p.state_stride, size)
            if run.source >= 0:
                copy(source, size, s)
            scratch = Thread(thread).scratch
            marked = run.count
            if run.mark_slot >= 0:
                marked = run.mark
            tokens(p, order, 0, marked, head, column, s, scratch)
            if run.mark_slot >= 0:
                copy(s, size, state + run.mark_slot * p.state_stride)
                tokens(p, order, marked, run.count, head, column, s, scratch)
            unit = claim(thread, 1)

    def tokens(p, order, first, last, head, column, s, scratch):
        """Tokens first to last of a run: four go through a row of the state while it is in a register."""
        decay = splat(f32x16, load(f32, p.decay + 4 * head))
        q_at, out_at = p.qkv + 12 * head * p.dim, p.out + 4 * (head * p.dim + 16 * column)
        v_at, n = 8 * p.dim + 64 * column, p.dim - 16 * column
        t, row_bytes = first, 4 * p.n_head * p.dim
        while t + 4 <= last:
            r0, r1 = row(order, t), row(order, t + 1)
            r2, r3 = row(order, t + 2), row(order, t + 3)
            q0, q1 = q_at + r0 * p.stride, q_at + r1 * p.stride
            q2, q3 = q_at + r2 * p.stride, q_at + r3 * p.stride
            v0, v1 = load(f32x16, q0 + v_at), load(f32x16, q1 + v_at)
            v2, v3 = load(f32x16, q2 + v_at), load(f32x16, q3 + v_at)
            a0, a1 = splat(f32x16, 0.0), splat(f32x16, 0.0)
            a2, a3 = splat(f32x16, 0.0), splat(f32x16, 0.0)
            for i in range(0, 4 * p.dim, 4):
                x = load(f32x16, s + 16 * i)
                x = fma(decay, x, v0 * load(f32, q0 + 4 * p.dim + i))
                a0 = fma(splat(f32x16, load(f32, q0 + i)), x, a0)
                x = fma(decay, x, v1 * load(f32, q1 + 4 * p.dim + i))
                a1 = fma(splat(f32x16, load(f32, q1 + i)), x, a1)
                x = fma(decay, x, v2 * load(f32, q2 + 4 * p.dim + i))
                a2 = fma(splat(f32x16, load(f32, q2 + i)), x, a2)
                x = fma(decay, x, v3 * load(f32, q3 + 4 * p.dim + i))
                a3 = fma(splat(f32x16, load(f32, q3 + i)), x, a3)
                store(s + 16 * i, x)
            put(out_at + r0 * row_bytes, a0, n, scratch)
            put(out_at + r1 * row_bytes, a1, n, scratch)
            put(out_at + r2 * row_bytes, a2, n, scratch)
            put(out_at + r3 * row_bytes, a3, n, scratch)
            t += 4
        while t < last:
            r0 = row(order, t)
            q0 = q_at + r0 * p.stride
            v0, a0 = load(f32x16, q0 + v_at), splat(f32x16, 0.0)
            for i in range(0, 4 * p.dim, 4):
                x = fma(decay, load(f32x16, s + 16 * i), v0 * load(f32, q0 + 4 * p.dim + i))
                a0 = fma(splat(f32x16, load(f32, q0 + i)), x, a0)
                store(s + 16 * i, x)
            put(out_at + r0 * row_bytes, a0, n, scratch)
            t += 1

    return kernel


def row(order, t):
    return i64(load(i32, order + 4 * t))
