"""Tensor formats: `table` lists them; one file each holds the bit layout and how it is unpacked.

A format's file says its KIND, by which matvec, matmul and embed choose how to use it:

* "float": `values(address)` gives 16 elements as f32x16, `value(address)` one; SIZE bytes an element;
* "block32": blocks of 32 elements with a float scale; `codes(a, b)` gives the elements of two blocks;
* "super": super-blocks of 256 elements with integer scales of GROUP elements; `codes(p, run)` gives 64 elements.

Codes are unsigned bytes in the order of the elements; U7 says that none exceeds 127. An element is
scale * (code - OFFSET), plus ("block32") or minus ("super") a minimum where HAS_MIN.
"""

from importlib import import_module
from types import ModuleType


def module(name: str) -> ModuleType:
    """The file of a format, by the name in its row of the table."""
    return import_module(f"{__name__}.{name}")
