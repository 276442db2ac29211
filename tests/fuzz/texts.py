"""Texts through every pre-tokenizer and every kind of tokenizer: a byte that chooses one, then the text.

What is encoded decodes to the same text where that is promised; ids do not depend on what was encoded before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from localllm.text.pretokenizers import PRETOKENIZERS
from localllm.text.tokenizer import Tokenizer
from tests.fuzz.mutators import of_text
from tests.fuzz.target import Finding, Target
from tests.fuzz.vocabularies import vocabularies
from tests.text.build import SAMPLE, byte_level, tokenizer_of

_PRES = sorted(name for name, pre in PRETOKENIZERS.items() if not pre.characters)
_WORDS = (
    *SAMPLE.split(" "), *("'s", "'LL", "\r\n", "\n\n\n", "   ", "\u3000", "\u00a0", "\u0301", "\u200d", "\ufeff"),
    *("１２３", "٣٤", "Ⅷ", "ﷺ", "กำ", "한국", "ひらカタ", "漢字", "Ǆ", "ß", "\U0001f1e9", "\u2028"),
    *("<|end|>", "<user>", "\x85", "\x1c", "\0", "//", "\\", "...", "!?", "€", "aB", "ABc", "1234567"),
)  # fmt: skip


@cache
def _tokenizers() -> tuple[tuple[str, Tokenizer], ...]:
    pres = [(f"gpt2 {pre}", tokenizer_of(byte_level(40, pre=pre))) for pre in _PRES]
    return (*pres, *(_named(data) for data in vocabularies()))


def _named(data: Mapping[str, Any]) -> tuple[str, Tokenizer]:
    return data["tokenizer.ggml.model"], tokenizer_of(data)


def seeds() -> Iterator[bytes]:
    for i in range(len(_tokenizers())):
        yield bytes([i]) + SAMPLE.encode()
    for i, text in enumerate(
        ("a" * 300, " " * 300, "\n" * 300, "1" * 300, "!" * 300, "漢" * 100, "\u0301" * 100, "aB1 " * 99)
    ):
        yield bytes([i * 7]) + text.encode()


def run(data: bytes) -> None:
    tokenizers = _tokenizers()
    name, tokenizer = tokenizers[(data[0] if data else 0) % len(tokenizers)]
    text = data[1:].decode("utf-8", "replace")
    ids = tokenizer.encode(text)
    if tokenizer.encode(text) != ids:
        raise Finding(f"{name}: other ids the second time, when words are cached")
    if len(ids) < tokenizer.at_least(text):
        raise Finding(f"{name}: {len(ids)} ids, and at_least says {tokenizer.at_least(text)}")
    decoded = tokenizer.decode(ids)
    if name.startswith("gpt2") and not tokenizer._specials.strip and decoded != text:
        raise Finding(f"{name}: {text!r} comes back as {decoded!r}")
    if name == "rwkv" and decoded != text:
        raise Finding(f"{name}: {text!r} comes back as {decoded!r}")
    tokenizer.decode(tokenizer.encode(text, add_special=True, parse_special=True), special=True)


TARGET = Target(seeds, run, of_text(_WORDS), max_len=1 << 11)
