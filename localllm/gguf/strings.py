"""Arrays of strings in GGUF metadata, each a u64 length and its bytes: found and decoded many at a time.

A vocabulary and its merges are 300,000 strings. The length of a string shorter than 256 bytes is a byte with seven
zeros behind it: NumPy finds all places that look so, and they are heads of strings as far as each lies where the one
before it ends. What is left is walked over one by one.
"""

from __future__ import annotations

import struct
from array import array
from mmap import mmap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LENGTH = struct.Struct("<Q")
_SHORT = 256
"""A length that takes more than a byte."""
_MANY = 4096
"""Strings from which it pays to import NumPy, where nobody else has."""
_WINDOW, _WIDEST = 1 << 12, 1 << 20
"""Bytes that are looked at together, at first and at most."""
_FEW, _STEPS = 64, 512
"""Where fewer than _FEW came together, _STEPS are walked over one by one: what is looked at in vain stays little."""


def walk(data: mmap | bytes, start: int, end: int, count: int) -> tuple[array[int], int]:
    """Where strings begin, from `start` on, as offsets from there; and where the next one would begin.

    They are `count`, or fewer where the length of the next does not lie before `end`. The last may reach past it.
    """
    heads, pos, window = array("q"), start, _WINDOW
    while len(heads) < count and pos + _LENGTH.size <= end:
        found, whole = 0, False
        if count >= _MANY:
            block = data[pos : min(pos + window, end)]
            at, after = _together(block)
            found, whole = min(len(at), count - len(heads)), after + _LENGTH.size + _SHORT > len(block)
            if found < len(at):
                after = int(at[found])
            heads.frombytes((at[:found] + (pos - start)).tobytes())
            pos += after
            window = min(4 * window, _WIDEST) if whole else _WINDOW
        steps = _STEPS if found < _FEW else int(not whole)
        for _ in range(min(steps, count - len(heads))):
            if pos + _LENGTH.size > end:
                break
            heads.append(pos - start)
            pos += _LENGTH.size + _LENGTH.unpack_from(data, pos)[0]
    return heads, pos


def _together(block: bytes) -> tuple[NDArray[np.int64], int]:
    """Heads of short strings that follow one another from the first byte on, and where the last of them ends."""
    import numpy as np

    zeros = np.frombuffer(block, np.uint8) == 0
    zeros = zeros[:-1] & zeros[1:]
    zeros = zeros[:-2] & zeros[2:]
    heads = np.flatnonzero(zeros[1:-3] & zeros[4:])  # seven behind each
    if not len(heads) or heads[0] != 0:
        return heads[:0], 0
    ends = heads + np.frombuffer(block, np.uint8)[heads] + _LENGTH.size
    breaks = np.flatnonzero(heads[1:] != ends[:-1])
    n = int(breaks[0]) + 1 if len(breaks) else len(heads)
    return heads[:n], int(ends[n - 1])


def decode(block: bytes, heads: array[int]) -> list[str] | None:
    """The strings of `block`, which begins with the first and ends with the last; None where one is not UTF-8."""
    if len(heads) >= _MANY and (texts := _decode_together(block, heads)) is not None:
        return texts
    try:
        return [text.decode() for text in pieces(block, heads)]
    except UnicodeDecodeError:
        return None


def pieces(block: bytes, heads: array[int]) -> list[bytes]:
    """The bytes of each string."""
    ends = [*heads, len(block)][1:]
    return [block[head + _LENGTH.size : end] for head, end in zip(heads, ends, strict=True)]


def _decode_together(block: bytes, heads: array[int]) -> list[str] | None:
    """None where one is not UTF-8, or no control character is left to stand between them."""
    import numpy as np

    content, at = np.frombuffer(block, np.uint8).copy(), np.frombuffer(heads, np.int64)
    is_text = np.ones(len(content), bool)
    for i in range(_LENGTH.size):
        is_text[at + i] = False
    text = content[is_text]
    between = next((c for c in range(ord(" ")) if not (text == c).any()), None)
    if between is None:
        return None
    content[at], is_text[at] = between, True
    try:
        return content[is_text].tobytes().decode().split(chr(between))[1:]
    except UnicodeDecodeError:
        return None
