"""The operations that differ by target: a table each, from the operation's name to its emission.

`e` is the Emitter, the rest are LLVM values. All tables compute the same integers; where FMA is missing (GENERIC)
floats may differ in the last bit.
"""

from __future__ import annotations

from llvmlite import ir

from . import amx
from .emission import (
    F32,
    I8,
    I16,
    I32,
    by_piece,
    byte_vector,
    const,
    fma,
    from_half,
    like,
    plain_high4,
    plain_mask64,
    plain_pack16,
    plain_pick16,
    to_half,
    vec,
)
from .neon import NEON as NEON
from .neon import NEONI8MM as NEONI8MM


def _x86_pause(e):
    e.call("llvm.x86.sse2.pause", ir.VoidType())


def _plain_dot2_s8(e, c, s):
    """Signed bytes, widened within their own 16 bits."""
    b, shorts, eight = e.builder, vec(I16, 32), const(vec(I16, 32), 8)
    c, s = b.bitcast(c, shorts), b.bitcast(s, shorts)
    low = b.mul(b.ashr(b.shl(c, eight), eight), b.ashr(b.shl(s, eight), eight))
    return b.add(low, b.mul(b.ashr(c, eight), b.ashr(s, eight)))


def _plain_bit_to_16(e, pattern, v):
    b = e.builder
    is_set = b.icmp_unsigned("!=", b.and_(v, byte_vector([1 << bit for bit in pattern])), const(v.type, 0))
    return b.select(is_set, const(v.type, 16), const(v.type, 0))


def _biased(dot4):
    """Signed times signed bytes by a dot4, with 128 more, whose products are taken off."""

    def dot(e, acc, c, s):
        bias = const(c.type, -128)
        return e.builder.sub(dot4(e, acc, e.builder.xor(c, bias), s), dot4(e, const(acc.type, 0), bias, s))

    return dot


# --- AVX-512 VNNI


def _vpdpbusd(e, acc, u, s):
    return e.call("llvm.x86.avx512.vpdpbusd.512", acc.type, acc, u, s)


def _vpdpwssd(e, acc, a, b):
    return e.call(f"llvm.x86.avx512.vpdpwssd.{32 * acc.type.count}", acc.type, acc, a, b)


def _pmaddubsw512(e, u, s):
    return e.call("llvm.x86.avx512.pmaddubs.w.512", vec(I16, 32), u, s)


def _packssdw512(e, a, b):
    return e.call("llvm.x86.avx512.packssdw.512", vec(I16, 32), a, b)


def _pshufb512(e, table, codes):
    return e.call("llvm.x86.avx512.pshuf.b.512", codes.type, byte_vector(table * 4), codes)


def _pick512(e, pattern, v):
    return e.call("llvm.x86.avx512.pshuf.b.512", v.type, v, byte_vector([x - 256 if x > 127 else x for x in pattern]))


AVX512VNNI = {
    "fma": fma, "from_half": from_half, "to_half": to_half, "pause": _x86_pause,
    "dot4": _vpdpbusd, "dot4_u7": _vpdpbusd, "dot4_s8": _biased(_vpdpbusd),
    "dot2": _vpdpwssd, "dot2_u7": _pmaddubsw512, "dot2_s8": _plain_dot2_s8, "pack16": _packssdw512,
    "lookup16": _pshufb512, "pick16": _pick512, "bit_to_16": _plain_bit_to_16,
    "high4": plain_high4, "mask64": plain_mask64,
}  # fmt: skip


AMX = AVX512VNNI | {
    "squares_begin": amx.squares_begin, "squares_clear": amx.squares_clear, "squares_add": amx.squares_add,
    "squares_put": amx.squares_put, "squares_end": amx.squares_end,
}  # fmt: skip


# --- AVX2


def _pmaddwd(e, a, b):
    name = {8: "llvm.x86.sse2.pmadd.wd", 16: "llvm.x86.avx2.pmadd.wd"}[a.type.count]
    return e.call(name, vec(I32, a.type.count // 2), a, b)


def _pmaddubsw(e, u, s):
    return e.call("llvm.x86.avx2.pmadd.ub.sw", vec(I16, 16), u, s)


def _avx2_dot4_u7(e, acc, u, s):
    def piece(acc, u, s):
        return e.builder.add(acc, _pmaddwd(e, _pmaddubsw(e, u, s), const(vec(I16, 16), 1)))

    return by_piece(e, 32, piece, acc, u, s)


def _avx2_dot4(e, acc, u, s):
    """pmaddubsw saturates for codes over 127: bit 7 goes its own way."""

    def piece(acc, u, s):
        b, bytes_ = e.builder, vec(I8, 32)
        low = _pmaddubsw(e, b.and_(u, const(bytes_, 127)), s)
        high = _pmaddubsw(e, b.lshr(u, const(bytes_, 7)), s)
        acc = b.add(acc, _pmaddwd(e, low, const(vec(I16, 16), 1)))
        return b.add(acc, _pmaddwd(e, high, const(vec(I16, 16), 128)))

    return by_piece(e, 32, piece, acc, u, s)


def _signed_pairs(e, c, s):
    """|c| times s with the sign of c: two such products fit 16 bits."""
    magnitude = e.call("llvm.abs.v32i8", c.type, c, ir.Constant(ir.IntType(1), 0))
    return _pmaddubsw(e, magnitude, e.call("llvm.x86.avx2.psign.b", s.type, s, c))


def _avx2_dot4_s8(e, acc, c, s):
    def piece(acc, c, s):
        return e.builder.add(acc, _pmaddwd(e, _signed_pairs(e, c, s), const(vec(I16, 16), 1)))

    return by_piece(e, 32, piece, acc, c, s)


def _avx2_dot2_s8(e, c, s):
    return by_piece(e, 32, lambda c, s: _signed_pairs(e, c, s), c, s)


def _avx2_dot2_u7(e, u, s):
    return by_piece(e, 32, lambda u, s: _pmaddubsw(e, u, s), u, s)


def _avx2_dot2(e, acc, a, b):
    return by_piece(e, 32, lambda acc, a, b: e.builder.add(acc, _pmaddwd(e, a, b)), acc, a, b)


def _avx2_pack16(e, a, b):
    return by_piece(e, 32, lambda a, b: e.call("llvm.x86.avx2.packssdw", vec(I16, 16), a, b), a, b)


def _avx2_lookup16(e, table, codes):
    return by_piece(e, 32, lambda c: e.call("llvm.x86.avx2.pshuf.b", c.type, byte_vector(table * 2), c), codes)


def _avx2_pick16(e, pattern, v):
    signed = byte_vector([x - 256 if x > 127 else x for x in pattern])
    return by_piece(e, 32, lambda v, at: e.call("llvm.x86.avx2.pshuf.b", v.type, v, at), v, signed)


def _avx2_bit_to_16(e, pattern, v):
    """psignb gives 0 for 0, and what it is given for the bit; its opposite for bit 7, the sign."""
    bits = e.builder.and_(v, byte_vector([1 << bit for bit in pattern]))
    given = byte_vector([-16 if bit == 7 else 16 for bit in pattern])
    return by_piece(e, 32, lambda c, bits: e.call("llvm.x86.avx2.psign.b", c.type, c, bits), given, bits)


AVX2 = {
    "fma": fma, "from_half": from_half, "to_half": to_half, "pause": _x86_pause,
    "dot4": _avx2_dot4, "dot4_u7": _avx2_dot4_u7, "dot4_s8": _avx2_dot4_s8,
    "dot2": _avx2_dot2, "dot2_u7": _avx2_dot2_u7, "dot2_s8": _avx2_dot2_s8, "pairs": _avx2_dot2_u7,
    "pack16": _avx2_pack16, "lookup16": _avx2_lookup16, "pick16": _avx2_pick16, "bit_to_16": _avx2_bit_to_16,
    "high4": plain_high4, "mask64": plain_mask64,
}  # fmt: skip
"""pairs: dot2_u7 again, where it pays to add up such products before they are widened: see tile_dots."""


# --- AVX-VNNI: the dot products of 256 bits without AVX-512


def _vpdpbusd256(e, acc, u, s):
    """The intrinsic bears AVX-512's name; with the feature avxvnni it becomes the VEX form."""
    return by_piece(e, 32, lambda *v: e.call("llvm.x86.avx512.vpdpbusd.256", v[0].type, *v), acc, u, s)


def _vpdpwssd256(e, acc, a, b):
    return by_piece(e, 32, lambda *v: e.call("llvm.x86.avx512.vpdpwssd.256", v[0].type, *v), acc, a, b)


AVXVNNI = AVX2 | {
    "dot4": _vpdpbusd256, "dot4_u7": _vpdpbusd256, "dot4_s8": _biased(_vpdpbusd256), "dot2": _vpdpwssd256,
}  # fmt: skip
del AVXVNNI["pairs"]


# --- plain LLVM, for any processor


def _mul_add(e, a, b, c):
    """Without the instruction llvm.fma would call a C library routine a lane."""
    return e.builder.fadd(e.builder.fmul(a, b), c)


def _soft_from_half(e, v):
    """LLVM's own soft conversion calls a routine that is not in the process. Times 2**112, subnormals are right."""
    b, ints = e.builder, like(v.type, I32)
    bits = b.zext(v, ints)
    sign = b.shl(b.and_(bits, const(ints, 0x8000)), const(ints, 16))
    magnitude = b.shl(b.and_(bits, const(ints, 0x7FFF)), const(ints, 13))
    floats = like(v.type, F32)
    scaled = b.bitcast(b.fmul(b.bitcast(magnitude, floats), const(floats, 2.0**112)), ints)
    special = b.or_(magnitude, const(ints, 0x7F800000))
    is_special = b.icmp_unsigned(">=", magnitude, const(ints, 0x7C00 << 13))
    return b.bitcast(b.or_(sign, b.select(is_special, special, scaled)), floats)


def _soft_to_half(e, v):
    """Round to nearest even by integer operations (F. Giesen, "float to half variants")."""
    b, ints, floats = e.builder, like(v.type, I32), like(v.type, F32)
    bits = b.bitcast(v, ints)
    sign = b.and_(bits, const(ints, -0x80000000))
    magnitude = b.xor(bits, sign)
    # Subnormal halves: adding 0.5 lets the float adder round at the right bit.
    small = b.sub(b.bitcast(b.fadd(b.bitcast(magnitude, floats), const(floats, 0.5)), ints), const(ints, 0x3F000000))
    odd = b.and_(b.lshr(magnitude, const(ints, 13)), const(ints, 1))
    rounded = b.add(b.add(magnitude, const(ints, ((15 - 127) << 23) + 0xFFF)), odd)
    normal = b.lshr(rounded, const(ints, 13))
    is_nan = b.icmp_unsigned(">", magnitude, const(ints, 0x7F800000))
    large = b.select(is_nan, const(ints, 0x7E00), const(ints, 0x7C00))
    half = b.select(b.icmp_unsigned("<", magnitude, const(ints, 113 << 23)), small, normal)
    half = b.select(b.icmp_unsigned(">=", magnitude, const(ints, (127 + 16) << 23)), large, half)
    return b.trunc(b.or_(half, b.lshr(sign, const(ints, 16))), like(v.type, I16))


def _plain_dot4(e, acc, u, s):
    """Byte j of each 32-bit lane by shifts: no lane crosses another."""
    b, ints = e.builder, acc.type
    u, s = b.bitcast(u, ints), b.bitcast(s, ints)
    for j in range(4):
        code = b.and_(b.lshr(u, const(ints, 8 * j)), const(ints, 255))
        x = b.ashr(b.shl(s, const(ints, 24 - 8 * j)), const(ints, 24))
        acc = b.add(acc, b.mul(code, x))
    return acc


def _plain_dot2(e, acc, a, b_):
    b, ints, sixteen = e.builder, acc.type, const(acc.type, 16)
    a, b_ = b.bitcast(a, ints), b.bitcast(b_, ints)
    low = b.mul(b.ashr(b.shl(a, sixteen), sixteen), b.ashr(b.shl(b_, sixteen), sixteen))
    return b.add(b.add(acc, low), b.mul(b.ashr(a, sixteen), b.ashr(b_, sixteen)))


def _plain_dot2_u7(e, u, s):
    b, shorts, eight = e.builder, vec(I16, 32), const(vec(I16, 32), 8)
    u, s = b.bitcast(u, shorts), b.bitcast(s, shorts)
    low = b.mul(b.and_(u, const(shorts, 255)), b.ashr(b.shl(s, eight), eight))
    return b.add(low, b.mul(b.lshr(u, eight), b.ashr(s, eight)))


def _plain_lookup16(e, table, codes):
    """A tree of choices, one bit of the codes a level."""
    b, type_ = e.builder, codes.type
    level = [const(type_, value) for value in table]
    for bit in range(4):
        is_set = b.icmp_unsigned("!=", b.and_(codes, const(type_, 1 << bit)), const(type_, 0))
        level = [b.select(is_set, high, low) for low, high in zip(level[::2], level[1::2], strict=True)]
    return level[0]


GENERIC = {
    "fma": _mul_add, "from_half": _soft_from_half, "to_half": _soft_to_half, "pause": lambda e: None,
    "dot4": _plain_dot4, "dot4_u7": _plain_dot4, "dot4_s8": _biased(_plain_dot4),
    "dot2": _plain_dot2, "dot2_u7": _plain_dot2_u7, "dot2_s8": _plain_dot2_s8,
    "pack16": plain_pack16, "lookup16": _plain_lookup16, "pick16": plain_pick16, "bit_to_16": _plain_bit_to_16,
    "high4": plain_high4, "mask64": plain_mask64,
}  # fmt: skip
