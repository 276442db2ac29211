"""Kernels of one operation on register tiles each, of 2 rows x 3 vectors; rows of operands are 16 bytes apart."""

from localllm.kernels.simd import (
    f32x16,
    i16x32,
    i32x16,
    splat,
    squares_add,
    squares_begin,
    squares_clear,
    squares_end,
    squares_put,
    store,
    tile_add,
    tile_dots,
    tile_fill,
    tile_fma,
    tile_get,
    tile_group,
    tile_join16,
    tile_load,
    tile_multiply,
    tile_pair,
    tile_scale,
    tile_scale2,
    tile_scaled,
    tile_spread,
    tile_start,
    tile_store,
)
from tests.kernels.operations import KERNELS as KERNELS
from tests.kernels.operations import operation


@operation
def tiles_of_integers(p):
    acc = tile_start(tile_spread(i32x16, p.c, 64, 3), -5, 2)
    store(p.out, tile_get(acc, 4))
    shorts = tile_spread(i16x32, p.a, 64, 3)
    tile_store(p.out + 64, 192, 64, tile_pair(tile_fill(6, splat(i32x16, 9)), p.b, 16, shorts), 3)


@operation
def tiles_of_codes(p):
    """Four steps, with greatest codes that the targets add up differently."""
    acc = tile_load(i32x16, p.c, 2, 192, 3, 64)
    tile_store(p.out, 192, 64, tile_dots(acc, p.b, 16, p.a, 256, 3, 4, 255), 3)
    tile_store(p.out + 384, 192, 64, tile_dots(acc, p.b + 32, 16, p.a, 256, 3, 4, 127), 3)
    tile_store(p.out + 768, 192, 64, tile_dots(acc, p.b + 64, 16, p.a, 256, 3, 4, 63), 3)
    tile_store(p.out + 1152, 192, 64, tile_dots(acc, p.b + 96, 16, p.a, 256, 3, 4, 40), 3)
    tile_store(p.out + 1536, 192, 64, tile_dots(acc, p.b + 128, 16, p.a, 256, 3, 4, 15), 3)


@operation
def tiles_of_groups(p):
    """Four steps: of codes less what stands for them, three and one together, and two and two; of codes, one each, and
    all; of signed ones. Scales of rows stand behind the codes. Then the low halves of totals, in pairs."""
    total, w, x, over, scales = tile_load(i32x16, p.c, 2, 192, 3, 64), p.b, p.a, p.n, p.b + 160
    a = tile_group(total, w, 16, x, 256, 3, 4, 3, False, True, over, 128, scales, 16)
    b = tile_group(total, w + 32, 16, x, 256, 3, 4, 2, False, True, over + 384, 128, scales, 16)
    c = tile_group(total, w + 64, 16, x, 256, 3, 4, 1, False, False, 0, 0, scales, 16)
    d = tile_group(total, w + 96, 16, x, 256, 3, 4, 4, False, False, 0, 0, scales, 16)
    e = tile_group(total, w + 128, 16, x, 256, 3, 4, 1, True, False, 0, 0, scales, 16)
    tile_store(p.out, 192, 64, a, 3)
    tile_store(p.out + 384, 192, 64, b, 3)
    tile_store(p.out + 768, 192, 64, c, 3)
    tile_store(p.out + 1152, 192, 64, d, 3)
    tile_store(p.out + 1536, 192, 64, e, 3)
    low, high = tile_spread(i32x16, p.c, 64, 3), tile_spread(i32x16, p.c + 192, 64, 3)
    tile_store(p.out + 1920, 192, 64, tile_join16(low, high), 3)


@operation
def tiles_of_scales(p):
    """Sums of any size, and those that fit 16 bits."""
    total = tile_load(i32x16, p.c, 2, 192, 3, 64)
    tile_store(p.out, 192, 64, tile_scale(total, tile_load(i32x16, p.a, 2, 192, 3, 64), p.b, 16, 3, False), 3)
    tile_store(p.out + 384, 192, 64, tile_scale(total, tile_load(i32x16, p.n, 2, 192, 3, 64), p.b + 8, 16, 3, True), 3)


@operation
def tiles_of_floats(p):
    x = tile_spread(f32x16, p.a, 64, 3)
    acc = tile_load(f32x16, p.c, 2, 192, 3, 64)
    counts = tile_start(tile_spread(i32x16, p.n, 64, 3), 1, 2)
    tile_store(p.out, 192, 64, tile_fma(acc, p.b, 16, x), 3)
    tile_store(p.out + 384, 192, 64, tile_scale(counts, counts, p.n, 16, 3, False), 3)
    tile_store(p.out + 768, 192, 64, tile_scale2(acc, counts, p.b, 16, x), 3)
    tile_store(p.out + 1152, 192, 64, tile_scaled(acc, counts, p.b, 16, x), 3)
    tile_store(p.out + 1536, 192, 64, tile_scaled(acc, acc, p.b, 16, x), 3)
    tile_store(p.out + 1920, 192, 64, tile_multiply(acc, p.a, 64, x), 3)
    tile_store(p.out + 2304, 192, 64, tile_add(acc, acc), 3)
    tile_store(p.out + 2688, 192, 64, tile_add(counts, counts), 3)


def _squares(run_of_k):
    step = 32 * run_of_k  # bytes of a vector's two runs

    def kernel(p):
        """Two runs of two operands and two vectors, then one of each."""
        squares_begin(run_of_k)
        squares_clear(p.out, 4)
        squares_add(p.out, p.a, 2048, 2, p.b, step, 2, run_of_k, 2)
        squares_add(p.out, p.a + 1024, 2048, 2, p.b + 16 * run_of_k, step, 2, run_of_k, 2)
        squares_put(p.out, 4)
        squares_clear(p.out + 4096, 1)
        squares_add(p.out + 4096, p.a, 0, 1, p.b, 0, 1, run_of_k, 0)
        squares_put(p.out + 4096, 1)
        squares_end()

    kernel.__name__ = f"squares_of_{run_of_k}"
    return operation(kernel)


for _run in (16, 32, 64):
    _squares(_run)
