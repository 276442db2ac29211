"""The grid that an encoded block allows: which values its elements may take with the scales that it has.

Of formats whose elements are a + b * level, with a and b of the block or of a group within it, and a level that the
element's code picks. This is what error correction needs: scales stay, and codes are chosen anew, one after another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from localllm.kernels.formats import iq4_nl, mxfp4
from localllm.kernels.formats.table import Format

Decode = Callable[[Format, np.ndarray, int], np.ndarray]
"""Encoder.decode."""


@dataclass(frozen=True)
class Field:
    """Where bits of the codes lie: bits `low` to `low` + `bits` of element e's code are in byte `at`[e] of the block,
    from bit `shift`[e] on."""

    low: int
    bits: int
    at: np.ndarray
    shift: np.ndarray


@dataclass(frozen=True)
class Grid:
    """levels: of each code as it is stored. fields: where codes are stored."""

    levels: tuple[int, ...]
    fields: tuple[Field, ...]

    @cached_property
    def _codes(self) -> np.ndarray:
        """Codes in the order of their levels, each level once."""
        first = {level: code for code, level in reversed(list(enumerate(self.levels)))}
        return np.array([first[level] for level in sorted(first)], np.int64)

    @cached_property
    def sorted(self) -> np.ndarray:
        """Levels from the least to the greatest, float32."""
        return np.array([self.levels[code] for code in self._codes], np.float32)

    @cached_property
    def is_even(self) -> bool:
        """Whether levels are one apart."""
        return bool((np.diff(self.sorted) == 1).all())

    @cached_property
    def _places(self) -> np.ndarray:
        """For numbers from the least level to the greatest in steps of 1/2, the place of the nearest level."""
        middles = (self.sorted[1:] + self.sorted[:-1]) / 2
        return np.searchsorted(middles, np.arange(self.sorted[0], self.sorted[-1] + 0.5, 0.5), side="right")

    def nearest(self, x: np.ndarray) -> np.ndarray:
        """The level that is nearest to each element of x, float32."""
        low, high = self.sorted[0], self.sorted[-1]
        found: np.ndarray
        if self.is_even:
            found = np.clip(np.rint(x), low, high)
        else:  # middles between levels are multiples of 1/2
            found = self.sorted[self._places[(2 * (np.clip(x, low, high) - low)).astype(np.int64)]]
        return found

    def lines(self, format: Format, raw: np.ndarray, decode: Decode) -> tuple[np.ndarray, np.ndarray]:
        """a and b of each element of encoded blocks, so that its values are a + b * level: float32 [n, k] each.

        raw: uint8 [n, row_bytes] of rows of one block or several. decode: Encoder.decode.
        """
        k = raw.shape[1] // format.bytes * format.block
        low, high = self.sorted[0], self.sorted[-1]
        ends = [decode(format, self.pack(format, raw, np.full((len(raw), k), level)), k) for level in (low, high)]
        b = (ends[1] - ends[0]) / (high - low)
        return ends[0] - b * low, b

    def pack(self, format: Format, raw: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """Blocks with the scales of `raw` and other codes: uint8 like raw. levels: float32 [n, k]."""
        blocks = raw.reshape(-1, format.bytes).copy()
        halves = (2 * (levels - self.sorted[0])).astype(np.int64)
        codes = self._codes[self._places[halves]].reshape(-1, format.block)
        for field in self.fields:
            part = (codes >> field.low) & ((1 << field.bits) - 1)
            self._put(blocks, field, part)
        return blocks.reshape(raw.shape)

    def _put(self, blocks: np.ndarray, field: Field, part: np.ndarray) -> None:
        """Elements that share a byte have different shifts: one shift after another, each byte once."""
        for shift in np.unique(field.shift):
            mine = np.flatnonzero(field.shift == shift)
            at = field.at[mine]
            keep = np.uint8(255 ^ (((1 << field.bits) - 1) << int(shift)))
            blocks[:, at] = (blocks[:, at] & keep) | (part[:, mine] << int(shift)).astype(np.uint8)


def _spread(n: int, step: int, first: int, per_run: int, low: int, bits: int) -> Field:
    """n elements in runs: element e of a run of `per_run` lies in byte e % step, from bit bits * (e // step) on."""
    e = np.arange(n)
    run, inside = e // per_run, e % per_run
    return Field(low, bits, first + run * step + inside % step, bits * (inside // step))


def _nibbles(n: int, first: int, step: int) -> Field:
    return _spread(n, step, first, 2 * step, 0, 4)


def _even(bits: int, *fields: Field) -> Grid:
    return Grid(tuple(range(1 << bits)), fields)


_SIGNED = tuple(code - 256 * (code > 127) for code in range(256))
_BYTES = Field(0, 8, 2 + np.arange(32), np.zeros(32, np.int64))
_FIFTH_IN_ORDER = np.arange(32)

GRIDS: dict[str, Grid] = {
    "Q4_0": _even(4, _nibbles(32, 2, 16)),
    "Q4_1": _even(4, _nibbles(32, 4, 16)),
    "Q5_0": _even(5, _nibbles(32, 6, 16), Field(4, 1, 2 + _FIFTH_IN_ORDER // 8, _FIFTH_IN_ORDER % 8)),
    "Q5_1": _even(5, _nibbles(32, 8, 16), Field(4, 1, 4 + _FIFTH_IN_ORDER // 8, _FIFTH_IN_ORDER % 8)),
    "Q8_0": Grid(_SIGNED, (_BYTES,)),
    "Q2_K": _even(2, _spread(256, 32, 16, 128, 0, 2)),
    "Q3_K": _even(3, _spread(256, 32, 32, 128, 0, 2), _spread(256, 32, 0, 256, 2, 1)),
    "Q4_K": _even(4, _nibbles(256, 16, 32)),
    "Q5_K": _even(5, _nibbles(256, 48, 32), _spread(256, 32, 16, 256, 4, 1)),
    "Q6_K": _even(6, _nibbles(256, 0, 64), _spread(256, 32, 128, 128, 4, 2)),
    "IQ4_NL": Grid(iq4_nl.VALUES, (_nibbles(32, 2, 16),)),
    "IQ4_XS": Grid(iq4_nl.VALUES, (_nibbles(256, 8, 16),)),
    "MXFP4": Grid(mxfp4.VALUES, (_nibbles(32, 1, 16),)),
    "NVFP4": Grid(mxfp4.VALUES, (_nibbles(64, 4, 8),)),
    "TQ2_0": Grid((0, 1, 2), (_spread(256, 32, 0, 128, 0, 2),)),
    "Q2_0": _even(2, Field(0, 2, 2 + np.arange(64) // 4, 2 * (np.arange(64) % 4))),
    "Q1_0": _even(1, Field(0, 1, 2 + np.arange(128) // 8, np.arange(128) % 8)),
}
"""By the format's name. Bit layouts are those of kernels/formats. Not here: formats whose codes stand for several
elements at once (IQ1 to IQ3, TQ1_0)."""
