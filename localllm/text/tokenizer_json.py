"""Which of our pre-tokenizers a tokenizer.json of Hugging Face describes.

llama.cpp's conversion hashes the ids of a test text, which differ from vocabulary to vocabulary; here the definition is
compared: what normalizes, the steps that cut words, whether whole words skip the merges. The patterns are those of the
hub's files, which the comments of llama.cpp's llama_tokenizer_bpe (src/llama-vocab.cpp) quote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from localllm.gate import vocabulary as gate
from localllm.text.pretokenizers import PRETOKENIZERS

_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
_QWEN2 = rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
_QWEN35 = (
    rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTION}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTION}?|"
    rf"\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|"
    rf"\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)
_DEEPSEEK3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"""
    r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)

Step = tuple[str, ...]
_WORDS: Step = ("ByteLevel", "words")
"""GPT-2's pattern, which ByteLevel has inside."""
_BYTES: Step = ("ByteLevel",)
_DIGITS: Step = ("Digits",)


def _split(pattern: str) -> Step:
    """Line ends are written as themselves in some files, as \\r and \\n in others."""
    return ("Split", pattern.replace("\r", r"\r").replace("\n", r"\n"))


_WHOLE = (("Isolated", False), ("Removed", True))
"""How a Split may keep what matches: our patterns leave nothing between their matches, so that these two are one."""

_KNOWN: dict[tuple[Step, ...], tuple[str, str]] = {
    (_WORDS,): ("gpt-2", "gpt-2"),
    (_DIGITS, _WORDS): ("smollm", "smollm"),
    (_split(_LLAMA3), _BYTES): ("dbrx", "llama-bpe"),
    (_split(_QWEN2), _BYTES): ("qwen2", "qwen2"),
    (_split(_QWEN35), _BYTES): ("qwen35", "qwen35"),
    (_split(_GPT4O), _BYTES): ("gpt-4o", "gpt-4o"),
    (_split(_TEKKEN), _BYTES): ("tekken", "tekken"),
    (_split(r"\p{N}{1,3}"), _split("[一-龥\u3040-ゟ\u30a0-ヿ]+"), _split(_DEEPSEEK3), _BYTES): (
        "deepseek-v3",
        "deepseek-v3",
    ),
}
"""Steps -> (name, name where words that are tokens skip the merges)."""


def recognise(tokenizer: Mapping[str, Any], path: str) -> str:
    """The name of the pre-tokenizer (a key of PRETOKENIZERS) that a byte-level tokenizer.json describes.

    Raises UnsupportedError, which shows the steps, where none is known to do the same.
    """
    found = tuple(_steps(tokenizer.get("pre_tokenizer"), path))
    model = tokenizer.get("model")
    whole_words = isinstance(model, dict) and model.get("ignore_merges") is True
    normal = _normalizers(tokenizer.get("normalizer"))
    steps = ", ".join([*sorted(normal), *(" ".join(step) for step in found)]) or "nothing"
    gate.cut_as(path, steps, found in _KNOWN and normal <= {"NFC"}, PRETOKENIZERS)
    return _KNOWN[found][whole_words]


def _steps(entry: Any, path: str) -> Iterator[Step]:
    """The steps of a pre_tokenizer, sequences in sequences unrolled."""
    if entry is None:
        return
    gate.pretokenizer(path, entry, dict, "must hold objects")
    kind = str(entry.get("type"))
    if kind == "Sequence":
        inner = entry.get("pretokenizers")
        for step in gate.pretokenizer(path, inner, list, "a Sequence must have a list, pretokenizers"):
            yield from _steps(step, path)
    elif kind == "ByteLevel" and not entry.get("add_prefix_space"):
        yield _WORDS if entry.get("use_regex", True) else _BYTES
    elif kind == "Digits" and entry.get("individual_digits"):
        yield _DIGITS
    elif kind == "Split" and (entry.get("behavior"), bool(entry.get("invert"))) in _WHOLE:
        pattern = entry.get("pattern")
        yield _split(str(pattern.get("Regex", pattern)) if isinstance(pattern, dict) else str(pattern))
    else:
        yield (kind, str({key: value for key, value in entry.items() if key != "type"}))


def _normalizers(entry: Any) -> set[str]:
    if not isinstance(entry, dict):
        return set()
    if entry.get("type") == "Sequence" and isinstance(entry.get("normalizers"), list):
        return {kind for inner in entry["normalizers"] for kind in _normalizers(inner)}
    return {str(entry.get("type"))}
