"""Objects of JSON schemas that take no members but those they name.

JSON Schema lets an object have any others where nothing is said of them; who writes a schema for an answer hardly ever
means that, and small models then invent members without end. llama.cpp reads schemas in the same way
(common/json-schema-to-grammar.cpp). "additionalProperties": true opens an object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from localllm.generate.grammar_input import escaped

_UNCONSTRAINED = frozenset((
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment", "$schema", "$id",
    "$defs", "definitions", "type", "x-guidance",
))  # fmt: skip
"""Keywords that add no members to an object."""
_JOINING = frozenset((
    "allOf", "anyOf", "oneOf", "$ref", "$dynamicRef", "$recursiveRef", "not", "if", "then", "else", "dependentSchemas",
    "dependencies",
))  # fmt: skip
"""Keywords by which several schemas hold for one value."""
_OPEN = frozenset(("additionalProperties", "unevaluatedProperties", "patternProperties", "propertyNames",
                   "minProperties"))  # fmt: skip
"""Keywords that say something of other members."""
_DEFINITIONS = frozenset(("$defs", "definitions"))
_NAMED = frozenset(("properties", "patternProperties", "dependentSchemas", *_DEFINITIONS))
"""Keywords with a schema for each name."""
_CONSTANT = frozenset(("const", "enum", "default", "examples", "required", "type", "x-guidance"))
"""Keywords whose values hold no schemas."""
_ROUNDS = 8


def closed(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema, in which objects with `properties` that say nothing of others take no others.

    Left open is what has to fit together with another schema (by allOf, or by anyOf, oneOf or $ref beside further
    keywords), and what requires a member that it does not name. A schema stays as it is where it refers to anything but
    places in itself, or in too many steps.
    """
    walk = _Walk()
    for _ in range(_ROUNDS):
        n_known = len(walk.joined)
        result: Mapping[str, Any] = walk.close(schema, "", joined=False)
        if walk.is_lost:
            break
        if len(walk.joined) == n_known:
            return result
    return schema


class _Walk:
    """Through one schema, as often as new places are found in `joined`. Places are JSON pointers (RFC 6901)."""

    def __init__(self) -> None:
        self.joined: set[str] = set()
        """Places that are referred to from where several schemas hold."""
        self.is_lost = False
        """There are references to what is no place."""

    def close(self, schema: Any, where: str, joined: bool) -> Any:
        """joined: the schema has to fit together with others."""
        if not isinstance(schema, Mapping):
            return schema
        joined = joined or where in self.joined or _joins(schema)
        self._refer(schema.get("$ref"), joined)
        out = {
            key: self._inside(key, value, f"{where}/{escaped(key)}", joined and key not in _DEFINITIONS)
            for key, value in schema.items()
        }
        if not joined and _can_close(schema):
            out["additionalProperties"] = False
        return out

    def _inside(self, key: str, value: Any, where: str, joined: bool) -> Any:
        """What stands under a keyword."""
        if key in _CONSTANT:
            return value
        if key in _NAMED and isinstance(value, Mapping):
            return {name: self.close(child, f"{where}/{escaped(name)}", joined) for name, child in value.items()}
        if isinstance(value, list):
            return [self.close(child, f"{where}/{i}", joined) for i, child in enumerate(value)]
        return self.close(value, where, joined)

    def _refer(self, reference: Any, joined: bool) -> None:
        if not isinstance(reference, str):
            return
        self.is_lost |= reference != "#" and not reference.startswith("#/")
        if joined:
            self.joined.add(unquote(reference[1:]))


def _joins(schema: Mapping[str, Any]) -> bool:
    """Whether several schemas hold for a value of this one."""
    if _JOINING.isdisjoint(schema):
        return False
    first, *others = schema.keys() - _UNCONSTRAINED
    parts = schema[first]
    is_one = first in ("$ref", "anyOf", "oneOf") or (first == "allOf" and isinstance(parts, list) and len(parts) == 1)
    return bool(others) or not is_one


def _can_close(schema: Mapping[str, Any]) -> bool:
    properties, required = schema.get("properties"), schema.get("required", [])
    if not isinstance(properties, Mapping) or not isinstance(required, list) or not _OPEN.isdisjoint(schema):
        return False
    return all(isinstance(name, str) and name in properties for name in required)
