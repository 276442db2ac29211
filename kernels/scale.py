"""Scales of whole matrices, tensors of their own beside the weights (NVFP4): results times a number of the file.

llama.cpp multiplies a product's result by it, before a bias is added (`build_lora_mm` of llama-graph.cpp); so do these.
"""

from .experts import n_places, source_of
from .simd import Struct, f32, f32x16, i32, i64, load, store
from .thread import Step, claim

RowsParams = Struct("Scale", ("n_rows_at", "n", "x", "scale", "bias", "add", "out", "step"))
"""out = x * scale (+ bias) (+ add): f32 [n_rows, n]; scale: address of one f32; bias: f32 [n] or 0; add: or 0; out may
be x or add. out 0: the logits of the step block, in place."""

ExpertsParams = Struct(
    "ExpertScale", ("n_places_at", "n", "n_used", "x", "ids", "sources", "scales", "bias", "bias_stride")
)
"""x, f32 [n_places, n], times the scale of each place's expert (+ its bias), in place. ids: int32 [n_rows, n_used];
sources: see experts.group; 0: place s of a single row is slot s. scales: f32 [n_expert]; bias_stride: bytes."""

_PIECE = 1024


def rows():
    """Threads claim pieces of 1024 elements of a row."""

    def kernel(params, thread):
        p = RowsParams(params)
        n_rows, pieces = load(i64, p.n_rows_at), (p.n + _PIECE - 1) // _PIECE
        x, out = p.x, p.out
        if out == 0:
            out = Step(p.step).logits
            x = out
        unit = claim(thread, 1)
        while unit < n_rows * pieces:
            row, first = unit // pieces * p.n * 4, unit % pieces * _PIECE
            add = p.add
            if add != 0:
                add += row
            scaled(x + row, load(f32, p.scale), p.bias, add, out + row, first, min(first + _PIECE, p.n))
            unit = claim(thread, 1)

    return kernel


def experts():
    """Threads claim places."""

    def kernel(params, thread):
        p = ExpertsParams(params)
        n = n_places(p)
        place = claim(thread, 1)
        while place < n:
            source = source_of(p, place)
            if source >= 0:
                expert = i64(load(i32, p.ids + 4 * source))
                bias = p.bias
                if bias != 0:
                    bias += expert * p.bias_stride
                x = p.x + place * p.n * 4
                scaled(x, load(f32, p.scales + 4 * expert), bias, i64(0), x, i64(0), p.n)
            place = claim(thread, 1)

    return kernel


def scaled(x, factor, bias, add, out, first, last):
    """out = x * factor (+ bias) (+ add), elements `first` to `last` of one row."""
    whole = first + (last - first) // 16 * 16
    for i in range(first, whole, 16):
        v = load(f32x16, x + 4 * i) * factor
        if bias != 0:
            v = v + load(f32x16, bias + 4 * i)
        if add != 0:
            v = v + load(f32x16, add + 4 * i)
        store(out + 4 * i, v)
    for i in range(whole, last):
        e = f32(load(f32, x + 4 * i) * factor)
        if bias != 0:
            e = f32(e + load(f32, bias + 4 * i))
        if add != 0:
            e = f32(e + load(f32, add + 4 * i))
        store(out + 4 * i, e)
