"""A vocabulary small enough to read, for what DRY looks for in it."""

from __future__ import annotations

from typing import Any


def metadata(pieces: list[str]) -> dict[str, Any]:
    """A file's keys of a SentencePiece vocabulary: three special tokens, the 256 bytes, then `pieces`, longer ones
    likelier."""
    n = len(pieces)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *pieces],
        "tokenizer.ggml.scores": [0.0] * 259 + [float(len(piece)) for piece in pieces],
        "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, *[1] * n],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
    }
