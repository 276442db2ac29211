"""Strings that are found and decoded many at a time, against one by one."""

import random
import struct

import pytest

from localllm.gguf import strings


def block_of(texts: list[bytes]) -> bytes:
    return b"".join(struct.pack("<Q", len(text)) + text for text in texts)


def slow(data: bytes, start: int, end: int, count: int) -> tuple[list[int], int]:
    heads: list[int] = []
    pos = start
    while len(heads) < count and pos + 8 <= end:
        heads.append(pos - start)
        pos += 8 + struct.unpack_from("<Q", data, pos)[0]
    return heads, pos


def walked(data: bytes, start: int, end: int, count: int) -> tuple[list[int], int]:
    heads, pos = strings.walk(data, start, end, count)
    return list(heads), pos


KINDS = {
    "words": lambda rng: rng.choice("aä€😀").encode() * rng.randrange(1, 9),
    "empty": lambda rng: b"" if rng.random() < 0.01 else b"word",
    "all empty": lambda rng: b"",
    "zeros": lambda rng: b"\0" * rng.randrange(12),
    "zeros within": lambda rng: b"a" + b"\0" * rng.randrange(12) + b"b" * rng.randrange(2),
    "like heads": lambda rng: struct.pack("<Q", rng.randrange(128)) * rng.randrange(4),
    "long": lambda rng: b"x" * rng.choice((1, 7, 254, 255, 256, 257, 511)),
    "very long": lambda rng: b"y" * (70_000 if rng.random() < 0.002 else 3),
    "every 64th is long": lambda rng: b"z" * (300 if rng.randrange(65) == 0 else 0),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 100, strings._MANY, 20_000])
def test_walks_and_decodes_as_one_by_one(kind, count):
    rng = random.Random(count)
    texts = [KINDS[kind](rng) for _ in range(count)]
    block = block_of(texts)
    data = b"before" + block + struct.pack("<Q", 5) + b"after"
    heads, pos = strings.walk(data, 6, len(data), count)
    assert (list(heads), pos) == slow(data, 6, len(data), count)
    assert strings.pieces(block, heads) == texts
    assert strings.decode(block, heads) == [text.decode() for text in texts]


@pytest.mark.parametrize("kind", KINDS)
def test_stops_where_the_file_ends(kind):
    rng = random.Random(7)
    block = block_of([KINDS[kind](rng) for _ in range(5000)])
    ends = [0, 1, 7, 8, 9, len(block) - 1, len(block), *(rng.randrange(len(block) + 1) for _ in range(60))]
    for end in ends:
        assert walked(block, 0, end, 6000) == slow(block, 0, end, 6000), end
        assert walked(block[:end], 0, end, 6000) == slow(block, 0, end, 6000), end


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**32, 1 << 20])
def test_a_length_that_leaves_the_file(length):
    data = block_of([b"word"] * 5000) + struct.pack("<Q", length) + b"word" * 100
    heads, pos = walked(data, 0, len(data), 9000)
    assert len(heads) == 5001
    assert pos == 12 * 5000 + 8 + length


def test_what_is_not_utf8_is_none():
    for wrong in (b"\xff", "ä".encode()[:1], "😀".encode()[:3], b"\xed\xa0\x80"):
        texts = [b"word"] * 2500 + [wrong] + ["ä".encode()[1:]] + [b"word"] * 2500
        block = block_of(texts)
        heads, _ = strings.walk(block, 0, len(block), len(texts))
        assert strings.decode(block, heads) is None
        assert strings.pieces(block, heads) == texts


def test_every_control_character_is_in_a_token():
    texts = [bytes([i % 128]) * 2 for i in range(5000)]
    block = block_of(texts)
    heads, _ = strings.walk(block, 0, len(block), len(texts))
    assert strings._decode_together(block, heads) is None
    assert strings.decode(block, heads) == [text.decode() for text in texts]


def test_little_is_looked_at_in_vain(monkeypatch):
    """64 short strings, then a long one: what is looked at together ends there, again and again."""
    seen = []
    together = strings._together

    def counted(block):
        seen.append(len(block))
        return together(block)

    monkeypatch.setattr(strings, "_together", counted)
    block = block_of(([b""] * 3 + [b"a"] * 61 + [b"b" * 256]) * 400)
    heads, _ = strings.walk(block, 0, len(block), 65 * 400)
    assert len(heads) == 65 * 400
    assert sum(seen) < 8 * len(block)
