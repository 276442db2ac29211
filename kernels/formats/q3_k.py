"""Q3_K: 3 bits, symmetric, in super-blocks of 16 groups of 16 elements (110 bytes; `block_q3_K` of ggml-common.h).

byte    0  hmask   32 bytes: bit j of byte i is the third bit of element 32 * j + i
       32  qs      64 bytes: for each half of 128 elements, byte i holds the low bits of i, i + 32, i + 64, i + 96
       96  scales  12 bytes, 16 numbers of 6 bits: the low four of scale g are nibble g // 8 of byte g % 8, the
                   upper two are pair g // 4 of byte 8 + g % 4
      108  d       binary16

element of group g = d * (scale[g] - 32) * (q - 4)
"""

from ..simd import bitcast, cast, i8x16, i16x16, load, pair, u8x64, u32, u32x16, u64, u64x2
from .bits import bits32, half, pairs32

KIND = "super"
BYTES, GROUP, OFFSET, HAS_MIN, MAX_CODE = 110, 16, 4, 0, 7
_NIBBLES, _PAIRS = 0x0F0F0F0F0F0F0F0F, 0x03030303


def codes(p, run):
    """Elements 64 * run to 64 * run + 63: u8x64."""
    return bitcast(u8x64, bitcast(u32x16, pairs32(p + 32, run)) | (bits32(p, run) << 2))


def d(p):
    return half(p + 108)


def dmin(p):
    return half(p + 108)


def upper(word, first):
    """The upper bits of eight scales: pair `first` of four bytes, then the next pair, in place: u64."""
    low = u64(word >> u32(first)) & u64(_PAIRS)
    high = u64(word >> u32(first + 2)) & u64(_PAIRS)
    return (low << u64(4)) | (high << u64(36))


def scales(p):
    """A scale a group of 16: i16x16."""
    low, word = load(u64, p + 96), load(u32, p + 104)
    first = (low & u64(_NIBBLES)) | upper(word, 0)
    second = ((low >> u64(4)) & u64(_NIBBLES)) | upper(word, 4)
    return cast(i16x16, bitcast(i8x16, pair(u64x2, first, second))) - 32


def minimums(p):
    return scales(p)
