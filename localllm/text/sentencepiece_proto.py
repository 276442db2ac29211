"""The `sentencepiece` package for a vocabulary of the `llama` model, fed a ModelProto that is written here by hand.

sentencepiece_model.proto, wire format only: the generated module would need protobuf. Every token may come out of
merges there, whatever its type, as in llama.cpp; special tokens are cut out of texts before.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from localllm.gate import vocabulary as gate
from localllm.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

BYTE_NAMES = [f"<0x{byte:02X}>" for byte in range(256)]

# ModelProto: pieces = 1, trainer_spec = 2, normalizer_spec = 3. SentencePiece: piece = 1, score = 2 (float), type = 3
_PIECES, _TRAINER, _NORMALIZER = b"\x0a", b"\x12", b"\x1a"
_TYPE_UNKNOWN, _TYPE_BYTE = b"\x18\x02", b"\x18\x06"
_BPE = b"\x18\x02"  # TrainerSpec.model_type (3) = BPE (2)
_BYTE_FALLBACK = b"\x98\x02\x01"  # TrainerSpec.byte_fallback (35) = true
# NormalizerSpec: name (1) = "identity", add_dummy_prefix (3) = false, remove_extra_whitespaces (4) = false,
# escape_whitespaces (5) = true
_IDENTITY = b"\x0a\x08identity\x18\x00\x20\x00\x28\x01"


def processor(vocab: Vocabulary, scores: list[float]) -> SentencePieceProcessor:
    """Encodes by `EncodeAsIds`; what no token covers is vocab.n_vocab."""
    from sentencepiece import SentencePieceProcessor

    made = SentencePieceProcessor()
    proto, told = model_proto(vocab, scores), "cannot be loaded by sentencepiece: "
    gate.readable(vocab.place("tokens"), lambda: made.LoadFromSerializedProto(proto), told)
    return made


def model_proto(vocab: Vocabulary, scores: list[float]) -> bytes:
    """A serialized ModelProto with the tokens of `vocab`, and one more at the end that stands for what is unknown.

    That piece is needed because sentencepiece wants exactly one of the type UNKNOWN, and never matches it in a text, as
    llama.cpp does with the file's own.
    """
    texts = [token.encode("utf-8", "surrogateescape") for token in vocab.tokens]
    packed = struct.pack(f"<{vocab.n_vocab}f", *scores[: vocab.n_vocab])
    heads = [_head(length) for length in range(128 + 1)]
    parts: list[bytes] = []
    for i, text in enumerate(texts):
        parts += (heads[len(text)] if len(text) <= 128 else _head(len(text)), text, b"\x15", packed[4 * i : 4 * i + 4])
    trainer = _BPE
    byte_ids = [vocab.ids[name] for name in BYTE_NAMES if name in vocab.ids]
    if len(byte_ids) == len(BYTE_NAMES):
        for byte_id in byte_ids:
            parts[4 * byte_id : 4 * byte_id + 1] = [_head(6, len(_TYPE_BYTE))]
            parts[4 * byte_id + 3] += _TYPE_BYTE
        trainer += _BYTE_FALLBACK
    unknown = _unused_name(vocab).encode()
    parts += (_head(len(unknown), len(_TYPE_UNKNOWN)), unknown, b"\x15\x00\x00\x00\x00", _TYPE_UNKNOWN)
    parts += (_TRAINER, _varint(len(trainer)), trainer, _NORMALIZER, _varint(len(_IDENTITY)), _IDENTITY)
    return b"".join(parts)


def _head(n_text: int, n_type: int = 0) -> bytes:
    """What stands before a piece's text: field, length of the piece, field, length of the text (a score follows,
    perhaps a type).
    """
    length = _varint(n_text)
    return _PIECES + _varint(1 + len(length) + n_text + 5 + n_type) + b"\x0a" + length


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _unused_name(vocab: Vocabulary) -> str:
    name = "<unknown>"
    while name in vocab.ids:
        name += ">"
    return name
