"""The operations of the vector vocabulary, by name and meaning. `lowering` says what each becomes.

An address is an int64. Loads and stores need no alignment. Operators + - * & | ^ << >> work lane by lane on two vectors
of one type, or on a vector and a scalar; >> is logical on unsigned lanes and arithmetic on signed ones. A scalar is cut
to the lane's type without a warning: `u8x64 & 0x1FF` is `& 0xFF`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable


class Op:
    """One operation: a name that `jit` replaces by instructions."""

    def __init__(self, declaration: Callable) -> None:
        self.name = declaration.__name__
        self.__doc__ = declaration.__doc__
        self._declaration = declaration

    @property
    def parameters(self):
        return list(inspect.signature(self._declaration).parameters.values())

    def __call__(self, *args):
        raise TypeError(f"{self.name}() has a meaning inside kernels only")


# --- memory


@Op
def load(type_, address):
    """The scalar or vector of `type_` at `address`."""


@Op
def store(address, value):
    """Write a scalar or vector."""


@Op
def prefetch(address):
    """Prefetch the cache line at `address`, which need not be mapped."""


@Op
def room(n):
    """The address of n bytes of the stack, of this call alone; n: a multiple of 32, known at compile time."""


# --- making and reshaping vectors


@Op
def splat(type_, x):
    """Every lane is x."""


@Op
def splat4(address):
    """The four bytes at `address`, repeated: u8x64."""


@Op
def pair(type_, a, b):
    """The vector of these two lanes."""


@Op
def make4(type_, a, b, c, d):
    """The vector of these four lanes."""


@Op
def make8(type_, a, b, c, d, e, f, g, h):
    """The vector of these eight lanes."""


@Op
def constant(const):
    """The vector of a `Const`."""


@Op
def shuffle(lanes, a, b):
    """Lanes of a and b, joined, picked by a `Lanes` pattern known at compile time."""


@Op
def pick16(lanes, v):
    """Bytes of each 128 bits of a u8x64, picked from the same 128 bits by a `Lanes` pattern of 64 numbers below 16, or
    128 for 0."""


@Op
def bit_to_16(lanes, v):
    """16 in each byte of a u8x64 that has the bit set which a `Lanes` pattern of 64 numbers below 8 names, or 0."""


@Op
def lookup16(table, codes):
    """table[code] of each code below 16: u8x64; table: a `Const` of u8x16."""


@Op
def high4(v):
    """The upper four bits of each byte of a u8x64, as numbers."""


@Op
def gather8(table, a, b, c, d, e, f, g, h):
    """Entries of eight bytes, picked from a `Table` by eight integers: u8x64. No index is checked."""


@Op
def gather4(table, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q):
    """Entries of four bytes, picked from a `Table` by sixteen integers: u8x64. No index is checked."""


@Op
def lane(v, i):
    """Lane i of v, as a scalar."""


@Op
def bitcast(type_, v):
    """The same bits as another type."""


@Op
def cast(type_, v):
    """The same values as another type: sign or zero extended, cut, int to float (nearest), float to int (towards 0)."""


@Op
def from_half(v):
    """Bits of IEEE binary16 (u16 scalar or vector) to f32, exactly."""


@Op
def from_bhalf(v):
    """Bits of bfloat16 (u16 vector) to f32, exactly."""


@Op
def to_half(v):
    """f32 vector to bits of IEEE binary16, nearest even."""


# --- arithmetic


@Op
def fma(a, b, c):
    """a * b + c, rounded once (twice on the generic target)."""


@Op
def minimum(a, b):
    """The lesser, lane by lane; b where either is NaN."""


@Op
def maximum(a, b):
    """The greater, lane by lane; b where either is NaN."""


@Op
def absolute(a):
    """|a| of floats."""


@Op
def sqrt(a):
    """Square root of a scalar or vector of floats."""


@Op
def less(a, b):
    """A mask: a < b, lane by lane."""


@Op
def mask64(bits):
    """A mask of 64 lanes from the bits of a u64."""


@Op
def select(mask, a, b):
    """a where the mask is set, else b."""


@Op
def hsum(v):
    """Sum of all lanes, by halving: ((0+8)+(4+12))+...; the order is the same on every target."""


@Op
def hmax(v):
    """Greatest lane."""


@Op
def dot4(acc, u, s):
    """acc[i] + sum of u[4i+j] * s[4i+j], j < 4: i32x16, any u8x64, i8x64. Exact."""


@Op
def dot4_u7(acc, u, s):
    """As dot4, for u of at most 127, which is cheaper on some targets."""


@Op
def dot4_s8(acc, c, s):
    """As dot4, with bytes of c that are signed, and s of at least -127."""


@Op
def dot2_u7(u, s):
    """u[2i] * s[2i] + u[2i+1] * s[2i+1]: i16x32, for u8x64 of at most 127 and i8x64. Exact."""


@Op
def dot2_s8(c, s):
    """As dot2_u7, with bytes of c that are signed, and s of at least -127."""


@Op
def dot2(acc, a, b):
    """acc[i] + a[2i] * b[2i] + a[2i+1] * b[2i+1] of 16-bit lanes, exact."""


@Op
def pack16(a, b):
    """i32x16 pair to i16x32: within each 128 bits four lanes of a, then four of b. Values must fit."""


# --- register tiles: R rows x V vectors, kept as a tuple, row-major


@Op
def tile_fill(n, v):
    """n copies of v."""


@Op
def tile_get(tile, i):
    """Vector i, known at compile time."""


@Op
def tile_load(type_, address, n_rows, row_stride, n, stride):
    """n_rows x n vectors: vector v of row r is at address + r * row_stride + v * stride (bytes)."""


@Op
def tile_store(address, row_stride, stride, tile, n):
    """The inverse of tile_load, n vectors a row."""


@Op
def tile_spread(type_, address, stride, n):
    """A tuple of n vectors, `stride` bytes apart."""


@Op
def tile_add(a, b):
    """a[i] + b[i]."""


@Op
def tile_start(x, factor, n_rows):
    """acc[r, v] = x[v] * factor; x a tuple of i32x16, factor known at compile time."""


@Op
def tile_dots(acc, w, w_stride, x, x_stride, n, steps, max_byte):
    """acc[r, v] + the sum over steps of dot4 with the 4 bytes at w + r * w_stride + 4 * step and the i8x64 at
    x + v * x_stride + 64 * step; n vectors a row. steps and max_byte (the greatest byte of w, or SIGNED where dot4_s8
    is meant) are known at compile time."""


@Op
def tile_group(
    total, w, w_stride, x, x_stride, n, steps, together, is_signed, is_over, over, over_stride, scales, scale_stride
):
    """total[r, v] + scale[r] * the sum that tile_dots makes; scale[r]: twice as int16 at scales + r * scale_stride.
    Products are added up in 16 bits, `together` steps at a time, less (is_over) what stands for these steps in an
    i16x32 at over + v * over_stride, one after another; each such difference must fit. w: bytes of at most 127, or
    signed (is_signed), where bytes of x are at least -127."""


@Op
def tile_join16(a, b):
    """The low 16 bits of a[i], then those of b[i], in each lane: a tuple of i16x32, for two of i32x16."""


@Op
def tile_pair(acc, w, w_stride, x):
    """acc[r, v] = dot2(acc[r, v], two int16 at w + r * w_stride, x[v]); x a tuple of i16x32."""


@Op
def tile_fma(acc, w, w_stride, x):
    """acc[r, v] = fma(float at w + r * w_stride, x[v], acc[r, v]); x a tuple of f32x16."""


@Op
def tile_scale(acc, a, w, w_stride, n, fits):
    """acc[r, v] + a[r, v] * int32 at w + r * w_stride, n vectors a row. fits: a is of 16 bits, that an int16 and 0."""


@Op
def tile_scale2(acc, a, w, w_stride, x):
    """acc[r, v] = fma(f32(a[r, v]) * float at w + r * w_stride, x[v], acc[r, v])."""


@Op
def tile_scaled(acc, a, w, w_stride, x):
    """acc[r, v] = fma(f32(a[r, v]), float at w + r * w_stride * x[v], acc[r, v]); a of i32x16 or f32x16, x a tuple."""


@Op
def tile_multiply(acc, w, w_stride, x):
    """acc[r, v] = fma(f32x16 at w + r * w_stride, x[v], acc[r, v]); x a tuple of f32x16."""


# --- squares: 16 rows of weights times 16 tokens


@Op
def squares_begin(run):
    """Before the others, once in a kernel and a thread: operands have so many bytes of k, known at compile time."""


@Op
def squares_clear(out, n):
    """Begin n (known at compile time) squares of i32 [16 rows, 16 tokens], a thread's only ones, which go to `out`."""


@Op
def squares_add(out, w, w_step, n_w, x, x_step, n_x, run, signed):
    """Add to squares (i, v), number i * n_x + v: sums over k < run of the bytes of 16 rows at w + i * w_step + 64 * row
    + k times the i8 of tokens at x + v * x_step + 64 * (k // 4) + 4 * token + k % 4. Bytes of operand i are signed
    where bit i of `signed` is 1. n_w, n_x (1 or 2), run (4 to 64) and signed are known at compile time."""


@Op
def squares_put(out, n):
    """Write the squares."""


@Op
def squares_end():
    """After the last of them."""


# --- threads


@Op
def atomic_add(address, n):
    """Add to the int64 at `address`; its value before."""


@Op
def atomic_load(address):
    """The int64 at `address`, acquire."""


@Op
def atomic_store(address, n):
    """Set the int64 at `address`, release."""


@Op
def atomic_swap(address, old, new):
    """Set the int64 at `address` to `new` if it is `old`; its value before."""


@Op
def pause():
    """Tell the core that this is a spin loop."""


@Op
def cycles():
    """The processor's counter of time: its unit is not known, it grows evenly."""


@Op
def call_kernel(kernel, params, thread):
    """Call the kernel at an address: void(int64 params, int64 thread)."""


@Op
def call_yield(function):
    """Call the int(void) function at an address: the system's sched_yield."""
