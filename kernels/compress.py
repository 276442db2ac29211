"""Entries that stand for groups of neighbouring positions: each element is a weighted mean of the group's, by a softmax
over the scores that the group's positions have for it. (DeepSeek-V4's compressed keys, llama.cpp's deepseek4.cpp; the
pooled keys of GLM's indexer, glm5-next.cpp.)

What an entry is made of lies in cells of its own, f32, so that it does not matter in how many batches a group came: the
batch that ends a group makes the entry, one unit of work, always in the same order.
"""

from .cells import bytes_of
from .math import exp16, nan_of
from .norm import apply, rms_scale
from .rope import fill, putter, rotate_pairs
from .simd import Struct, bitcast, f32, f32x16, f64, fma, i64, load, maximum, splat, store
from .thread import RUN_BYTES, Run, Step, Thread, claim

Params = Struct(
    "Compress",
    (
        "step", "values", "scores", "n_cells", "dim", "ratio", "overlap", "ape", "norm", "eps", "n_rot", "frequencies",
        "gain", "out", "n_entries",
    ),
)  # fmt: skip
"""values, scores: f32 [n_seq][n_cells][(1 + overlap) * dim]; position p of a sequence is its cell p % n_cells. ratio:
positions of a group. overlap: 1 where an entry is made of the last dim elements of its group's cells and of the first
dim of the group's before it, as far as there is one. ape: f32 [ratio][(1 + overlap) * dim], added to the scores. norm:
weights of an RMSNorm, f32 [dim], or 0; eps: bits of f64. n_rot: elements of the entry with RoPE, at the group's first
position; frequencies: f64 [n_rot / 2]; gain: of cosines and sines, bits of f64. out: [n_seq][n_entries] cells of dim
elements; group g of a sequence is its entry g."""

_SCRATCH = 1 << 18
"""Where an entry is made, behind what `putter` may use."""


def entries(layout: str, kv_type: str, pairing: str = "adjacent"):
    """Entries as one of cells.KV_TYPES: layout "rows", or "tiles" of 16. Neighbours at an entry's end turn together;
    with pairing "halves" those at its beginning, as in rope. Threads claim groups that end in the batch."""
    is_adjacent = pairing == "adjacent"
    of, put = bytes_of(kv_type), putter(kv_type)
    lanes = 16 if layout == "tiles" else 1

    def kernel(params, thread):
        p = Params(params)
        step = Step(p.step)
        max_groups = step.n_rows // p.ratio + 1
        unit = claim(thread, 1)
        while unit < step.n_runs * max_groups:
            run = Run(step.runs + unit // max_groups * RUN_BYTES)
            group = run.position // p.ratio + unit % max_groups
            if (group + 1) * p.ratio <= run.position + run.count:
                scratch = Thread(thread).scratch
                entry(p, run.seq, group, scratch + _SCRATCH, scratch + _SCRATCH + (p.dim + 16) * 4)
                cell = (run.seq * p.n_entries + group // lanes * lanes) * of(p.dim)
                put(scratch + _SCRATCH, p.dim, p.out + cell, group % lanes, lanes, scratch)
            unit = claim(thread, 1)

    def entry(p, seq, group, out, table):
        width = (1 + p.overlap) * p.dim * 4
        before = p.ratio if p.overlap != 0 and group > 0 else 0
        first, cells = group * p.ratio - before, seq * p.n_cells
        for i in range(0, p.dim, 16):
            greatest = splat(f32x16, -3.0e38)
            for j in range(before + p.ratio):
                greatest = maximum(greatest, score(p, cells, first, j, before, width, i))
            total, value = splat(f32x16, 0.0), splat(f32x16, 0.0)
            for j in range(before + p.ratio):
                s = score(p, cells, first, j, before, width, i)
                weight = exp16(s - greatest) + nan_of(s)
                total = total + weight
                value = fma(weight, load(f32x16, p.values + at(p, cells, first, j, before, width, i)), value)
            store(out + 4 * i, value / total)
        if p.norm != 0:
            shift, scale = rms_scale(out, p.dim, f32(bitcast(f64, p.eps)))
            apply(out, p.dim, shift, scale, p.norm, i64(0), i64(0), out)
        if p.n_rot != 0:
            fill(f64(group * p.ratio), p.frequencies, p.n_rot // 2, bitcast(f64, p.gain), table)
            if is_adjacent:
                x = out + (p.dim - p.n_rot) * 4
                rotate_pairs(x, p.n_rot, table, 2, 1, x)
            else:
                rotate_pairs(out, p.n_rot, table, 1, p.n_rot // 2, out)

    def at(p, cells, first, j, before, width, i):
        """Where element i of member j is: the last half of a row with overlap, the first for the group before."""
        last = p.overlap * p.dim if j >= before else 0
        return (cells + (first + j) % p.n_cells) * width + (last + i) * 4

    def score(p, cells, first, j, before, width, i):
        last = p.overlap * p.dim if j >= before else 0
        ape = load(f32x16, p.ape + j % p.ratio * width + (last + i) * 4)
        return load(f32x16, p.scores + at(p, cells, first, j, before, width, i)) + ape

    return kernel
