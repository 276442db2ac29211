"""The operations that differ by target: a table each, from the operation's name to its emission.

`e` is the Emitter, the rest are LLVM values. All tables compute the same integers; where FMA is missing (GENERIC)
floats may differ in the last bit.
"""

from __future__ import annotations

from llvmlite import ir

I8, I16, I32, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.FloatType()


def _vec(element: ir.Type, n: int) -> ir.VectorType:
    return ir.VectorType(element, n)


def _const(type_: ir.Type, value):
    if isinstance(type_, ir.VectorType):
        return ir.Constant(type_, [value] * type_.count)
    return ir.Constant(type_, value)


def _like(type_: ir.Type, element: ir.Type) -> ir.Type:
    """`element`, in as many lanes as type_ has."""
    return _vec(element, type_.count) if isinstance(type_, ir.VectorType) else element


def _bytes(values) -> ir.Constant:
    return ir.Constant(_vec(I8, len(values)), list(values))


def _suffix(type_: ir.Type) -> str:
    return f"v{type_.count}f32" if isinstance(type_, ir.VectorType) else "f32"


def _pieces(e, v, bytes_: int):
    """The vector in pieces of `bytes_` bytes, or whole where it is no longer."""
    n = bytes_ * 8 // v.type.element.width
    if v.type.count <= n:
        return [v]
    return [e.shuffle(v, v, range(i, i + n)) for i in range(0, v.type.count, n)]


def _join(e, pieces):
    while len(pieces) > 1:
        n = pieces[0].type.count
        pieces = [e.shuffle(a, b, range(2 * n)) for a, b in zip(pieces[::2], pieces[1::2], strict=True)]
    return pieces[0]


def _by_piece(e, bytes_: int, f, *vectors):
    """Apply f to corresponding pieces and join the results."""
    return _join(e, [f(*piece) for piece in zip(*(_pieces(e, v, bytes_) for v in vectors), strict=True)])


# --- shared by targets with FMA and half conversion in hardware


def _fma(e, a, b, c):
    return e.call(f"llvm.fma.{_suffix(a.type)}", a.type, a, b, c)


def _from_half(e, v):
    half = e.builder.bitcast(v, _like(v.type, ir.HalfType()))
    return e.builder.fpext(half, _like(v.type, F32))


def _to_half(e, v):
    return e.builder.bitcast(e.builder.fptrunc(v, _like(v.type, ir.HalfType())), _like(v.type, I16))


def _x86_pause(e):
    e.call("llvm.x86.sse2.pause", ir.VoidType())


def _plain_dot2_s8(e, c, s):
    """Signed bytes, widened within their own 16 bits."""
    b, shorts, eight = e.builder, _vec(I16, 32), _const(_vec(I16, 32), 8)
    c, s = b.bitcast(c, shorts), b.bitcast(s, shorts)
    low = b.mul(b.ashr(b.shl(c, eight), eight), b.ashr(b.shl(s, eight), eight))
    return b.add(low, b.mul(b.ashr(c, eight), b.ashr(s, eight)))


def _plain_bit_to_16(e, pattern, v):
    b = e.builder
    is_set = b.icmp_unsigned("!=", b.and_(v, _bytes([1 << bit for bit in pattern])), _const(v.type, 0))
    return b.select(is_set, _const(v.type, 16), _const(v.type, 0))


def _biased(dot4):
    """Signed times signed bytes by a dot4, with 128 more, whose products are taken off."""

    def dot(e, acc, c, s):
        bias = _const(c.type, -128)
        return e.builder.sub(dot4(e, acc, e.builder.xor(c, bias), s), dot4(e, _const(acc.type, 0), bias, s))

    return dot


# --- AVX-512 VNNI


def _vpdpbusd(e, acc, u, s):
    return e.call("llvm.x86.avx512.vpdpbusd.512", acc.type, acc, u, s)


def _vpdpwssd(e, acc, a, b):
    return e.call(f"llvm.x86.avx512.vpdpwssd.{32 * acc.type.count}", acc.type, acc, a, b)


def _pmaddubsw512(e, u, s):
    return e.call("llvm.x86.avx512.pmaddubs.w.512", _vec(I16, 32), u, s)


def _packssdw512(e, a, b):
    return e.call("llvm.x86.avx512.packssdw.512", _vec(I16, 32), a, b)


def _pshufb512(e, table, codes):
    return e.call("llvm.x86.avx512.pshuf.b.512", codes.type, _bytes(table * 4), codes)


def _pick512(e, pattern, v):
    return e.call("llvm.x86.avx512.pshuf.b.512", v.type, v, _bytes([x - 256 if x > 127 else x for x in pattern]))


AVX512VNNI = {
    "fma": _fma, "from_half": _from_half, "to_half": _to_half, "pause": _x86_pause,
    "dot4": _vpdpbusd, "dot4_u7": _vpdpbusd, "dot4_s8": _biased(_vpdpbusd),
    "dot2": _vpdpwssd, "dot2_u7": _pmaddubsw512, "dot2_s8": _plain_dot2_s8, "pack16": _packssdw512,
    "lookup16": _pshufb512, "pick16": _pick512, "bit_to_16": _plain_bit_to_16,
}  # fmt: skip


# --- AVX2


def _pmaddwd(e, a, b):
    name = {8: "llvm.x86.sse2.pmadd.wd", 16: "llvm.x86.avx2.pmadd.wd"}[a.type.count]
    return e.call(name, _vec(I32, a.type.count // 2), a, b)


def _pmaddubsw(e, u, s):
    return e.call("llvm.x86.avx2.pmadd.ub.sw", _vec(I16, 16), u, s)


def _avx2_dot4_u7(e, acc, u, s):
    def piece(acc, u, s):
        return e.builder.add(acc, _pmaddwd(e, _pmaddubsw(e, u, s), _const(_vec(I16, 16), 1)))

    return _by_piece(e, 32, piece, acc, u, s)


def _avx2_dot4(e, acc, u, s):
    """pmaddubsw saturates for codes over 127: bit 7 goes its own way."""

    def piece(acc, u, s):
        b, bytes_ = e.builder, _vec(I8, 32)
        low = _pmaddubsw(e, b.and_(u, _const(bytes_, 127)), s)
        high = _pmaddubsw(e, b.lshr(u, _const(bytes_, 7)), s)
        acc = b.add(acc, _pmaddwd(e, low, _const(_vec(I16, 16), 1)))
        return b.add(acc, _pmaddwd(e, high, _const(_vec(I16, 16), 128)))

    return _by_piece(e, 32, piece, acc, u, s)


def _signed_pairs(e, c, s):
    """|c| times s with the sign of c: two such products fit 16 bits."""
    magnitude = e.call("llvm.abs.v32i8", c.type, c, ir.Constant(ir.IntType(1), 0))
    return _pmaddubsw(e, magnitude, e.call("llvm.x86.avx2.psign.b", s.type, s, c))


def _avx2_dot4_s8(e, acc, c, s):
    def piece(acc, c, s):
        return e.builder.add(acc, _pmaddwd(e, _signed_pairs(e, c, s), _const(_vec(I16, 16), 1)))

    return _by_piece(e, 32, piece, acc, c, s)


def _avx2_dot2_s8(e, c, s):
    return _by_piece(e, 32, lambda c, s: _signed_pairs(e, c, s), c, s)


def _avx2_dot2_u7(e, u, s):
    return _by_piece(e, 32, lambda u, s: _pmaddubsw(e, u, s), u, s)


def _avx2_dot2(e, acc, a, b):
    return _by_piece(e, 32, lambda acc, a, b: e.builder.add(acc, _pmaddwd(e, a, b)), acc, a, b)


def _avx2_pack16(e, a, b):
    return _by_piece(e, 32, lambda a, b: e.call("llvm.x86.avx2.packssdw", _vec(I16, 16), a, b), a, b)


def _avx2_lookup16(e, table, codes):
    return _by_piece(e, 32, lambda c: e.call("llvm.x86.avx2.pshuf.b", c.type, _bytes(table * 2), c), codes)


def _avx2_pick16(e, pattern, v):
    signed = _bytes([x - 256 if x > 127 else x for x in pattern])
    return _by_piece(e, 32, lambda v, at: e.call("llvm.x86.avx2.pshuf.b", v.type, v, at), v, signed)


def _avx2_bit_to_16(e, pattern, v):
    """psignb gives 0 for 0, and what it is given for the bit; its opposite for bit 7, the sign."""
    bits = e.builder.and_(v, _bytes([1 << bit for bit in pattern]))
    given = _bytes([-16 if bit == 7 else 16 for bit in pattern])
    return _by_piece(e, 32, lambda c, bits: e.call("llvm.x86.avx2.psign.b", c.type, c, bits), given, bits)


AVX2 = {
    "fma": _fma, "from_half": _from_half, "to_half": _to_half, "pause": _x86_pause,
    "dot4": _avx2_dot4, "dot4_u7": _avx2_dot4_u7, "dot4_s8": _avx2_dot4_s8,
    "dot2": _avx2_dot2, "dot2_u7": _avx2_dot2_u7, "dot2_s8": _avx2_dot2_s8, "pairs": _avx2_dot2_u7,
    "pack16": _avx2_pack16, "lookup16": _avx2_lookup16, "pick16": _avx2_pick16, "bit_to_16": _avx2_bit_to_16,
}  # fmt: skip
"""pairs: dot2_u7 again, where it pays to add up such products before they are widened: see tile_dots."""


# --- AVX-VNNI: the dot products of 256 bits without AVX-512


def _vpdpbusd256(e, acc, u, s):
    """The intrinsic bears AVX-512's name; with the feature avxvnni it becomes the VEX form."""
    return _by_piece(e, 32, lambda *v: e.call("llvm.x86.avx512.vpdpbusd.256", v[0].type, *v), acc, u, s)


def _vpdpwssd256(e, acc, a, b):
    return _by_piece(e, 32, lambda *v: e.call("llvm.x86.avx512.vpdpwssd.256", v[0].type, *v), acc, a, b)


AVXVNNI = AVX2 | {
    "dot4": _vpdpbusd256, "dot4_u7": _vpdpbusd256, "dot4_s8": _biased(_vpdpbusd256), "dot2": _vpdpwssd256,
}  # fmt: skip
del AVXVNNI["pairs"]


# --- NEON with dotprod, and with i8mm


def _neon_dot(name: str):
    def dot(e, acc, u, s):
        call = f"llvm.aarch64.neon.{name}.v4i32.v16i8"
        return _by_piece(e, 16, lambda *v: e.call(call, v[0].type, *v), acc, u, s)

    return dot


_usdot, _sdot = _neon_dot("usdot"), _neon_dot("sdot")


def _neon_dot4(e, acc, u, s):
    """sdot takes signed codes alone: those of 8 bits lose 128, and the activations' sum makes up for it."""
    b = e.builder
    over = _sdot(e, _const(acc.type, 0), _const(s.type, 1), s)
    acc = b.add(acc, b.shl(over, _const(acc.type, 7)))
    return _sdot(e, acc, b.xor(u, _const(u.type, -128)), s)


def _neon_dot2(e, acc, a, b_):
    """Products of 16 bits, pairs of which are added: smull, smull2, addp."""

    def piece(acc, a, b_):
        b, wide = e.builder, _vec(I32, 8)
        product = b.mul(b.sext(a, wide), b.sext(b_, wide))
        pairs = b.add(e.shuffle(product, product, range(0, 8, 2)), e.shuffle(product, product, range(1, 8, 2)))
        return b.add(acc, pairs)

    return _by_piece(e, 16, piece, acc, a, b_)


def _neon_dot2_u7(e, u, s):
    """Products of bytes fit 16 bits: smull, smull2, addp."""

    def piece(u, s):
        b, wide = e.builder, _vec(I16, 16)
        product = b.mul(b.sext(u, wide), b.sext(s, wide))
        return b.add(e.shuffle(product, product, range(0, 16, 2)), e.shuffle(product, product, range(1, 16, 2)))

    return _by_piece(e, 16, piece, u, s)


def _neon_lookup16(e, table, codes):
    return _by_piece(e, 16, lambda c: e.call("llvm.aarch64.neon.tbl1.v16i8", c.type, _bytes(table), c), codes)


def _plain_pick16(e, pattern, v):
    """Zeros come from a second vector."""
    at = [64 if x > 127 else i // 16 * 16 + x for i, x in enumerate(pattern)]
    return e.shuffle(v, _const(v.type, 0), at)


def _neon_pause(e):
    e.call("llvm.aarch64.hint", ir.VoidType(), _const(I32, 1))


def _plain_pack16(e, a, b):
    shorts = _vec(I16, 16)
    order = [16 * which + 4 * group + i for group in range(4) for which in range(2) for i in range(4)]
    return e.shuffle(e.builder.trunc(a, shorts), e.builder.trunc(b, shorts), order)


NEON = {
    "fma": _fma, "from_half": _from_half, "to_half": _to_half, "pause": _neon_pause,
    "dot4": _neon_dot4, "dot4_u7": _sdot, "dot4_s8": _sdot, "dot2": _neon_dot2, "dot2_u7": _neon_dot2_u7,
    "dot2_s8": _neon_dot2_u7,
    "pack16": _plain_pack16, "lookup16": _neon_lookup16, "pick16": _plain_pick16, "bit_to_16": _plain_bit_to_16,
}  # fmt: skip
NEONI8MM = NEON | {"dot4": _usdot, "dot4_u7": _usdot}


# --- plain LLVM, for any processor


def _mul_add(e, a, b, c):
    """Without the instruction llvm.fma would call a C library routine a lane."""
    return e.builder.fadd(e.builder.fmul(a, b), c)


def _soft_from_half(e, v):
    """LLVM's own soft conversion calls a routine that is not in the process. Times 2**112, subnormals are right."""
    b, ints = e.builder, _like(v.type, I32)
    bits = b.zext(v, ints)
    sign = b.shl(b.and_(bits, _const(ints, 0x8000)), _const(ints, 16))
    magnitude = b.shl(b.and_(bits, _const(ints, 0x7FFF)), _const(ints, 13))
    floats = _like(v.type, F32)
    scaled = b.bitcast(b.fmul(b.bitcast(magnitude, floats), _const(floats, 2.0**112)), ints)
    special = b.or_(magnitude, _const(ints, 0x7F800000))
    is_special = b.icmp_unsigned(">=", magnitude, _const(ints, 0x7C00 << 13))
    return b.bitcast(b.or_(sign, b.select(is_special, special, scaled)), floats)


def _soft_to_half(e, v):
    """Round to nearest even by integer operations (F. Giesen, "float to half variants")."""
    b, ints, floats = e.builder, _like(v.type, I32), _like(v.type, F32)
    bits = b.bitcast(v, ints)
    sign = b.and_(bits, _const(ints, -0x80000000))
    magnitude = b.xor(bits, sign)
    # Subnormal halves: adding 0.5 lets the float adder round at the right bit.
    small = b.sub(b.bitcast(b.fadd(b.bitcast(magnitude, floats), _const(floats, 0.5)), ints), _const(ints, 0x3F000000))
    odd = b.and_(b.lshr(magnitude, _const(ints, 13)), _const(ints, 1))
    rounded = b.add(b.add(magnitude, _const(ints, ((15 - 127) << 23) + 0xFFF)), odd)
    normal = b.lshr(rounded, _const(ints, 13))
    is_nan = b.icmp_unsigned(">", magnitude, _const(ints, 0x7F800000))
    large = b.select(is_nan, _const(ints, 0x7E00), _const(ints, 0x7C00))
    half = b.select(b.icmp_unsigned("<", magnitude, _const(ints, 113 << 23)), small, normal)
    half = b.select(b.icmp_unsigned(">=", magnitude, _const(ints, (127 + 16) << 23)), large, half)
    return b.trunc(b.or_(half, b.lshr(sign, _const(ints, 16))), _like(v.type, I16))


def _plain_dot4(e, acc, u, s):
    """Byte j of each 32-bit lane by shifts: no lane crosses another."""
    b, ints = e.builder, acc.type
    u, s = b.bitcast(u, ints), b.bitcast(s, ints)
    for j in range(4):
        code = b.and_(b.lshr(u, _const(ints, 8 * j)), _const(ints, 255))
        x = b.ashr(b.shl(s, _const(ints, 24 - 8 * j)), _const(ints, 24))
        acc = b.add(acc, b.mul(code, x))
    return acc


def _plain_dot2(e, acc, a, b_):
    b, ints, sixteen = e.builder, acc.type, _const(acc.type, 16)
    a, b_ = b.bitcast(a, ints), b.bitcast(b_, ints)
    low = b.mul(b.ashr(b.shl(a, sixteen), sixteen), b.ashr(b.shl(b_, sixteen), sixteen))
    return b.add(b.add(acc, low), b.mul(b.ashr(a, sixteen), b.ashr(b_, sixteen)))


def _plain_dot2_u7(e, u, s):
    b, shorts, eight = e.builder, _vec(I16, 32), _const(_vec(I16, 32), 8)
    u, s = b.bitcast(u, shorts), b.bitcast(s, shorts)
    low = b.mul(b.and_(u, _const(shorts, 255)), b.ashr(b.shl(s, eight), eight))
    return b.add(low, b.mul(b.lshr(u, eight), b.ashr(s, eight)))


def _plain_lookup16(e, table, codes):
    """A tree of choices, one bit of the codes a level."""
    b, type_ = e.builder, codes.type
    level = [_const(type_, value) for value in table]
    for bit in range(4):
        is_set = b.icmp_unsigned("!=", b.and_(codes, _const(type_, 1 << bit)), _const(type_, 0))
        level = [b.select(is_set, high, low) for low, high in zip(level[::2], level[1::2], strict=True)]
    return level[0]


GENERIC = {
    "fma": _mul_add, "from_half": _soft_from_half, "to_half": _soft_to_half, "pause": lambda e: None,
    "dot4": _plain_dot4, "dot4_u7": _plain_dot4, "dot4_s8": _biased(_plain_dot4),
    "dot2": _plain_dot2, "dot2_u7": _plain_dot2_u7, "dot2_s8": _plain_dot2_s8,
    "pack16": _plain_pack16, "lookup16": _plain_lookup16, "pick16": _plain_pick16, "bit_to_16": _plain_bit_to_16,
}  # fmt: skip
