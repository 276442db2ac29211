"""Answers of a model that says what it pleases, as far as a constraint lets it."""

from __future__ import annotations

from functools import cache

import numpy as np

from localllm.text.vocabulary import CONTROL, NORMAL, USER_DEFINED
from tests.generate.dialogue.cases import tool
from tests.text import build

END = 0
"""The id of the token that ends answers."""

WALKED = [
    tool("get_time", 2, city={"enum": ["Rome", 'a "b"']}, day={"type": "integer", "minimum": 1, "maximum": 31},
         utc="boolean"),
    tool("set_todos", 1, todos={"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 1, "maxItems": 2},
         note={"enum": ["n"]}),
    tool("no_arguments"),
]  # fmt: skip


@cache
def vocabulary(control=(), user_defined=()):
    """Single bytes, some words, and special tokens; <s> ends answers."""
    words = [' "name"', '{"name": "', "get_time", "</", "think", ": "]
    tokens = ["<s>", *(f"\\x{byte:02x}" for byte in range(256)), *words, *control, *user_defined]
    n_plain = 256 + len(words)
    types = [CONTROL] + [NORMAL] * n_plain + [CONTROL] * len(control) + [USER_DEFINED] * len(user_defined)
    return build.tokenizer_of(build.metadata("rwkv", tokens, types, eos_token_id=END))


def encode(tokenizer, text):
    return tokenizer.encode(text, parse_special=True)


def walk(tokenizer, new_constraint, script="", seed=0, n_tokens=2000, ends=True):
    """The text that comes of a constraint, control tokens included, and whether it ended.

    script: what the model would say, and its end where `ends`; where it may not, it goes on by chance, and prefers
    tokens that close something.
    """
    rng, constraint = np.random.default_rng(seed), new_constraint()
    wanted = [*encode(tokenizer, script), *([END] * ends)]
    stream = tokenizer.stream(special=True)
    closers = [tokenizer.special_id(t) or encode(tokenizer, t)[0] for t in ('"', "}", "]", ")", "</parameter>")]
    text, n = "", 0
    while n < n_tokens and not constraint.finished:
        logits = rng.standard_normal(tokenizer.n_vocab).astype(np.float32)
        logits[closers] += 2
        logits[END] += 3
        if wanted:
            logits[wanted[0]] += 100
        constraint.mask(logits)
        token = int(np.argmax(logits))
        assert np.isfinite(logits[token])
        if token == END:
            return text, True
        said = [token, *constraint.accept(token)]
        for one in said:
            n += 1
            text += stream.push(one)
            wanted = wanted[1:] if wanted[:1] == [one] else []
    return text + stream.finish(), constraint.finished
