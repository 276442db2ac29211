"""One tiny kernel an operation of the vocabulary. Parameters: addresses a, b, c of inputs, out, and a number n.

Those on register tiles stand in tile_operations.py; compile_operations.py compiles all.
"""

from __future__ import annotations

from collections.abc import Callable

from localllm.kernels.math import exp16
from localllm.kernels.simd import (
    Const,
    Lanes,
    Struct,
    Table,
    absolute,
    atomic_add,
    atomic_load,
    atomic_store,
    atomic_swap,
    bit_to_16,
    bitcast,
    cast,
    constant,
    dot2,
    dot2_s8,
    dot2_u7,
    dot4,
    dot4_s8,
    dot4_u7,
    f32,
    f32x4,
    f32x8,
    f32x16,
    fma,
    from_bhalf,
    from_half,
    gather4,
    gather8,
    high4,
    hmax,
    hsum,
    i8x16,
    i8x64,
    i16,
    i16x16,
    i16x32,
    i32,
    i32x8,
    i32x16,
    i64,
    lane,
    less,
    load,
    lookup16,
    make4,
    make8,
    mask64,
    maximum,
    minimum,
    pack16,
    pair,
    pause,
    pick16,
    prefetch,
    room,
    select,
    shuffle,
    splat,
    splat4,
    sqrt,
    store,
    to_half,
    u8,
    u8x16,
    u8x64,
    u16,
    u16x16,
    u32,
    u32x16,
    u64,
    u64x2,
)

Params = Struct("Operation", ("a", "b", "c", "out", "n"))

KERNELS: dict[str, Callable] = {}


def operation(function):
    """Register `function(p)` as the kernel of its name."""

    def kernel(params, thread):
        function(Params(params))

    KERNELS[function.__name__] = kernel
    return function


# --- memory and making


@operation
def load_store_scalars(p):
    store(p.out, load(i16, p.a))
    store(p.out + 2, load(u16, p.a + 2))
    store(p.out + 4, load(i32, p.a + 4))
    store(p.out + 8, load(u64, p.a + 8))
    store(p.out + 16, load(f32, p.a + 16))


@operation
def rooms(p):
    """Two rooms, of which the second is written after the first: the loop's length is a number that nobody knows."""
    y, z = room(32), room(64)
    for i in range(p.n):
        store(y + 8 * i, load(u64, p.a + 8 * i))
        store(z + 8 * i, load(u64, p.b + 8 * i))
    for i in range(p.n):
        store(p.out + 8 * i, load(u64, y + 8 * i))
        store(p.out + 32 + 8 * i, load(u64, z + 8 * i))


@operation
def splats(p):
    store(p.out, splat(i32x16, p.n))
    store(p.out + 64, splat(f32x16, load(f32, p.a)))
    store(p.out + 128, splat4(p.a + 1))
    store(p.out + 192, splat(u8x64, p.n))


@operation
def makes(p):
    a, b, c, d = load(f32, p.a), load(f32, p.a + 4), load(f32, p.a + 8), load(f32, p.a + 12)
    store(p.out, make4(f32x4, d, c, b, a))
    store(p.out + 16, make8(f32x8, d, c, b, a, a, b, c, d))
    store(p.out + 48, pair(u64x2, load(u64, p.a + 8), load(u64, p.a)))


_NUMBERS = Const(i32x16, tuple(range(-8, 8)))
_SCATTERED = Lanes(tuple((7 * i) % 32 for i in range(16)))


@operation
def constants_and_shuffles(p):
    store(p.out, constant(_NUMBERS))
    store(p.out + 64, shuffle(_SCATTERED, load(i32x16, p.a), load(i32x16, p.b)))


VALUES = Const(u8x16, tuple((37 * i + 200) % 256 for i in range(16)))
EIGHTS = Table("test of eights", lambda: bytes((7 * i + i // 256) % 256 for i in range(8 * 300)))
FOURS = Table("test of fours", lambda: bytes((11 * i + i // 256) % 256 for i in range(4 * 300)))


@operation
def lookups(p):
    store(p.out, lookup16(VALUES, load(u8x64, p.a)))


@operation
def gathers(p):
    a = p.a
    eights = gather8(
        EIGHTS, load(u8, a), load(u16, a + 2), load(u32, a + 4), load(u64, a + 8), load(i64, a + 16), p.n, 0, 299
    )
    store(p.out, eights)
    fours = gather4(
        FOURS, 0, load(u8, a), load(u16, a + 2), load(u32, a + 4), load(u64, a + 8), load(i64, a + 16), p.n,
        1, 2, 3, 4, 5, 6, 7, 8, 299,
    )  # fmt: skip
    store(p.out + 64, fours)


@operation
def lanes(p):
    v = load(i32x16, p.a)
    for i in range(16):
        store(p.out + 4 * i, lane(v, 15 - i))


@operation
def prefetch_and_pause(p):
    prefetch(p.a)
    prefetch(i64(0))
    pause()
    store(p.out, i64(1))


# --- conversions


@operation
def casts(p):
    v = load(i32x16, p.a)
    store(p.out, cast(f32x16, v))
    store(p.out + 64, cast(i32x16, load(f32x16, p.b)))
    store(p.out + 128, cast(i32x16, load(i8x16, p.c)))
    store(p.out + 192, cast(i16x16, load(i8x16, p.c)))
    store(p.out + 224, cast(i8x16, v))
    store(p.out + 240, cast(u32x16, load(u16x16, p.a)))


@operation
def halves_to_floats(p):
    for i in range(0, p.n, 16):
        store(p.out + 4 * i, from_half(load(u16x16, p.a + 2 * i)))


@operation
def half_scalars_to_floats(p):
    for i in range(p.n):
        store(p.out + 4 * i, from_half(load(u16, p.a + 2 * i)))


@operation
def bhalves_to_floats(p):
    for i in range(0, p.n, 16):
        store(p.out + 4 * i, from_bhalf(load(u16x16, p.a + 2 * i)))


@operation
def floats_to_halves(p):
    for i in range(0, p.n, 16):
        store(p.out + 2 * i, to_half(load(f32x16, p.a + 4 * i)))


# --- arithmetic


@operation
def float_operators(p):
    a, b = load(f32x16, p.a), load(f32x16, p.b)
    store(p.out, a + b)
    store(p.out + 64, a - b)
    store(p.out + 128, a * b)
    store(p.out + 192, a / b)
    store(p.out + 256, minimum(a, b))
    store(p.out + 320, maximum(a, b))
    store(p.out + 384, absolute(a))
    store(p.out + 448, sqrt(absolute(a)))
    store(p.out + 512, select(less(a, b), a, b))
    store(p.out + 576, fma(a, b, load(f32x16, p.c)))


@operation
def integer_operators(p):
    a, b = load(i32x16, p.a), load(i32x16, p.b)
    store(p.out, a + b)
    store(p.out + 64, a - b)
    store(p.out + 128, a * b)
    store(p.out + 192, a & b)
    store(p.out + 256, a | b)
    store(p.out + 320, a ^ b)
    store(p.out + 384, a << 3)
    store(p.out + 448, a >> 3)
    store(p.out + 512, bitcast(u32x16, a) >> 3)
    store(p.out + 576, minimum(a, b))
    store(p.out + 640, maximum(bitcast(u32x16, a), bitcast(u32x16, b)))
    store(p.out + 704, select(less(a, b), a, b))


@operation
def masks(p):
    store(p.out, select(mask64(load(u64, p.a)), splat(u8x64, 7), splat(u8x64, 250)))


@operation
def reductions(p):
    store(p.out, hsum(load(f32x16, p.a)))
    store(p.out + 4, hmax(load(f32x16, p.a)))
    store(p.out + 8, hsum(load(i32x16, p.b)))
    store(p.out + 12, hsum(load(i32x8, p.b)))
    store(p.out + 16, hsum(load(f32x4, p.a)))


@operation
def exponentials(p):
    for i in range(0, p.n, 16):
        store(p.out + 4 * i, exp16(load(f32x16, p.a + 4 * i)))


# --- dot products


@operation
def dots4(p):
    for i in range(p.n):
        store(p.out + 64 * i, dot4(load(i32x16, p.c + 64 * i), load(u8x64, p.a + 64 * i), load(i8x64, p.b + 64 * i)))


@operation
def dots4_u7(p):
    for i in range(p.n):
        store(p.out + 64 * i, dot4_u7(load(i32x16, p.c + 64 * i), load(u8x64, p.a + 64 * i), load(i8x64, p.b + 64 * i)))


@operation
def dots4_s8(p):
    for i in range(p.n):
        store(p.out + 64 * i, dot4_s8(load(i32x16, p.c + 64 * i), load(u8x64, p.a + 64 * i), load(i8x64, p.b + 64 * i)))


@operation
def dots2_u7(p):
    for i in range(p.n):
        store(p.out + 64 * i, dot2_u7(load(u8x64, p.a + 64 * i), load(i8x64, p.b + 64 * i)))


@operation
def dots2_s8(p):
    for i in range(p.n):
        store(p.out + 64 * i, dot2_s8(load(u8x64, p.a + 64 * i), load(i8x64, p.b + 64 * i)))


PICKED = Lanes(tuple(128 if i % 7 == 3 else (5 * i + i // 16) % 16 for i in range(64)))
"""Another order in each quarter, and some zeros."""


@operation
def picks(p):
    store(p.out, pick16(PICKED, load(u8x64, p.a)))


ASKED = Lanes(tuple((3 * i + i // 8) % 8 for i in range(64)))


@operation
def bits_to_16(p):
    for i in range(p.n):
        store(p.out + 64 * i, bit_to_16(ASKED, load(u8x64, p.a + 64 * i)))


@operation
def high_nibbles(p):
    store(p.out, high4(load(u8x64, p.a)))


@operation
def dots2(p):
    for i in range(p.n):
        store(p.out + 64 * i, dot2(load(i32x16, p.c + 64 * i), load(i16x32, p.a + 64 * i), load(i16x32, p.b + 64 * i)))


@operation
def dots2_of_8(p):
    store(p.out, dot2(load(i32x8, p.c), load(i16x16, p.a), load(i16x16, p.b)))


@operation
def packs(p):
    store(p.out, pack16(load(i32x16, p.a), load(i32x16, p.b)))


# --- threads


@operation
def atomics(p):
    store(p.out, atomic_add(p.a, p.n))
    store(p.out + 8, atomic_load(p.a))
    atomic_store(p.a, i64(77))
    store(p.out + 16, atomic_swap(p.a, 76, 1))
    store(p.out + 24, atomic_swap(p.a, 77, 2))
