"""Causal convolution along a sequence, each channel by itself: the short convolutions of Mamba (Gu and Dao 2023, arXiv
2312.00752), delta-nets and LFM2.

A unit of work is one run (thread.Run) and a block of channels, row after row, so that a row's result does not depend on
how the sequence was cut into batches. What a later batch needs, the last width - 1 inputs, is the layer's state.
"""

from .math import silu16
from .simd import Struct, f32x16, fma, i32, i64, load, splat
from .thread import RUN_BYTES, Run, Step, Thread, claim
from .vectors import put

Params = Struct(
    "Conv",
    ("step", "x", "gate_in", "gate_out", "x_stride", "n", "w", "width", "bias", "state", "state_stride", "out"),
)
"""x: f32 rows of n channels, x_stride bytes apart; gate_in, gate_out: rows like x's ("gated" alone); w: f32 [width][n],
the last for the row itself; bias: f32 [n] or 0; state: f32 [n_slots][width - 1][n], a slot state_stride bytes; out: f32
[n_rows, n]. out[t] = bias + sum over j of w[j] * x[t - width + 1 + j]; inputs before the first are 0."""

_BLOCK = 128
"""Channels of a unit."""


def rows(kind: str):
    """kind: "plain"; "silu": the result goes through SiLU; "gated": the input is x * gate_in, and the result is
    multiplied by gate_out."""
    is_gated, is_silu = kind == "gated", kind == "silu"

    def kernel(params, thread):
        p = Params(params)
        step = Step(p.step)
        n_blocks = (p.n + _BLOCK - 1) // _BLOCK
        unit = claim(thread, 1)
        while unit < step.n_runs * n_blocks:
            run = Run(step.runs + unit // n_blocks * RUN_BYTES)
            first, order = unit % n_blocks * _BLOCK, step.order + 4 * run.first
            last = min(first + _BLOCK, p.n)
            # Row after row, so that what lies in a row side by side comes from memory together.
            for t in range(run.count):
                channels(p, run, order, t, first, last, Thread(thread).scratch)
            for c in range(first, last, 16):
                if run.mark_slot >= 0:
                    tail(p, run, order, run.mark, run.mark_slot, c, Thread(thread).scratch)
                tail(p, run, order, run.count, run.target, c, Thread(thread).scratch)
            unit = claim(thread, 1)

    def channels(p, run, order, t, first, last, scratch):
        """Row t of a run, channels first to last."""
        row = i64(load(i32, order + 4 * t))
        for c in range(first, last, 16):
            total = splat(f32x16, 0.0)
            if p.bias != 0:
                total = load(f32x16, p.bias + 4 * c)
            for j in range(p.width):
                total = fma(load(f32x16, p.w + 4 * (j * p.n + c)), entry(p, run, order, t - p.width + 1 + j, c), total)
            if is_silu:
                total = silu16(total)
            if is_gated:
                total = total * load(f32x16, p.gate_out + row * p.x_stride + 4 * c)
            put(p.out + 4 * (row * p.n + c), total, p.n - c, scratch)

    def entry(p, run, order, t, c):
        """Input t of a run; below 0 from the state before it."""
        if t >= 0:
            at = i64(load(i32, order + 4 * t)) * p.x_stride + 4 * c
            v = load(f32x16, p.x + at)
            if is_gated:
                v = v * load(f32x16, p.gate_in + at)
            return v
        if run.source < 0:
            return splat(f32x16, 0.0)
        return load(f32x16, p.state + run.source * p.state_stride + 4 * ((t + p.width - 1) * p.n + c))

    def tail(p, run, order, count, slot, c, scratch):
        """Leave the last inputs before row `count` in a slot."""
        at = p.state + slot * p.state_stride + 4 * c
        for j in range(p.width - 1):
            put(at + 4 * j * p.n, entry(p, run, order, count - p.width + 1 + j, c), p.n - c, scratch)

    return kernel
