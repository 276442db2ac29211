"""Tiny vocabularies as the metadata of a GGUF file, made by code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from localllm.text.bytelevel import BYTE_TO_CHAR, to_alphabet
from localllm.text.tokenizer import Tokenizer, load_tokenizer
from localllm.text.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED

SAMPLE = (
    "The quick brown fox jumps over the lazy dog, and the dog doesn't mind: it's 12 345 times faster! "
    "Ein schöner Tag für süße Bären. 你好，世界！ aaaa bbbb    \n\n\tdef f(x): return x**2 # aaaa the the the"
)


def train(words: list[list[str]], n_merges: int) -> list[tuple[str, str]]:
    """The merges that byte-pair training finds: the most frequent pair first, equals by their text."""
    merges = []
    for _ in range(n_merges):
        pairs = Counter(pair for word in words for pair in pairwise(word))
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word in words:
            i = 0
            while i + 1 < len(word):
                if (word[i], word[i + 1]) == best:
                    word[i : i + 2] = ["".join(best)]
                i += 1
    return merges


def byte_level(n_merges: int = 120, pre: str = "gpt-2", **keys: Any) -> dict[str, Any]:
    """A `gpt2` vocabulary: 256 bytes, merges of SAMPLE, <|end|> and <|im_start|> (control), <user> (user-defined)."""
    merges = train([list(to_alphabet(word)) for word in SAMPLE.replace(" ", "\0 ").split("\0")], n_merges)
    tokens = [BYTE_TO_CHAR[byte] for byte in range(256)] + list(dict.fromkeys(left + right for left, right in merges))
    types = [NORMAL] * len(tokens) + [CONTROL, USER_DEFINED, CONTROL]
    tokens += ["<|end|>", "<user>", "<|im_start|>"]
    return metadata("gpt2", tokens, types, pre=pre, merges=[" ".join(merge) for merge in merges]) | prefixed(keys)


def sentencepiece(bytes_too: bool = True, **keys: Any) -> dict[str, Any]:
    """A `llama` vocabulary: <unk> <s> </s>, 256 bytes, letters and merges of SAMPLE with falling scores, <user>."""
    text = SAMPLE.replace(" ", "▁")
    merges = [left + right for left, right in train([list("▁" + word) for word in text.split("▁")], 100)]
    letters = sorted(set(text) - set("界"))  # one character that only bytes can write
    tokens, types, scores = ["<unk>", "<s>", "</s>"], [UNKNOWN, CONTROL, CONTROL], [0.0, 0.0, 0.0]
    if bytes_too:
        tokens += [f"<0x{byte:02X}>" for byte in range(256)]
        types += [BYTE] * 256
        scores += [0.0] * 256
    plain = [token for token in dict.fromkeys([*merges, *letters]) if "界" not in token]
    tokens += [*plain, "<user>"]
    types += [NORMAL] * len(plain) + [USER_DEFINED]
    scores += [-float(i) for i in range(len(plain))] + [0.0]
    base = metadata("llama", tokens, types, scores=scores, bos_token_id=1, eos_token_id=2, unknown_token_id=0)
    return base | prefixed(keys)


def metadata(model: str, tokens: list[str], types: list[int], **keys: Any) -> dict[str, Any]:
    """Metadata of a file with this vocabulary; `keys` without their prefix."""
    return prefixed({"model": model, "tokens": tokens, "token_type": types} | keys)


def tokenizer_of(data: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of metadata that have one."""
    tokenizer = load_tokenizer(data)
    assert tokenizer is not None
    return tokenizer


def prefixed(keys: dict[str, Any]) -> dict[str, Any]:
    return {f"tokenizer.ggml.{key}": value for key, value in keys.items()}


def with_tokens(data: dict[str, Any], *more: tuple[str, int]) -> dict[str, Any]:
    """The metadata with more (token, type) at the end."""
    return data | prefixed(
        {
            "tokens": [*data["tokenizer.ggml.tokens"], *(token for token, _ in more)],
            "token_type": [*data["tokenizer.ggml.token_type"], *(kind for _, kind in more)],
        }
    )
