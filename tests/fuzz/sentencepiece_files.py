"""SentencePiece's own model files: read as metadata, of which a tokenizer is made that encodes."""

from __future__ import annotations

import random
from collections.abc import Iterator

from localllm.text.sentencepiece_file import read_model
from localllm.text.tokenizer import load_tokenizer
from tests.fuzz.mutators import STRINGS, of_bytes
from tests.fuzz.target import Finding, Target, written


def _varint(number: int) -> bytes:
    out = bytearray()
    while True:
        out.append(number & 0x7F | (0x80 if number > 0x7F else 0))
        number >>= 7
        if not number:
            return bytes(out)


def _field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content % 2**64)
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _piece(text: str, score: bytes, kind: int) -> bytes:
    return _field(1, _field(1, text.encode()) + b"\x15" + score + _field(3, kind))


def seeds() -> Iterator[bytes]:
    special = _piece("<unk>", bytes(4), 2) + _piece("<s>", bytes(4), 3) + _piece("</s>", bytes(4), 3)
    plain = b"".join(_piece(text, b"\0\0\x80\xbf", 1) for text in ("▁the", "▁", "t", "h", "e", "th", "é"))
    bytes_ = b"".join(_piece(f"<0x{byte:02X}>", bytes(4), 6) for byte in range(256))
    for model_type in (1, 2):
        trainer = _field(3, model_type) + _field(40, 0) + _field(41, 1) + _field(42, 2) + _field(43, -1)
        rules = _field(1, b"nmt_nfkc") + _field(3, 1) + _field(4, 0)
        yield special + plain + _field(2, trainer) + _field(3, rules)
        yield special + bytes_ + plain + _field(2, trainer) + _field(3, rules)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Bytes, or one of the fields at the top: taken out, doubled, or with other content and a length that fits."""
    fields = _fields(data)
    if not fields or rng.random() < 0.3:
        return of_bytes(data, rng)
    at = rng.randrange(len(fields))
    number, content = fields[at]
    match rng.randrange(5):
        case 0:
            del fields[at]
        case 1:
            fields.insert(at, fields[at])
        case 2:
            fields[at] = number, of_bytes(content, rng)
        case 3:
            fields.insert(at, (1, _field(1, rng.choice(STRINGS).encode()) + _field(3, rng.randrange(8))))
        case _:
            extra = _field(rng.choice((1, 2, 3, 4, 40, 41, 42, 43)), rng.choice((0, 1, 2, 255, -1, 2**31)))
            fields[at] = number, content + extra
    return b"".join(_field(number, content) for number, content in fields)


def _fields(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at + 2 < len(data):
        number, size, start = data[at] >> 3, data[at + 1], at + 2
        if size & 0x80:
            size, start = size & 0x7F | data[at + 2] << 7, at + 3
        if data[at] & 7 != 2 or start + size > len(data):
            break
        found.append((number, data[start : start + size]))
        at = start + size
    return found


def run(data: bytes) -> None:
    path = str(written(data, "tokenizer.model"))
    meta = read_model(path)
    if repr(read_model(path)) != repr(meta):
        raise Finding("a second reading differs")
    tokenizer = load_tokenizer(meta)
    if tokenizer is None:
        raise Finding("a SentencePiece model without a vocabulary")
    ids = tokenizer.encode("the thé  <s> x", add_special=True, parse_special=True)
    tokenizer.decode(ids, special=True)


TARGET = Target(seeds, run, mutate)
