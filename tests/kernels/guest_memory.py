"""The memory of an emulated x86 computer, as a file: pages at any addresses, and the tables that say where they lie."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

PAGE = 4096
Content = Iterable[bytes | bytearray]
_PRESENT_AND_WRITABLE = 3
_COPIES = 1 << 41
"""Addresses from here on are those of copies. Linux gives a process no addresses near it."""
_CHUNK = 1 << 24


@dataclass(frozen=True)
class Watched:
    """n bytes at an address, at `offset` of the file, and at the address `copy`, too."""

    address: int
    copy: int
    n: int
    offset: int


class GuestMemory:
    """Writes what lies from the physical address `start` on; `file` is empty. Addresses begin pages."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._file, self._start = file, start
        self._pages: list[np.ndarray] = []
        self._places: list[np.ndarray] = []
        """Numbers of pages, by the addresses that programs use, and by those of physical memory."""
        self.watched: list[Watched] = []

    @property
    def end(self) -> int:
        """The physical address behind all that has been placed."""
        return self._start + self._file.tell()

    def place(self, address: int, content: Content) -> int:
        """Content that programs find at an address. Where it lies in the file."""
        offset = self._file.tell()
        for chunk in content:
            self._file.write(chunk)
        self._file.write(bytes(-self._file.tell() % PAGE))
        self.show(address, self._start + offset, self._file.tell() - offset)
        return offset

    def show(self, address: int, place: int, n: int) -> None:
        """Let programs find n bytes of physical memory at an address."""
        numbers = np.arange(-(-n // PAGE), dtype=np.uint64)
        self._pages.append(numbers + np.uint64(address // PAGE))
        self._places.append(numbers + np.uint64(place // PAGE))

    def watch(self, address: int, content: Content) -> None:
        """Content that may change, of which there will be a copy. The last to be placed, in the order of addresses."""
        offset, copy = self.place(address, content), _COPIES
        if self.watched:
            last = self.watched[-1]
            copy = last.copy + last.n
            if address < last.address:
                raise ValueError("regions are not in the order of their addresses")
        self.watched.append(Watched(address, copy, self._file.tell() - offset, offset))

    def before(self, address: int, n: int) -> bytes:
        """What has been placed at an address that is watched. What follows it there follows it in the file."""
        watched = self.watched[bisect_right([w.address for w in self.watched], address) - 1]
        return self._read(watched.offset + address - watched.address, n)

    def finish(self) -> int:
        """Append the copies and the page tables, of four levels; the physical address of the first. Raises ValueError
        for an address that was given away twice. Source: Intel's manual for system programmers, "4-level paging"."""
        self._file.flush()
        for watched in self.watched:
            self.place(watched.copy, self._again(watched))
        pages, entries = np.concatenate(self._pages), np.concatenate(self._places) * PAGE | _PRESENT_AND_WRITABLE
        if len(np.unique(pages)) < len(pages):
            raise ValueError("two regions of the guest's memory have pages in common")
        root = 0
        for _ in range(4):
            upper, table_of = np.unique(pages >> 9, return_inverse=True)
            tables = np.zeros((len(upper), 512), "<u8")
            tables[table_of, pages & 511] = entries
            root = self.end
            pages, entries = upper, np.arange(len(upper), dtype=np.uint64) * PAGE + root | _PRESENT_AND_WRITABLE
            self._file.write(tables.tobytes())
        return root

    def begin_with(self, content: bytes) -> None:
        """Put content in the place of what the file begins with."""
        self._file.seek(0)
        self._file.write(content)
        self._file.seek(0, os.SEEK_END)
        self._file.flush()

    def _again(self, watched: Watched) -> Iterator[bytes]:
        for at in range(0, watched.n, _CHUNK):
            yield self._read(watched.offset + at, min(_CHUNK, watched.n - at))

    def _read(self, offset: int, n: int) -> bytes:
        return os.pread(self._file.fileno(), n, offset)
