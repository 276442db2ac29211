"""SentencePiece's own `.model` files, read as the metadata that a GGUF file of the same tokenizer has.

The format is a protocol buffer, ModelProto of sentencepiece_model.proto (https://github.com/google/sentencepiece): read
by hand, since the package's reader of it would need protobuf. Every length is checked against what is left.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from localllm.errors import FileError
from localllm.gate import files
from localllm.gate import vocabulary as gate

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_KINDS = {1: "t5", 2: "llama"}
"""TrainerSpec.model_type -> tokenizer.ggml.model: unigram, BPE."""
_SPECIAL = {40: "unknown_token_id", 41: "bos_token_id", 42: "eos_token_id", 43: "padding_token_id"}
_SPECIAL_DEFAULTS = {"unknown_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "padding_token_id": -1}


def read_model(path: str) -> dict[str, object]:
    """Metadata under GGUF's keys. Raises FileError or TokenizerError."""
    try:
        status = Path(path).stat()
        files.regular(path, status.st_mode)
        gate.model_bytes(path, status.st_size)
        data = Path(path).read_bytes()
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None
    return gate.sentencepiece_model(path, lambda: _metadata(data))


def _metadata(data: bytes) -> dict[str, object]:
    tokens: list[str] = []
    scores: list[float] = []
    types: list[int] = []
    trainer, normalizer = b"", b""
    for number, value in _fields(data):
        if number == 1:
            token, score, kind = _piece(_expect(value))
            tokens.append(token)
            scores.append(score)
            types.append(kind)
        elif number == 2:
            trainer = _expect(value)
        elif number == 3:
            normalizer = _expect(value)
    if not tokens:
        raise ValueError("it holds no pieces")
    settings, rules = dict(_fields(trainer)), dict(_fields(normalizer))
    model_type = _signed(settings.get(3, 1))
    if model_type not in _KINDS:
        raise ValueError(f"model type {model_type} is not supported (1, unigram, and 2, BPE, are)")
    special = {name: _signed(settings.get(field, _SPECIAL_DEFAULTS[name])) for field, name in _SPECIAL.items()}
    prefix = "tokenizer.ggml."
    return {
        f"{prefix}model": _KINDS[model_type],
        f"{prefix}tokens": tokens,
        f"{prefix}scores": scores,
        f"{prefix}token_type": types,
        f"{prefix}add_space_prefix": bool(rules.get(3, 1)),
        f"{prefix}remove_extra_whitespaces": bool(rules.get(4, 1)),
        f"{prefix}precompiled_charsmap": list(_expect(rules.get(2, b""))),
        **{f"{prefix}{name}": value for name, value in special.items() if 0 <= value < len(tokens)},
    }


def _piece(data: bytes) -> tuple[str, float, int]:
    """SentencePiece: text, score and type, whose numbers are those of GGUF's token types."""
    fields = dict(_fields(data))
    (score,) = struct.unpack("<f", _expect(fields.get(2, bytes(4))))
    return _expect(fields.get(1, b"")).decode("utf-8"), score, _signed(fields.get(3, 1))


def _expect(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a field has the wrong type")
    return value


def _signed(value: int | bytes) -> int:
    """Negative int32 are written as 64 bits."""
    number = int.from_bytes(value, "little") if isinstance(value, bytes) else value
    return number - (1 << 64) if number >> 63 else number


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a message: int for varints, bytes for the others."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == _VARINT:
            number, at = _varint(data, at)
            yield tag >> 3, number
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if length > len(data) - at:
            raise ValueError(f"a field of {length} bytes at byte {at}, {len(data) - at} are left")
        yield tag >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it ends inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number of more than 10 bytes before byte {at}")
