"""RWKV's token shift (Peng et al. 2024, arXiv 2404.05892): each channel of a row is mixed with that of the row before
it in its sequence. The last row of what was read is the layer's state.

A unit of work is one run (thread.Run) and a block of channels, row after row.
"""

from .simd import Struct, f32x16, fma, i32, i64, load, splat
from .thread import RUN_BYTES, Run, Step, Thread, claim
from .vectors import put

Params = Struct("Shift", ("step", "x", "n", "lerps", "n_lerps", "out", "out_stride", "state", "state_stride"))
"""x: f32 [n_rows, n]; lerps: f32 [n_lerps][n]; out: f32 [n_rows, n], n_lerps times, out_stride bytes apart; state: f32
[n_slots][n], a slot state_stride bytes. out[j][t] = x[t] + (x[t - 1] - x[t]) * lerps[j]; before the first row lie
zeros."""

_BLOCK = 128
"""Channels of a unit."""


def rows(kind: str):
    """kind: "fixed"; "changed": the factors are lerps[j] + out[j][t], rows that differ from token to token, and the
    state is not written: a fixed shift of the same x has done that."""
    is_changed = kind == "changed"

    def kernel(params, thread):
        p = Params(params)
        step = Step(p.step)
        n_blocks = (p.n + _BLOCK - 1) // _BLOCK
        unit = claim(thread, 1)
        while unit < step.n_runs * n_blocks:
            run = Run(step.runs + unit // n_blocks * RUN_BYTES)
            first = unit % n_blocks * _BLOCK
            shift(p, run, step.order + 4 * run.first, first, min(first + _BLOCK, p.n), Thread(thread).scratch)
            unit = claim(thread, 1)

    def shift(p, run, order, first, last, scratch):
        """Channels first to last of a run. The row before is looked up in x, which nobody writes meanwhile."""
        for t in range(run.count):
            row = i64(load(i32, order + 4 * t)) * p.n * 4
            before = place(p, run, order, t - 1)
            for c in range(first, last, 16):
                x = load(f32x16, p.x + row + 4 * c)
                difference = earlier(before, c) - x
                for j in range(p.n_lerps):
                    factor = load(f32x16, p.lerps + 4 * (j * p.n + c))
                    at = p.out + j * p.out_stride + row + 4 * c
                    if is_changed:
                        factor = factor + load(f32x16, at)
                    put(at, fma(difference, factor, x), p.n - c, scratch)
        if not is_changed:
            keep(p, place(p, run, order, run.count - 1), run.target, first, last, scratch)
            if run.mark_slot >= 0:
                keep(p, place(p, run, order, run.mark - 1), run.mark_slot, first, last, scratch)

    def place(p, run, order, t):
        """Address of row t of a run; of row -1 in the state before it, or 0 where there is none."""
        if t >= 0:
            return p.x + i64(load(i32, order + 4 * t)) * p.n * 4
        if run.source < 0:
            return i64(0)
        return p.state + run.source * p.state_stride

    def earlier(at, c):
        if at == 0:
            return splat(f32x16, 0.0)
        return load(f32x16, at + 4 * c)

    def keep(p, at, slot, first, last, scratch):
        """Leave a row in a slot."""
        for c in range(first, last, 16):
            put(p.state + slot * p.state_stride + 4 * c, earlier(at, c), p.n - c, scratch)

    return kernel
