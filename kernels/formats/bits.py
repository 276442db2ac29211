"""Moves that several formats share: nibbles and bits of packed bytes to one code a byte, in the order of elements."""

from ..simd import (
    Const,
    Lanes,
    bit_to_16,
    bitcast,
    cast,
    constant,
    from_half,
    high4,
    i16x16,
    load,
    mask64,
    select,
    shuffle,
    splat,
    u8x8,
    u8x16,
    u8x32,
    u8x64,
    u16,
    u16x32,
    u32,
    u32x16,
    u64,
)
from ..simd.types import Vec

_u64x8 = Vec(u64, 8)
_TWICE32 = Lanes(tuple(range(32)) * 2)
_TWICE16 = Lanes((*range(16), *range(16), *range(16, 32), *range(16, 32)))
_NIBBLE_BY_32 = Const(u32x16, (0,) * 8 + (4,) * 8)
_NIBBLE_BY_16 = Const(u32x16, ((0,) * 4 + (4,) * 4) * 2)
_EACH_TWICE = Lanes(tuple(i // 2 for i in range(16)))
_JOIN16, _JOIN32 = Lanes(tuple(range(32))), Lanes(tuple(range(64)))
_BIT_OF_BYTE = Lanes(tuple(i % 8 for i in range(64)))
_D_THEN_DMIN = Lanes((0, 8, 16, 24, 1, 9, 17, 25))
_LOW_BITS = Lanes(tuple(4 * q + i for q in range(4) for i in (1, 3, 2, 3)))
_HIGH_BITS = Lanes(tuple(4 * q + i for q in range(4) for i in (1, 1, 2, 2)))
_LOW_AT = Const(u32x16, (0, 0, 0, 4) * 4)
_LOW_MASK = Const(u32x16, (0x3F3F3F3F, 0x0F0F0F0F) * 8)
_HIGH_MASK = Const(u32x16, (0, 0x30303030) * 8)
_EVEN_QUARTERS = Lanes(tuple(8 * q + i for q in range(4) for i in range(4)))
_ODD_QUARTERS = Lanes(tuple(8 * q + 4 + i for q in range(4) for i in range(4)))
_MINIMUMS_TWICE = Lanes(tuple(8 + i // 2 for i in range(16)))
_PAIR_BY_32 = Const(u32x16, (0,) * 8 + (2,) * 8)
_BIT_BY_32 = Const(u32x16, (0,) * 8 + (1,) * 8)
_NIBBLE_OF_PAIR = Const(u32x16, (0, 4) * 8)
_NIBBLE_TWICE = Const(u32x16, tuple(4 * (i // 2) for i in range(16)))

LOW4, LOW2, LOW1 = 0x0F0F0F0F, 0x03030303, 0x01010101


def half(address):
    """The binary16 at `address`, as f32."""
    return from_half(load(u16, address))


def twice32(address):
    """32 bytes, repeated, as u32x16: the lower copy serves elements 0-31, the upper one 32-63."""
    v = load(u8x32, address)
    return bitcast(u32x16, shuffle(_TWICE32, v, v))


def eight_copies(address):
    """The 8 bytes at `address`, eight times: u8x64."""
    return bitcast(u8x64, splat(_u64x8, load(u64, address)))


def nibbles32(address):
    """Elements 0-31 are the low nibbles of 32 bytes, 32-63 the high ones: u8x64."""
    return bitcast(u8x64, (twice32(address) >> constant(_NIBBLE_BY_32)) & LOW4)


def nibbles16(a, b):
    """Elements 0-15 are the low nibbles of the 16 bytes at a, 16-31 their high ones; 32-63 likewise from b: u8x64."""
    v = bitcast(u32x16, shuffle(_TWICE16, load(u8x16, a), load(u8x16, b)))
    return bitcast(u8x64, (v >> constant(_NIBBLE_BY_16)) & LOW4)


def fifth_bits(a, b):
    """16 in element e where bit e of the 32 bits at a is set, likewise 32-63 from b: u8x64."""
    bits = u64(load(u32, a)) | (u64(load(u32, b)) << u64(32))
    return select(mask64(bits), splat(u8x64, 16), splat(u8x64, 0))


def join16(a, b, c, d):
    """The 16 bytes at each of four addresses, a quarter of the vector each: u8x64."""
    ab, cd = shuffle(_JOIN16, load(u8x16, a), load(u8x16, b)), shuffle(_JOIN16, load(u8x16, c), load(u8x16, d))
    return shuffle(_JOIN32, ab, cd)


def nibble_halves(qs):
    """Low nibbles and high ones: u8x64 each."""
    return bitcast(u8x64, bitcast(u32x16, qs) & LOW4), high4(qs)


def nibble_halves5(qs, heads, first, last):
    """The same with fifth bits: of a quarter's 16 elements, in the bytes of heads that `first` and `last` spread."""
    low, high = nibble_halves(qs)
    return low | fifths(heads, first), high | fifths(heads, last)


def fifths(heads, spread):
    """16 where the bit of an element is set in the byte that `spread` gives it."""
    return bit_to_16(_BIT_OF_BYTE, shuffle(spread, heads, heads))


def fifths_at(byte):
    """Patterns for nibble_halves5: the two bytes from `byte` on of each quarter, eight times each, and the next two."""
    return tuple(Lanes(tuple(16 * q + at + i // 8 for q in range(4) for i in range(16))) for at in (byte, byte + 2))


def k_factors(heads):
    """Of Q4_K and Q5_K, from the first 16 bytes of four super-blocks, d and then dmin: f32x8."""
    halves = bitcast(u16x32, heads)
    return from_half(shuffle(_D_THEN_DMIN, halves, halves))


def k_numbers(heads):
    """The 8 scales and 8 minimums of 6 bits each of Q4_K and Q5_K, from the first 16 bytes of super-blocks: u8x64.

    Bytes 0-3 after the factors hold scales 0-3 in their low six bits, bytes 4-7 the minimums 0-3; the upper two bits of
    each belong to number 4-7, whose low four bits are the low nibble (scale) and high nibble (minimum) of bytes 8-11.
    """
    heads = bitcast(u32x16, heads)
    low = (shuffle(_LOW_BITS, heads, heads) >> constant(_LOW_AT)) & constant(_LOW_MASK)
    high = (shuffle(_HIGH_BITS, heads, heads) >> 2) & constant(_HIGH_MASK)
    return bitcast(u8x64, low | high)


def k_scales(p):
    """Scales of Q4_K and Q5_K, each for two groups of 16: i16x16. p: of the super-block."""
    v = k_numbers(join16(p, p, p, p))
    return cast(i16x16, shuffle(_EACH_TWICE, v, v))


def k_minimums(p):
    """Minimums of Q4_K and Q5_K, each for two groups of 16: i16x16. p: of the super-block."""
    v = k_numbers(join16(p, p, p, p))
    return cast(i16x16, shuffle(_MINIMUMS_TWICE, v, v))


def k_quarters(address):
    """Nibbles of Q4_K's and Q5_K's 128 bytes, elements 0-15 of group 2j in quarter j, 16-31, and those of 2j + 1."""
    v, w = load(u32x16, address), load(u32x16, address + 64)
    first, last = shuffle(_EVEN_QUARTERS, v, w), shuffle(_ODD_QUARTERS, v, w)
    high, high_last = high4(bitcast(u8x64, first)), high4(bitcast(u8x64, last))
    return first & LOW4, last & LOW4, bitcast(u32x16, high), bitcast(u32x16, high_last)


def pairs32(address, run):
    """Elements 64 * run to 64 * run + 63 of 128 that lie in the bit pairs of 32 bytes, as K-formats have them: u8x64.

    Byte i of each 32 holds elements i, i + 32, i + 64, i + 96 of 128.
    """
    v = twice32(address + 32 * (run >> 1)) >> (4 * (run & 1))
    return bitcast(u8x64, (v >> constant(_PAIR_BY_32)) & LOW2)


def bits32(address, run):
    """Bits 2 * run and 2 * run + 1 of 32 bytes, 0 or 1 for elements 0-31 and 32-63: u32x16 of four elements each."""
    return ((twice32(address) >> (2 * run)) >> constant(_BIT_BY_32)) & 0x01010101


def nibble_pairs(eight_bytes):
    """The 16 nibbles of the bytes of a u64, low ones first: i16x16."""
    v = bitcast(u8x8, eight_bytes)
    return cast(i16x16, (cast(u32x16, shuffle(_EACH_TWICE, v, v)) >> constant(_NIBBLE_OF_PAIR)) & 15)


def nibbles_twice(four_bytes):
    """The 8 nibbles of a u32, low ones first, each in two lanes: i16x16."""
    return cast(i16x16, (splat(u32x16, four_bytes) >> constant(_NIBBLE_TWICE)) & 15)


def signed(magnitudes, signs, offset):
    """offset - magnitude where an element's sign (a bit of a u64) is set, offset + magnitude elsewhere."""
    middle = splat(u8x64, offset)
    return select(mask64(signs), middle - magnitudes, middle + magnitudes)
