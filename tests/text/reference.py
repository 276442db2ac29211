"""Slow, obvious twins of the tokenizers: look at every pair, merge the best, begin again."""

from __future__ import annotations

from itertools import pairwise


def merge_by_rank(symbols: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """Byte-pair encoding of one word: the lowest rank first, of equals the leftmost."""
    symbols = list(symbols)
    while True:
        found = [(ranks[pair], i) for i, pair in enumerate(pairwise(symbols)) if pair in ranks]
        if not found:
            return symbols
        _, i = min(found)
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]


def merge_by_score(text: str, ids: dict[str, int], scores: list[float]) -> list[int]:
    """llama.cpp's SentencePiece: neighbours that make a token are merged, the highest score first, then leftmost.

    What is left and is no token becomes bytes, <0x00> to <0xFF>; -1 where there are none.
    """
    symbols = list(text.replace(" ", "▁"))
    while True:
        joined = [left + right for left, right in pairwise(symbols)]
        found = [(-scores[ids[token]], i) for i, token in enumerate(joined) if token in ids]
        if not found:
            break
        _, i = min(found)
        symbols[i : i + 2] = [joined[i]]
    out: list[int] = []
    for symbol in symbols:
        if symbol in ids:
            out.append(ids[symbol])
        else:
            out += [ids.get(f"<0x{byte:02X}>", -1) for byte in symbol.encode()]
    return out
