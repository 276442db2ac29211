"""SentencePiece's precompiled character map: which sequences of characters a normaliser replaces, and by what.

The map is a 32-bit length, a double-array trie of that many bytes, and the replacements, each ended by a NUL. A unit of
the trie holds, from bit 0: label (8 bits), whether a value follows (bit 8), whether the offset is shifted by 8 more
(bit 9), offset (from bit 10); a unit with bit 31 is a value, the place of a replacement. Read here as a whole, so that
a hostile trie cannot lead anyone out of it. From llama.cpp's `xcda_array_view` (src/llama-vocab.cpp) and
https://github.com/s-yata/darts-clone.
"""

from __future__ import annotations

import re
import struct

_VALUE = 1 << 31
_MAX_DEPTH = 64
_MAX_NODES = 1 << 19
"""That are walked over: branches of a trie may share their ends, and double at each."""
_MAX_TEXT = 1 << 22
"""Bytes of all replacements, which may share theirs, too."""


class CharsMap:
    """Replaces the longest key at each place of a text, from left to right. ValueError for a map that is not one."""

    def __init__(self, data: bytes) -> None:
        keys = read_keys(data)
        self._single = str.maketrans({key: text for key, text in keys.items() if len(key) == 1})
        self._several = {key: text for key, text in keys.items() if len(key) > 1}
        self._lengths: dict[str, list[int]] = {}
        for key in sorted(self._several, key=len, reverse=True):
            lengths = self._lengths.setdefault(key[0], [])
            if len(key) not in lengths:
                lengths.append(len(key))
        seconds = "".join(map(re.escape, {key[1] for key in self._several}))
        self._second = re.compile(f"[{seconds}]") if seconds else None

    def apply(self, text: str) -> str:
        """The text with every replacement made."""
        if self._second is None:
            return text.translate(self._single)
        out: list[str] = []
        done = 0
        for match in self._second.finditer(text):
            start = match.start() - 1
            if start < done:
                continue
            for length in self._lengths.get(text[start], ()):
                found = self._several.get(text[start : start + length])
                if found is not None and start + length <= len(text):
                    out += (text[done:start].translate(self._single), found)
                    done = start + length
                    break
        out.append(text[done:].translate(self._single))
        return "".join(out)


def read_keys(data: bytes) -> dict[str, str]:
    """Key -> replacement, of every key in the trie that is UTF-8 text."""
    if len(data) < 4:
        raise ValueError("is too short to be a character map")
    (n_trie,) = struct.unpack_from("<I", data)
    if n_trie % 4 or 4 + n_trie >= len(data):
        raise ValueError(f"has {len(data)} bytes, and says that {n_trie} of them are its trie")
    units = struct.unpack_from(f"<{n_trie // 4}I", data, 4)
    texts = data[4 + n_trie :]
    keys, n_bytes = {}, 0
    for key, place in _walk(units):
        end = texts.find(b"\0", place)
        if end < 0:
            raise ValueError(f"names a replacement at byte {place} of {len(texts)}")
        n_bytes += end - place
        if n_bytes > _MAX_TEXT:
            raise ValueError(f"has replacements of more than {_MAX_TEXT} bytes in all")
        try:
            keys[key.decode()] = texts[place:end].decode("utf-8", "surrogateescape")
        except UnicodeDecodeError:
            continue  # no text can hold such a key
    return keys


def _walk(units: tuple[int, ...]) -> list[tuple[bytes, int]]:
    """(key, value) of every key."""
    by_label = _Labels(units)
    found: list[tuple[bytes, int]] = []
    n_nodes = 0
    todo: list[tuple[int, bytes]] = [(_offset(units[0]) if units else 0, b"")]
    while todo:
        node, key = todo.pop()
        n_nodes += 1
        if len(key) > _MAX_DEPTH or n_nodes > _MAX_NODES:
            raise ValueError("has a trie without end")
        for place in by_label.children(node):
            unit = units[place]
            child, base = key + bytes((unit & 0xFF,)), place ^ _offset(unit)
            if unit >> 8 & 1:
                if base >= len(units):
                    raise ValueError(f"has a trie that leads to unit {base} of {len(units)}")
                found.append((child, units[base] & ~_VALUE))
            todo.append((base, child))
    return found


class _Labels:
    """Finds the children of a node: in the block of 256 units of the node, those whose label leads back to it."""

    def __init__(self, units: tuple[int, ...]) -> None:
        self._by_node: dict[int, list[int]] = {}
        for place, unit in enumerate(units):
            if not unit & _VALUE and (label := unit & 0xFF):
                self._by_node.setdefault(place ^ label, []).append(place)

    def children(self, node: int) -> list[int]:
        return self._by_node.get(node, [])


def _offset(unit: int) -> int:
    return unit >> 10 << ((unit & 1 << 9) >> 6)
