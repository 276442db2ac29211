"""`/set`: how tokens are chosen, by the names of Sampling's fields."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from localllm.errors import UsageError
from localllm.generate.params import Sampling

_SPECIAL = ("logit_bias", "bans", "dry_sequence_breakers")
"""Fields that have no short form; options of the command line set them."""
_ALIASES = {"temp": "temperature", "typ_p": "typical_p"}
_NONE = ("none", "-1")


def names() -> list[str]:
    """What can be set."""
    return [field.name for field in fields(Sampling) if field.name not in _SPECIAL]


def listed(sampling: Sampling) -> list[str]:
    """A line a setting."""
    return [f"{name:<20} {shown(getattr(sampling, name))}" for name in names()]


def shown(value: object) -> str:
    """A value as /set takes it."""
    if isinstance(value, tuple):
        return ";".join(map(str, value))
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
        what = "a number" if kind is float else "a whole number"
        raise UsageError(f"{name} is {value!r}: it must be {what}") from None


def _seed(value: str) -> int | None:
    return None if value.lower() in _NONE else int(value)


_KINDS: dict[str, Callable[[str], Any]] = {"seed": _seed, "samplers": str}
"""How a field's text is read, where its default does not tell."""
