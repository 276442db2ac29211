"""How the tables of several targets emit: constants, pieces of vectors, and operations that are the same on some.

`e` is the Emitter, the rest are LLVM values.
"""

from __future__ import annotations

from llvmlite import ir

I8, I16, I32, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.FloatType()


def vec(element: ir.Type, n: int) -> ir.VectorType:
    return ir.VectorType(element, n)


def const(type_: ir.Type, value):
    if isinstance(type_, ir.VectorType):
        return ir.Constant(type_, [value] * type_.count)
    return ir.Constant(type_, value)


def like(type_: ir.Type, element: ir.Type) -> ir.Type:
    """`element`, in as many lanes as type_ has."""
    return vec(element, type_.count) if isinstance(type_, ir.VectorType) else element


def byte_vector(values) -> ir.Constant:
    return ir.Constant(vec(I8, len(values)), list(values))


def suffix(type_: ir.Type) -> str:
    return f"v{type_.count}f32" if isinstance(type_, ir.VectorType) else "f32"


def pieces(e, v, bytes_: int):
    """The vector in pieces of `bytes_` bytes, or whole where it is no longer."""
    n = bytes_ * 8 // v.type.element.width
    if v.type.count <= n:
        return [v]
    return [e.shuffle(v, v, range(i, i + n)) for i in range(0, v.type.count, n)]


def join(e, parts):
    while len(parts) > 1:
        n = parts[0].type.count
        parts = [e.shuffle(a, b, range(2 * n)) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def by_piece(e, bytes_: int, f, *vectors):
    """Apply f to corresponding pieces and join the results."""
    return join(e, [f(*piece) for piece in zip(*(pieces(e, v, bytes_) for v in vectors), strict=True)])


# --- shared by targets with FMA and half conversion in hardware


def fma(e, a, b, c):
    return e.call(f"llvm.fma.{suffix(a.type)}", a.type, a, b, c)


def from_half(e, v):
    half = e.builder.bitcast(v, like(v.type, ir.HalfType()))
    return e.builder.fpext(half, like(v.type, F32))


def to_half(e, v):
    return e.builder.bitcast(e.builder.fptrunc(v, like(v.type, ir.HalfType())), like(v.type, I16))


# --- without instructions of their own


def plain_pick16(e, pattern, v):
    """Zeros come from a second vector."""
    at = [64 if x > 127 else i // 16 * 16 + x for i, x in enumerate(pattern)]
    return e.shuffle(v, const(v.type, 0), at)


def plain_pack16(e, a, b):
    shorts = vec(I16, 16)
    order = [16 * which + 4 * group + i for group in range(4) for which in range(2) for i in range(4)]
    return e.shuffle(e.builder.trunc(a, shorts), e.builder.trunc(b, shorts), order)


def plain_high4(e, v):
    """In lanes of 32 bits: x86 has no shift of bytes."""
    ints = vec(I32, v.type.count // 4)
    shifted = e.builder.lshr(e.builder.bitcast(v, ints), const(ints, 4))
    return e.builder.bitcast(e.builder.and_(shifted, const(ints, 0x0F0F0F0F)), v.type)


def plain_mask64(e, bits):
    return e.builder.bitcast(bits, vec(ir.IntType(1), 64))
