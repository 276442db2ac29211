"""Tensor formats: `table` lists them; one file each holds the bit layout and how it is unpacked.

A format's file says its KIND, by which matvec, matmul and embed choose how to use it:

* "float": `values(address)` gives 16 elements as f32x16, `value(address)` one; SIZE bytes an element;
* "block32": blocks of 32 elements with a float scale; `codes(a, b)` gives the elements of two blocks, `scale(p)` and
  `minimum(p)` numbers of the block at p, f32 (without HAS_MIN the latter is not used, but must be there). Where a block
  has PER times 32 elements, `codes(a, i, b, j)` gives part i of one and part j of another; where 32 elements have
  SCALES = 2 scales, `scale(p, part, group)` gives one, and matvec_sixteens says what else it takes;
* "super": super-blocks of 256 elements with integer scales of GROUP elements; `codes(p, run)` gives 64 elements.
  WIDE = 1 where four products of a code with an int8 can pass 2**15.

A format may also give its codes as the matrix-vector product likes them: `quarters(p)` (matvec_k), or, of nibbles in
blocks of 32 that begin with binary16 numbers, `halves(qs, heads)` and QS (matvec_nibbles): qs holds the nibbles of
four blocks, one in each 128 bits; elements 0-15 and 16-31 of each block are returned in these quarters. It makes such a
format three times as fast; nibbles in another order are brought into this one by a shuffle. Of other blocks of 16
bytes behind a binary16, `field(qs, n)` gives the codes in every byte's field n (matvec_fields); of digits in base 3,
`five_digits` and `two_digits` give them one after another (matvec_digits). Elements of a grid come as `entries`, with
`signs` or `offsets`, and `put_numbers` (matvec_grids).

Codes are unsigned bytes in the order of the elements, MAX_CODE the greatest possible one. An element is
scale * (code - OFFSET), plus ("block32") or minus ("super") a minimum where HAS_MIN. Products see them as
`for_products` gives them.
"""

from importlib import import_module
from types import ModuleType
from typing import Any

from ..simd.targets import current


def module(name: str) -> ModuleType:
    """The file of a format, by the name in its row of the table."""
    return import_module(f"{__name__}.{name}")


SIGNED = -1
"""MAX_CODE of codes that are signed bytes, whose OFFSET is 0."""


def for_products(name: str) -> Any:
    """The file of a format, as products on this target want it: codes that can pass 127 less their offset, as signed
    bytes, where those are multiplied faster; and those of super-blocks where the sums that products would begin with
    leave too few registers."""
    format_, target = module(name), current()
    is_wide = format_.KIND != "float" and format_.MAX_CODE > 127
    is_super = format_.KIND == "super" and format_.OFFSET > 0
    return signed(format_) if (is_wide and target.signed_bytes) or (is_super and target.signed_supers) else format_


def signed(format_: Any) -> Any:
    """A format whose codes are signed bytes where they have an offset: they are less it."""
    return _Signed(format_) if format_.OFFSET else format_


class _Signed:
    """A format whose codes are signed bytes: its file, but for these."""

    MAX_CODE, OFFSET = SIGNED, 0

    def __init__(self, format_: Any) -> None:
        self._format = format_
        unsigned, halves_, offset = format_.codes, optional(format_, "halves"), format_.OFFSET

        def codes(a, b):
            return unsigned(a, b) - offset

        def codes_of_parts(a, i, b, j):
            return unsigned(a, i, b, j) - offset

        def halves(qs, heads):
            first, last = halves_(qs, heads)
            return first - offset, last - offset

        self.codes = codes if optional(format_, "PER") == 1 else codes_of_parts
        self.halves = halves_ and halves

    def __getattr__(self, name: str) -> Any:
        return getattr(self._format, name)


OPTIONAL: dict[str, Any] = {
    "PER": 1, "SCALES": 1, "SCALE_AT": None, "MINIMUM_AT": None, "WIDE": 0,
    "quarters": None, "halves": None, "factors": None, "field": None, "five_digits": None,
    "entries": None, "signs": None, "offsets": None, "put_numbers": None,
}  # fmt: skip
"""Names that a format's file may leave out, and what then holds."""


def optional(fmt: Any, name: str) -> Any:
    """An optional part of a format."""
    return getattr(fmt, name, OPTIONAL[name])


def in_32s(fmt: Any) -> tuple[Any, Any]:
    """codes(w, i, j): elements of the 32s number i and j from w on; block(w, i): address of the block that holds one.

    For a format of KIND "block32"; w is the start of a block.
    """
    codes, size, per = fmt.codes, fmt.BYTES, optional(fmt, "PER")
    if per == 1:

        def pair(w, i, j):
            return codes(w + i * size, w + j * size)

        def block(w, i):
            return w + i * size

    else:
        shift, mask = per.bit_length() - 1, per - 1

        def pair(w, i, j):
            return codes(w + (i >> shift) * size, i & mask, w + (j >> shift) * size, j & mask)

        def block(w, i):
            return w + (i >> shift) * size

    return pair, block
