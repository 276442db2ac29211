"""Formats without blocks: each element is rounded by itself."""

from ..simd import f32, f32x16, lane, load, splat, store


def encoder(size, scalar, round16):
    """The `encode` of a format. round16(v): 16 elements as they are stored; scalar: the type of one, `size` bytes."""

    def encode(x, w, out, n, scratch):
        whole = n // 16 * 16
        for i in range(0, whole, 16):
            store(out + size * i, round16(load(f32x16, x + 4 * i)))
        for i in range(whole, n):
            store(out + size * i, scalar(lane(round16(splat(f32x16, load(f32, x + 4 * i))), 0)))

    return encode
