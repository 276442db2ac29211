"""Mutations of bytes, of text and of JSON; each is a function of the input and of a random generator alone."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from typing import Any

NUMBERS = (
    *(0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 33, 63, 64, 100, 127, 128, 255, 256, 1000, 4095, 4096, 32767, 65535, 65536),
    *(2**k + d for k in (22, 24, 27, 31, 32, 40, 53, 62, 63, 64) for d in (-1, 0, 1)),
)
"""Where limits, signs and widths change."""
REALS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-30, 1e30, 1e38, 3.5e38, 1e308, float("inf"), float("-inf"), float("nan"))
STRINGS = (
    "", " ", "\0", "\n", "\r\n", "\t", "a", "A" * 300, "é", "e\u0301", "\u2581", "\ufeff", "\ufffd",
    "\U0001f469\u200d", "\U0010ffff", "\x1b[2J", "\x9b", "%s", "{}", "{{", "{%", "\\", '"', "'", "../..", "<0x0A>",
    "<0xZZ>", "<|im_start|>", "null", "true", "-1", "1e999", "\u202e", "\u0130", "ß", "ﬃ",
)  # fmt: skip


def of_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bits, bytes, numbers of 1 to 8 bytes; stretches removed, doubled, moved; a few at once."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        _one_of_bytes(out, rng)
    return bytes(out)


def _one_of_bytes(out: bytearray, rng: random.Random) -> None:
    if not out:
        out += rng.randbytes(rng.randint(1, 8))
        return
    at = rng.randrange(len(out))
    size = min(len(out) - at, rng.choice((1, 1, 2, 4, 8, 16, 64)))
    match rng.randrange(8):
        case 0:
            out[at] ^= 1 << rng.randrange(8)
        case 1:
            out[at] = rng.randrange(256)
        case 2:
            n = rng.choice((1, 2, 4, 8))
            out[at : at + n] = (rng.choice(NUMBERS) * rng.choice((1, 1, -1)) % 256**n).to_bytes(n, "little")
        case 3:
            del out[at : at + size]
        case 4:
            out[at:at] = out[at : at + size] * rng.choice((1, 1, 2, 50))
        case 5:
            to = rng.randrange(len(out))
            out[to : to + size] = out[at : at + size]
        case 6:
            out[at:at] = rng.choice(STRINGS).encode()
        case _:
            del out[at:]


def of_text(words: Sequence[str]) -> Any:
    """A mutator of text that knows `words`: signs and keywords of the language that is read."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.3:
            return of_bytes(data, rng)
        text = data.decode("utf-8", "replace")
        for _ in range(rng.choice((1, 1, 2, 3, 6))):
            text = text_once(text, words, rng)
        return text.encode("utf-8", "surrogatepass")

    return mutate


def text_once(text: str, words: Sequence[str], rng: random.Random) -> str:
    """One change of a text: a word put in or in place of a stretch, a stretch removed, repeated, nested or moved."""
    at = rng.randint(0, len(text))
    end = min(len(text), at + rng.choice((0, 1, 1, 2, 5, 20)))
    piece = text[at:end]
    match rng.randrange(7):
        case 0 | 1:
            return text[:at] + rng.choice(words) + text[at:]
        case 2:
            return text[:at] + rng.choice(words) + text[end:]
        case 3:
            return text[:at] + text[end:]
        case 4:
            return text[:at] + (piece or rng.choice(words)) * rng.choice((2, 3, 10, 100, 1000)) + text[end:]
        case 5:
            return text[:at] + rng.choice(STRINGS) + text[end:]
        case _:
            to = rng.randint(0, len(text))
            return text[:to] + piece + text[to:]


def of_json(words: Sequence[Any] = ()) -> Any:
    """A mutator of JSON documents; `words`: keys and values that mean something to the reader."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.2:
            return of_bytes(data, rng)
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return of_bytes(data, rng)
        for _ in range(rng.choice((1, 1, 2, 4))):
            value = json_once(value, words, rng)
        return dumped(value)

    return mutate


def dumped(value: Any) -> bytes:
    """JSON as text, lone surrogates as escapes."""
    return json.dumps(value).encode()


def json_once(value: Any, words: Sequence[Any], rng: random.Random) -> Any:
    """One change at a random node."""
    places = list(_places(value))
    if not places or rng.random() < 0.05:
        return any_json(words, rng)
    holder, key = rng.choice(places)
    match rng.randrange(8):
        case 0 | 1 | 2:
            holder[key] = any_json(words, rng)
        case 3:
            del holder[key]
        case 4:
            deep = holder[key]
            for _ in range(rng.choice((1, 2, 30, 300))):
                deep = rng.choice((lambda x: [x], lambda x: {"a": x}))(deep)
            holder[key] = deep
        case 5:
            other, name = rng.choice(places)
            if isinstance(other, dict) and not isinstance(other.get(name), dict | list):
                holder[key] = other.get(name)
        case 6 if isinstance(holder, dict):
            holder[str(rng.choice([*words, *STRINGS]))] = any_json(words, rng)
        case 6:
            holder[key:key] = [rng.choice(NUMBERS)] * rng.choice((1, 2, 100))
        case _ if isinstance(holder[key], str):
            holder[key] = text_once(holder[key], [str(word) for word in words] or STRINGS, rng)
        case _ if type(holder[key]) in (int, float):
            holder[key] = rng.choice((-1, 1, 1, 3)) * holder[key] + rng.choice((-1, 0, 1))
        case _:
            holder[key] = any_json(words, rng)
    return value


def any_json(words: Sequence[Any], rng: random.Random) -> Any:
    """A value of any kind."""
    kinds = [
        lambda: rng.choice(NUMBERS) * rng.choice((1, 1, -1)),
        lambda: rng.choice(REALS),
        lambda: rng.choice(STRINGS),
    ]
    kinds += [lambda: rng.choice((None, True, False, [], {})), lambda: 10 ** rng.choice((20, 400))]
    kinds += [lambda: rng.choice(words)] * 3 if words else []
    kinds += [lambda: [any_json(words, rng)], lambda: {str(rng.choice(words or STRINGS)): any_json(words, rng)}]
    return copy.deepcopy(rng.choice(kinds)())


def _places(value: Any) -> Any:
    """(holder, key or index) of every node below the top."""
    stack = [value]
    while stack:
        node = stack.pop()
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, inner in items:
            yield node, key
            if isinstance(inner, dict | list):
                stack.append(inner)


def json_changed(content: bytes, words: Sequence[Any], rng: random.Random) -> bytes:
    """A few changes of a JSON text; of its bytes, where it is none."""
    try:
        value = json.loads(content)
        for _ in range(rng.choice((1, 1, 2, 3))):
            value = json_once(value, words, rng)
        return dumped(value)
    except (ValueError, RecursionError):
        return of_bytes(content, rng)
