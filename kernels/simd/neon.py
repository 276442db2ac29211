"""What operations become on ARM: NEON with dotprod, and with i8mm. See instructions.py."""

from __future__ import annotations

from llvmlite import ir

from .emission import (
    I8,
    I16,
    I32,
    by_piece,
    byte_vector,
    const,
    fma,
    from_half,
    plain_pack16,
    plain_pick16,
    to_half,
    vec,
)


def _usdot(e, acc, u, s):
    return by_piece(e, 16, lambda *v: e.call("llvm.aarch64.neon.usdot.v4i32.v16i8", v[0].type, *v), acc, u, s)


def _sdot(e, acc, c, s):
    """The codes are the second operand, which can be a lane: see _neon_lane."""
    return by_piece(e, 16, lambda *v: e.call("llvm.aarch64.neon.sdot.v4i32.v16i8", v[0].type, *v), acc, s, c)


def _neon_lane(e, four, i):
    """Lane i of four, in all lanes: dot products take it from where it is."""
    return e.shuffle(four, four, [i] * 16)


def _neon_dot4(e, acc, u, s):
    """sdot takes signed codes alone: those of 8 bits lose 128, and the activations' sum makes up for it."""
    b = e.builder
    over = _sdot(e, const(acc.type, 0), const(s.type, 1), s)
    acc = b.add(acc, b.shl(over, const(acc.type, 7)))
    return _sdot(e, acc, b.xor(u, const(u.type, -128)), s)


def _neon_dot2(e, acc, a, b_):
    """Products of 16 bits, pairs of which are added: smull, smull2, addp."""

    def piece(acc, a, b_):
        b, wide = e.builder, vec(I32, 8)
        product = b.mul(b.sext(a, wide), b.sext(b_, wide))
        pairs = b.add(e.shuffle(product, product, range(0, 8, 2)), e.shuffle(product, product, range(1, 8, 2)))
        return b.add(acc, pairs)

    return by_piece(e, 16, piece, acc, a, b_)


def _neon_dot2_u7(e, u, s):
    """Products of bytes fit 16 bits: smull, smull2, addp."""

    def piece(u, s):
        b, wide = e.builder, vec(I16, 16)
        product = b.mul(b.sext(u, wide), b.sext(s, wide))
        return b.add(e.shuffle(product, product, range(0, 16, 2)), e.shuffle(product, product, range(1, 16, 2)))

    return by_piece(e, 16, piece, u, s)


def _neon_lookup16(e, table, codes):
    return by_piece(e, 16, lambda c: e.call("llvm.aarch64.neon.tbl1.v16i8", c.type, byte_vector(table), c), codes)


def _neon_bit_to_16(e, pattern, v):
    """The bit comes to its place by a shift: a lane's own, to the left or to the right."""
    by = byte_vector([4 - bit for bit in pattern])

    def piece(v, by):
        moved = e.call("llvm.aarch64.neon.ushl.v16i8", v.type, v, by)
        return e.builder.and_(moved, const(v.type, 16))

    return by_piece(e, 16, piece, v, by)


def _neon_mask64(e, bits):
    """Each byte in eight lanes, and of each lane its bit: LLVM would take out bit after bit."""
    b = e.builder
    eight = b.bitcast(bits, vec(I8, 8))
    spread = e.shuffle(eight, eight, [i // 8 for i in range(64)])
    own = b.and_(spread, byte_vector([1 << i % 8 for i in range(64)]))
    return b.icmp_unsigned("!=", own, const(own.type, 0))


def _neon_high4(e, v):
    return e.builder.lshr(v, const(v.type, 4))


def _neon_pause(e):
    e.call("llvm.aarch64.hint", ir.VoidType(), const(I32, 1))


NEON = {
    "fma": fma, "from_half": from_half, "to_half": to_half, "pause": _neon_pause,
    "dot4": _neon_dot4, "dot4_u7": _sdot, "dot4_s8": _sdot, "dot2": _neon_dot2, "dot2_u7": _neon_dot2_u7,
    "dot2_s8": _neon_dot2_u7,
    "pack16": plain_pack16, "lookup16": _neon_lookup16, "pick16": plain_pick16, "bit_to_16": _neon_bit_to_16,
    "high4": _neon_high4, "mask64": _neon_mask64, "lane": _neon_lane,
}  # fmt: skip
"""lane: where codes that are spread over a vector are best loaded four at a time, see tile_dots."""
NEONI8MM = NEON | {"dot4": _usdot, "dot4_u7": _usdot}
