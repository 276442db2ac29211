"""Arguments that a model writes as plain text, as JSON by the types of the tool's schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_KINDS: dict[type, tuple[str, ...]] = {
    bool: ("boolean",),
    int: ("integer", "number"),
    float: ("number", "integer"),
    dict: ("object",),
    list: ("array",),
    type(None): ("null",),
}
_PYTHON = {"True": "true", "False": "false", "None": "null"}
_ALL = frozenset({"string", "boolean", "integer", "number", "object", "array", "null"})
_MAX_DEPTH = 16


def types_of(schema: object, depth: int = 0) -> frozenset[str]:
    """The JSON types that a schema admits; all, where it does not say."""
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return _ALL
    declared = schema.get("type")
    if isinstance(declared, str):
        return frozenset({declared})
    if isinstance(declared, list):
        return frozenset(t for t in declared if isinstance(t, str)) or _ALL
    if "const" in schema:
        return _types_of_values([schema["const"]])
    if isinstance(schema.get("enum"), list):
        return _types_of_values(schema["enum"])
    for key in ("anyOf", "oneOf"):
        choices = schema.get(key)
        if isinstance(choices, list) and choices:
            return frozenset().union(*(types_of(choice, depth + 1) for choice in choices))
    return _ALL


def is_text(schema: object) -> bool:
    """Whether every text is a value of it as it stands."""
    return types_of(schema) == {"string"}


def as_json(text: str, schema: object) -> str:
    """A value's text as JSON: what it is by its schema, and a string where it is nothing else.

    Where strings are admitted beside others, what reads like one of the others is taken for it, as llama.cpp does.
    """
    types = types_of(schema)
    stripped = text.strip()
    stripped = _PYTHON.get(stripped, stripped)
    if types != {"string"}:
        try:
            value = json.loads(stripped, parse_constant=_no_json)
        except (ValueError, RecursionError):
            pass
        else:
            kinds = _KINDS.get(type(value), ("string",))
            if "string" in kinds:
                return stripped if "string" not in types else json.dumps(text, ensure_ascii=False)
            if "string" not in types or not types.isdisjoint(kinds):
                return stripped
    return json.dumps(text, ensure_ascii=False)


def _types_of_values(values: list[Any]) -> frozenset[str]:
    return frozenset(kind for value in values for kind in _KINDS.get(type(value), ("string",)))


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
