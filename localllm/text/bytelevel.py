"""GPT-2's byte alphabet: every byte has a printable character, so that any text is a string without spaces.

From `bytes_to_unicode` of OpenAI's GPT-2 (https://github.com/openai/gpt-2/blob/master/src/encoder.py).
"""

from __future__ import annotations

_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]

BYTE_TO_CHAR: dict[int, str] = {byte: chr(byte) for byte in _PRINTABLE} | {
    byte: chr(256 + i) for i, byte in enumerate(_OTHERS)
}
CHAR_TO_BYTE: dict[str, int] = {char: byte for byte, char in BYTE_TO_CHAR.items()}

_TABLE = [BYTE_TO_CHAR[byte] for byte in range(256)]


def to_alphabet(text: str) -> str:
    """The UTF-8 bytes of `text`, one character each."""
    return text.encode().decode("latin-1").translate(_TABLE)


def to_alphabets(texts: list[str]) -> list[str]:
    """`to_alphabet` of each text, all at once."""
    # no UTF-8 has the byte 0xFF
    joined = b"\xff".join([text.encode() for text in texts])
    return joined.decode("latin-1").translate(_TABLE).split(BYTE_TO_CHAR[0xFF]) if texts else []


def to_bytes(token: str) -> bytes:
    """The bytes that a token stands for.

    Characters outside the alphabet (added tokens have them) stand for themselves.
    """
    try:
        return bytes([CHAR_TO_BYTE[char] for char in token])
    except KeyError:
        return b"".join(
            bytes((CHAR_TO_BYTE[char],)) if char in CHAR_TO_BYTE else char.encode("utf-8", "surrogateescape")
            for char in token
        )
