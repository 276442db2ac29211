"""Activations of the feed-forward block: gated (Shazeer 2020, arXiv 2002.05202) or plain."""

from .math import bounded_by, exp_rest16, gelu16, nan_of, sigmoid16, silu16, softplus16, tanh16
from .pieces import of_all, of_rows
from .simd import Struct, bitcast, f32, f32x16, f64, i64, lane, less, load, maximum, minimum, select, splat, store
from .thread import Thread, claim
from .vectors import put

GatedParams = Struct("Gated", ("n_rows_at", "n", "gate", "up", "out", "limit", "numbers"))
"""gate, up, out: f32 [n_rows, n]; out may be gate. n_rows_at: address of the number of rows. limit: bits of f64;
numbers: f32, those that the function has in this layer (see NUMBERS)."""

GatedRowsParams = Struct("GatedRows", ("n_rows_at", "n", "gate", "up", "up_stride", "out"))
"""The same where rows of up are up_stride bytes apart; for functions without a limit."""

PlainParams = Struct("Plain", ("n_rows_at", "n", "x", "out", "divisor", "numbers"))
"""x, out: f32 [n_rows, n]; out may be x. divisor: f32 [n] by which the results are divided, or 0. numbers: f32, those
that the function has in this layer (see NUMBERS)."""

MultiplyParams = Struct("Multiply", ("n_rows_at", "n", "group", "x", "gate", "add", "out"))
"""out = x * f(gate) (+ add): x, add, out f32 [n_rows, n]; gate f32 [n_rows, n / group], an element for `group` of x's.
add: or 0; it may be out, as x may."""

_PIECE = 1024
"""Elements that are a unit of work."""


def silu_gate(gate, up, limit, numbers):
    return silu16(gate) * up


def sigmoid_gate(gate, up, limit, numbers):
    return sigmoid16(gate) * up


def gelu_gate(gate, up, limit, numbers):
    return gelu16(gate) * up


def relu_gate(gate, up, limit, numbers):
    return relu_plain(gate, numbers) * up


def oai_gate(gate, up, limit, numbers):
    """gpt-oss: both branches are bounded, the gate's sigmoid is steeper, and one is added to the other branch."""
    gate = minimum(gate, splat(f32x16, limit)) + nan_of(gate)
    return gate * sigmoid16(gate * 1.702) * (bounded_by(up, limit) + 1.0)


def silu_clamped_gate(gate, up, limit, numbers):
    """The branches are bounded before the activation."""
    return silu16(minimum(gate, splat(f32x16, limit)) + nan_of(gate)) * bounded_by(up, limit)


def clamped_silu_gate(gate, up, limit, numbers):
    """The activation's result is bounded."""
    return (minimum(silu16(gate), splat(f32x16, limit)) + nan_of(gate)) * bounded_by(up, limit)


def situ_gate(gate, up, limit, numbers):
    """SiTU (Kimi K3's model card): a * tanh(gate / a) * sigmoid(gate) * b * tanh(up / b). The numbers: a and b; where b
    is 0, the other branch stays as it is."""
    a, b = load(f32, numbers), load(f32, numbers + 4)
    if b > f32(0.0):
        up = tanh16(up / splat(f32x16, b)) * b
    return tanh16(gate / splat(f32x16, a)) * a * sigmoid16(gate) * up


GATED = {
    "silu": silu_gate,
    "sigmoid": sigmoid_gate,
    "gelu": gelu_gate,
    "relu": relu_gate,
    "swiglu_oai": oai_gate,
    "silu_clamped": silu_clamped_gate,
    "clamped_silu": clamped_silu_gate,
    "situ": situ_gate,
}


def gated(function: str):
    """out = f(gate) * up."""
    f = GATED[function]

    def piece(p, first, last, scratch):
        limit = f32(bitcast(f64, p.limit))
        for i in range(first, last, 16):
            v = f(load(f32x16, p.gate + 4 * i), load(f32x16, p.up + 4 * i), limit, p.numbers)
            put(p.out + 4 * i, v, last - i, scratch)

    return of_all(GatedParams, _PIECE, piece)


def gated_rows(function: str):
    """out = f(gate) * up, up a part of longer rows. Threads claim rows."""
    f = GATED[function]

    def kernel(params, thread):
        p = GatedRowsParams(params)
        n_rows, scratch = load(i64, p.n_rows_at), Thread(thread).scratch
        row = claim(thread, 1)
        while row < n_rows:
            gate, up, out = p.gate + row * p.n * 4, p.up + row * p.up_stride, p.out + row * p.n * 4
            for i in range(0, p.n, 16):
                v = f(load(f32x16, gate + 4 * i), load(f32x16, up + 4 * i), f32(0.0), i64(0))
                put(out + 4 * i, v, p.n - i, scratch)
            row = claim(thread, 1)

    return kernel


def silu_plain(x, numbers):
    return silu16(x)


def gelu_plain(x, numbers):
    return gelu16(x)


def sigmoid_plain(x, numbers):
    return sigmoid16(x)


def relu_plain(x, numbers):
    return maximum(x, splat(f32x16, 0.0)) + nan_of(x)


def relu2_plain(x, numbers):
    """ReLU squared (So et al. 2021, arXiv 2109.08668)."""
    x = relu_plain(x, numbers)
    return x * x


def tanh_plain(x, numbers):
    return tanh16(x)


def xielu_plain(x, numbers):
    """xIELU (Huang and Schlag 2024, arXiv 2411.13010): a parabola above 0, below it e**x - 1 - x, both on a line. The
    numbers: the factors above and below, that of the line, and the point below 0 past which e**x is held."""
    above, below = splat(f32x16, load(f32, numbers)), splat(f32x16, load(f32, numbers + 4))
    line, point = splat(f32x16, load(f32, numbers + 8)), splat(f32x16, load(f32, numbers + 12))
    held = minimum(x, point)
    return select(less(splat(f32x16, 0.0), x), above * x * x, below * (exp_rest16(held) + (held - x))) + line * x


PLAIN = {
    "silu": silu_plain,
    "sigmoid": sigmoid_plain,
    "gelu": gelu_plain,
    "relu": relu_plain,
    "relu2": relu2_plain,
    "tanh": tanh_plain,
    "xielu": xielu_plain,
}
NUMBERS = {"xielu": 4, "situ": 2}
"""How many numbers of its own a function has."""


def plain(function: str):
    """out = f(x)."""
    f = PLAIN[function]

    def piece(p, row, first, last, scratch):
        at = row * p.n * 4
        whole = first + (last - first) // 16 * 16
        for i in range(first, whole, 16):
            v = f(load(f32x16, p.x + at + 4 * i), p.numbers)
            if p.divisor != 0:
                v = v / load(f32x16, p.divisor + 4 * i)
            store(p.out + at + 4 * i, v)
        for i in range(whole, last):
            e = lane(f(splat(f32x16, load(f32, p.x + at + 4 * i)), p.numbers), 0)
            if p.divisor != 0:
                e = f32(e / load(f32, p.divisor + 4 * i))
            store(p.out + at + 4 * i, e)

    return of_rows(PlainParams, _PIECE, piece)


GATES = {"sigmoid": sigmoid16, "softplus": softplus16}


def multiply(function: str):
    """out = x * f(gate) (+ add)."""
    f = GATES[function]

    def piece(p, row, first, last, scratch):
        gates = p.gate + row * (p.n // p.group) * 4
        whole = first
        if p.group == 1 or p.group % 16 == 0:
            whole = first + (last - first) // 16 * 16
        for i in range(first, whole, 16):
            at = (row * p.n + i) * 4
            gate = splat(f32x16, load(f32, gates + i // p.group * 4))
            if p.group == 1:
                gate = load(f32x16, gates + 4 * i)
            v = load(f32x16, p.x + at) * f(gate)
            if p.add != 0:
                v = v + load(f32x16, p.add + at)
            store(p.out + at, v)
        for i in range(whole, last):
            at = (row * p.n + i) * 4
            gate = f(splat(f32x16, load(f32, gates + i // p.group * 4)))
            e = f32(load(f32, p.x + at) * lane(gate, 0))
            if p.add != 0:
                e = f32(e + load(f32, p.add + at))
            store(p.out + at, e)

    return of_rows(MultiplyParams, _PIECE, piece)
