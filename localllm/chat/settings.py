"""`/set`: how tokens are chosen, by the names of Sampling's fields."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from localllm.errors import UsageError
from localllm.generate.params import Sampling

_ALIASES = {"temp": "temperature", "typ_p": "typical_p"}
_NONE = ("none", "-1")


def names() -> list[str]:
    """What can be set."""
    return [field.name for field in fields(Sampling)]


def listed(sampling: Sampling) -> list[str]:
    """A line a setting."""
    return [f"{name:<20} {shown(getattr(sampling, name))}" for name in names()]


def shown(value: object) -> str:
    """A value as /set takes it."""
    if isinstance(value, tuple):
        texts = (f"{part[0]}{part[1]:+g}" if isinstance(part, tuple) else str(part) for part in value)
        return ";".join(texts).replace("\n", r"\n") or "none"
    return "none" if value is None else f"{value}"


def parsed(text: str) -> tuple[str, Any]:
    """What "temperature 0.7", or "temperature=0.7", sets: a field of Sampling and its value. Raises UsageError, which
    names the nearest setting or what its values are."""
    given, value = _parts(text)
    name = _ALIASES.get(given, given)
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1)
        raise UsageError(f"/set: there is no {name!r}; {f'near it: {near[0]}' if near else '/set lists what there is'}")
    if not value:
        raise UsageError(f"/set {name}: which value? /set lists what they are")
    return name, _read(name, value)


def _parts(text: str) -> tuple[str, str]:
    name, _, value = text.replace("=", " ", 1).partition(" ")
    return name.strip().lower().replace("-", "_"), value.strip()


def _read(name: str, value: str) -> Any:
    kind = _KINDS.get(name) or type(getattr(Sampling(), name))
    try:
        return kind(value)
    except ValueError:
        what = _FORMS.get(name, "a number" if kind is float else "a whole number")
        raise UsageError(f"{name} is {value!r}: it must be {what}") from None


def _seed(value: str) -> int | None:
    return None if value.lower() in _NONE else int(value)


def _several(value: str) -> list[str]:
    return [] if value.lower() == "none" else [part for part in value.split(";") if part]


def _bans(value: str) -> tuple[int, ...]:
    return tuple(map(int, _several(value)))


def _breakers(value: str) -> tuple[str, ...]:
    return tuple(part.replace(r"\n", "\n") for part in _several(value))


def _biases(value: str) -> tuple[tuple[int, float], ...]:
    pairs = [re.fullmatch(r"(\d+)([+-].+)", part.strip()) for part in _several(value)]
    if None in pairs:
        raise ValueError
    return tuple((int(pair[1]), float(pair[2])) for pair in pairs if pair)


_KINDS: dict[str, Callable[[str], Any]] = {
    "seed": _seed, "samplers": str, "bans": _bans, "logit_bias": _biases, "dry_sequence_breakers": _breakers,
}  # fmt: skip
"""How a field's text is read, where its default does not tell."""
_FORMS = {"bans": "numbers of tokens: 15;16", "logit_bias": "tokens and what is added: 15+1;16-inf"}
"""What a value must be, where that is not a number."""
