"""From scales to bytes: codes of a super-block's groups as its search left them, and numbers of 4 to 6 bits."""

from ..simd import (
    Const,
    cast,
    constant,
    f32,
    f32x16,
    hsum,
    i32,
    lane,
    load,
    store,
    to_half,
    u8,
    u8x16,
    u16,
    u32x16,
)
from .lanes import clamped

_PLACE = Const(u32x16, tuple(range(16)))


def inverse_of(scale):
    """1 / scale, and 0 of 0."""
    if scale == f32(0.0):
        return f32(0.0)
    return f32(f32(1.0) / scale)


def half_of(address):
    """The f32 at an address as the bits of a binary16; 60 bytes more are read."""
    return lane(to_half(load(f32x16, address)), 0)


def codes16(x, scale, low, high, offset):
    """Codes of 16 elements, offset added: u8x16. low and high are without the offset."""
    return cast(u8x16, clamped(load(f32x16, x) * inverse_of(scale), low, high) + offset)


def codes_over(x, scale, least, high):
    """Codes from 0 to high of 16 elements less `least`: u8x16."""
    return cast(u8x16, clamped((load(f32x16, x) + least) * inverse_of(scale), 0.0, high))


def k_numbers(scales, minimums, out):
    """The 12 bytes that bits.k_numbers draws; scales, minimums: f32 [8] of whole numbers up to 63."""
    for g in range(4):
        s, m = i32(load(f32, scales + 4 * g)), i32(load(f32, minimums + 4 * g))
        t, k = i32(load(f32, scales + 16 + 4 * g)), i32(load(f32, minimums + 16 + 4 * g))
        store(out + g, u8(s | ((t >> 4) << 6)))
        store(out + 4 + g, u8(m | ((k >> 4) << 6)))
        store(out + 8 + g, u8((t & 15) | ((k & 15) << 4)))


def pairs(q, out):
    """Low two bits of 256 codes, u8 at q, to 64 bytes: byte i of each half has those of i, i + 32, i + 64, i + 96."""
    for half in range(2):
        for i in range(0, 32, 16):
            at = q + 128 * half + i
            a, b, c, d = load(u8x16, at), load(u8x16, at + 32), load(u8x16, at + 64), load(u8x16, at + 96)
            store(out + 32 * half + i, (a & 3) | ((b & 3) << 2) | ((c & 3) << 4) | (d << 6))


def fifth_bits(codes, out):
    """Bit 4 of 16 codes to 16 bits."""
    store(out, u16(hsum(cast(u32x16, codes >> 4) << constant(_PLACE))))
