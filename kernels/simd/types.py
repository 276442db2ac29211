"""Names for scalars, vectors, lane patterns and parameter blocks. Nothing here imports numba, llvmlite or numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scalar:
    """A machine scalar; `f32(x)` converts inside a kernel."""

    name: str

    @property
    def bits(self) -> int:
        return int(self.name[1:])

    def __call__(self, x):
        raise TypeError(f"{self.name}() has a meaning inside kernels only")


@dataclass(frozen=True)
class Vec:
    """`lanes` values of one scalar type."""

    elem: Scalar
    lanes: int


@dataclass(frozen=True)
class Lanes:
    """A shuffle pattern: lane i of the result is lane pattern[i] of the two operands, joined."""

    pattern: tuple[int, ...]


@dataclass(frozen=True)
class Const:
    """A vector of known values."""

    type: Vec
    values: tuple[int, ...]


@dataclass(frozen=True)
class Table:
    """Constant data that a kernel carries in its object code. `bytes` gives it, and is called when kernels compile."""

    name: str
    bytes: Callable[[], bytes] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Struct:
    """A block of named 8-byte fields at an address: how parameters reach a kernel.

    Inside a kernel `P(address).field` reads a field. Outside, `P.dtype` is its NumPy dtype and `P.fields` its names.
    """

    name: str
    fields: tuple[str, ...]

    @property
    def dtype(self):
        import numpy as np

        return np.dtype([(field, np.int64) for field in self.fields])

    @property
    def size(self) -> int:
        return 8 * len(self.fields)

    def offset(self, field: str) -> int:
        return 8 * self.fields.index(field)

    def __call__(self, address):
        raise TypeError(f"{self.name}() has a meaning inside kernels only")


i8, i16, i32, i64 = Scalar("i8"), Scalar("i16"), Scalar("i32"), Scalar("i64")
u8, u16, u32, u64 = Scalar("u8"), Scalar("u16"), Scalar("u32"), Scalar("u64")
f32, f64 = Scalar("f32"), Scalar("f64")

u8x8, u8x16, u8x32, u8x64 = Vec(u8, 8), Vec(u8, 16), Vec(u8, 32), Vec(u8, 64)
i8x16, i8x32, i8x64 = Vec(i8, 16), Vec(i8, 32), Vec(i8, 64)
i16x8, i16x16, i16x32 = Vec(i16, 8), Vec(i16, 16), Vec(i16, 32)
u16x4, u16x8, u16x16, u16x32 = Vec(u16, 4), Vec(u16, 8), Vec(u16, 16), Vec(u16, 32)
u32x4, u32x8, u64x2 = Vec(u32, 4), Vec(u32, 8), Vec(u64, 2)
i32x4, i32x8, i32x16, u32x16 = Vec(i32, 4), Vec(i32, 8), Vec(i32, 16), Vec(u32, 16)
f32x2, f32x4, f32x8, f32x16 = Vec(f32, 2), Vec(f32, 4), Vec(f32, 8), Vec(f32, 16)
