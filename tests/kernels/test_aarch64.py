"""Whole kernels for ARM: that they compile, complete, to dot products. What they give: test_emulated.py."""

import struct

import pytest

from localllm.kernels.formats import table
from localllm.kernels.objects import Key
from tests.kernels import emulated
from tests.kernels.test_targets import outermost

pytestmark = pytest.mark.slow

FORMATS = {"neon": ("Q8_0", "IQ2_XXS"), "neoni8mm": ("Q8_0", "Q4_K")}
"""One whose codes have 8 bits, and one whose codes have fewer."""
_SDOT = (0x4E809400, 0xFFE0FC00), (0x4F80E000, 0xFFC0F400)
_USDOT = (0x4E809C00, 0xFFE0FC00), (0x4F80F000, 0xFFC0F400), (0x4F00F000, 0xFFC0F400)
DOTS = {"neon": _SDOT, "neoni8mm": _SDOT + _USDOT}
"""sdot and usdot of 128 bits, by vector and by element, and sudot, which takes unsigned codes from a lane:
bits of the instruction, and which of them count (Arm Architecture Reference Manual, C7.2)."""


def keys(target: str) -> list[Key]:
    modules = [table.FORMATS[name].module for name in FORMATS[target]]
    return [Key(m, f, (module,)) for module in modules for m, f in (("matvec", "rows"), ("matmul", "tiles"))]


@outermost
@pytest.mark.parametrize("target", FORMATS)
def test_whole_kernels_come_out_with_dot_products(target):
    for key, named_object in emulated.compiled(target, keys(target)).items():
        code, entry = emulated.link(named_object)  # which refuses what needs anything from outside
        words = struct.unpack(f"<{len(code) // 4}I", code[: len(code) // 4 * 4])
        found = sum(any(word & mask == bits_ for bits_, mask in DOTS[target]) for word in words)
        assert found >= 16, f"{key}: {found} dot products"
        assert emulated.CODE <= entry < emulated.CODE + len(code)
