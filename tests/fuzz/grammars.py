"""Grammars of strangers, of every kind: compiled, with a walk of some tokens, or refused with the place."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import cache

import numpy as np

from localllm.generate.grammar import Grammar, compile_grammar
from localllm.generate.grammar_input import KINDS
from localllm.text.tokenizer import Tokenizer
from tests.fuzz.mutators import dumped, json_once, of_bytes, text_once
from tests.fuzz.target import Target
from tests.generate.grammars import vocabulary

_SCHEMA = {
    "$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}},
    "type": "object",
    "properties": {
        "a": {"type": "string", "pattern": "^[a-z]{1,3}$", "maxLength": 4},
        "b": {"type": "integer", "minimum": 0, "multipleOf": 5},
        "c": {"type": "array", "items": {"enum": ["x", 1, None]}, "minItems": 1, "maxItems": 3, "prefixItems": [{}]},
        "d": {"anyOf": [{"const": 1}, {"$ref": "#/$defs/n"}]},
        "e": {"allOf": [{"type": "number"}, {"maximum": 9.5}]},
        "f": {"format": "date-time", "type": "string"},
        "g": {"oneOf": [{"type": "null"}, {"type": "string"}]},
    },
    "required": ["a"],
    "additionalProperties": False,
    "patternProperties": {"^x": {"type": "boolean"}},
}
_SOURCES = {
    "json_schema": [json.dumps(_SCHEMA), '{"type": ["string", "null"]}', "true"],
    "json": ["object", "value"],
    "regex": [r"(ab|c){2,5}x?", r"[^\p{L}\n]+\d*?", r"(?i)a.b|\x{41}"],
    "lark": [
        'start: a | b\na: "x" b?\nb: /[0-9]+/ a*',
        "start: %json " + json.dumps({"type": "object"}),
        'start: A{1,3}\nA: "a".."f"',
    ],
    "gbnf": [
        'root ::= "a" b* | [^x-z\\n]{2,4}\nb ::= (root | "c")? # x',
        'root ::= <[5]> [a-b] . "\\x41"',
        "root ::= [0-9]{1,3} ws\nws ::= [ \\t]*",
    ],
    "llguidance": [
        json.dumps({"grammars": [{"name": "a", "lark_grammar": "start: @b"}, {"name": "b", "json_schema": _SCHEMA}]})
    ],
}
_WORDS = (
    "root", "::=", "start:", "|", "*", "+", "?", "(", ")", "[", "]", "{", "}", "{2}", "{0,}", "{1000}", "{3,1}",
    "[^a-z]", "\\", "\\n", "\\p{L}", "\\x{110000}", "\\u12", '"', "/", "#", "//", "\n", "%json", "%ignore",
    "%llguidance", "@a", "%regex", "$ref", "#", "#/$defs/n", "allOf", "anyOf", "oneOf", "not", "pattern", "format",
    "email", "uuid", "minLength", "x-guidance", "(?=a)", "(a|b)*a(a|b){9}", "..", "~", "<think>", "<[1]>", "!", "&",
)  # fmt: skip


def seeds() -> Iterator[bytes]:
    for kind, sources in _SOURCES.items():
        for source in sources:
            yield bytes([KINDS.index(kind)]) + source.encode()


def mutate(data: bytes, rng: random.Random) -> bytes:
    kind, source = data[:1] or b"\0", data[1:]
    if rng.random() < 0.03:
        kind = bytes([rng.randrange(len(KINDS))])
    if rng.random() < 0.1:
        return kind + of_bytes(source, rng)
    try:
        value = json.loads(source)
        for _ in range(rng.choice((1, 1, 2, 3))):
            value = json_once(value, _WORDS, rng)
        return kind + dumped(value)
    except (ValueError, RecursionError):
        text = source.decode("utf-8", "replace")
        for _ in range(rng.choice((1, 1, 2, 4))):
            text = text_once(text, _WORDS, rng)
        return kind + text.encode("utf-8", "surrogatepass")


@cache
def _tokenizer() -> Tokenizer:
    return vocabulary("gpt2")


def run(data: bytes) -> None:
    kind = KINDS[(data[0] if data else 0) % len(KINDS)]
    compiled = compile_grammar(_tokenizer(), Grammar(kind, data[1:].decode("utf-8", "replace")))  # type: ignore[arg-type]
    constraint, rng = compiled(), np.random.default_rng(1)
    logits = rng.standard_normal(_tokenizer().n_vocab).astype(np.float32)
    for _ in range(4):
        masked = logits.copy()
        constraint.mask(masked)
        if not np.isfinite(masked).any():
            return
        constraint.accept(int(masked.argmax()))


# The limits of localllm.generate.grammar_input let a compilation and a mask take some hundred milliseconds each.
TARGET = Target(seeds, run, mutate, max_len=1 << 13, seconds=4.0)
