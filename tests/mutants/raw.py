"""Changes of bytes, wherever they are: what happens to a file on its way, and what a fuzzer writes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.mutants.layout import Written
from tests.mutants.numbers import another_integer

Change = Callable[[Random, Written, Written], bytearray]
"""(random numbers, the file, which may be changed, another seed's) -> its bytes"""
BYTES = (0, 1, 2, 8, 0x20, 0x7F, 0x80, 0xFE, 0xFF)


def header_bytes(rng: Random, file: Written, other: Written) -> bytearray:
    """A few bytes before the data."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(min(file.records[-1], len(file.content)))
        old = file.content[at]
        file.content[at] = rng.choice((old ^ 1 << rng.randrange(8), rng.choice(BYTES), rng.randrange(256)))
    return file.content


def data_bytes(rng: Random, file: Written, other: Written) -> bytearray:
    """Bytes of the data."""
    start, end = file.records[-1], len(file.content)
    for _ in range(rng.choice((1, 2, 8, 64)) if start < end else 0):
        file.content[rng.randrange(start, end)] = rng.randrange(256)
    return file.content


def number(rng: Random, file: Written, other: Written) -> bytearray:
    """A count, a length, a type, a dimension, an offset or a value: another number in its place."""
    place = rng.choice(file.numbers)
    at, width = place.at, place.width
    if at + width <= len(file.content):
        old = int.from_bytes(file.content[at : at + width], "little")
        file.content[at : at + width] = (another_integer(rng, old) % 2 ** (8 * width)).to_bytes(width, "little")
    return file.content


def numbers_swapped(rng: Random, file: Written, other: Written) -> bytearray:
    """Two numbers of one width change places."""
    a = rng.choice(file.numbers)
    b = rng.choice([place for place in file.numbers if place.width == a.width])
    first = file.content[a.at : a.at + a.width]
    file.content[a.at : a.at + a.width] = file.content[b.at : b.at + b.width]
    file.content[b.at : b.at + b.width] = first
    return file.content


def cut(rng: Random, file: Written, other: Written) -> bytearray:
    """The file ends early: anywhere, about a record's boundary, or just before its end."""
    end = len(file.content)
    place = rng.choice(
        (rng.randrange(end), rng.choice(file.records) + rng.choice((-1, 0, 1, 8)), end - rng.randrange(64))
    )
    del file.content[max(0, place) :]
    return file.content


def removed(rng: Random, file: Written, other: Written) -> bytearray:
    """A few bytes, or a record, are missing."""
    at, end = _span(rng, file)
    del file.content[at:end]
    return file.content


def doubled(rng: Random, file: Written, other: Written) -> bytearray:
    """A few bytes, or a record, come twice; or zeros between."""
    at, end = _span(rng, file)
    file.content[end:end] = file.content[at:end] if rng.randrange(2) else bytes(end - at)
    return file.content


def _span(rng: Random, file: Written) -> tuple[int, int]:
    if rng.randrange(2):
        i = rng.randrange(len(file.records) - 1)
        return file.records[i], file.records[i + 1]
    at = rng.randrange(file.records[-1])
    return at, at + rng.choice((1, 2, 4, 8, 32, 64))


def joined(rng: Random, file: Written, other: Written) -> bytearray:
    """The beginning of one file and the rest of another: at boundaries of records, mostly."""
    if rng.randrange(4):
        head, tail = rng.choice(file.records), rng.choice(other.records)
    else:
        head = tail = rng.randrange(min(len(file.content), len(other.content)))
    return file.content[:head] + other.content[tail:]


def longer(rng: Random, file: Written, other: Written) -> bytearray:
    """Something follows the file's end."""
    return file.content + rng.choice((bytes(1), bytes(4096), other.content))


CHANGES: tuple[tuple[Change, int], ...] = (
    (header_bytes, 8), (data_bytes, 6), (number, 10), (numbers_swapped, 2), (cut, 2), (removed, 1), (doubled, 1),
    (joined, 1), (longer, 1),
)  # fmt: skip
"""With how often each is taken."""
