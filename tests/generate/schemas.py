"""JSON schemas for hypothesis, and a validator that is slow and obvious."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import strategies as st

_TYPES = {
    "null": lambda v: v is None,
    "boolean": lambda v: isinstance(v, bool),
    "integer": lambda v: _is_number(v) and v % 1 == 0,
    "number": lambda v: _is_number(v),
    "string": lambda v: isinstance(v, str),
    "array": lambda v: isinstance(v, list),
    "object": lambda v: isinstance(v, dict),
}


def _is_number(v: Any) -> bool:
    """Infinity is Python's reading of 1e999."""
    return isinstance(v, int | float) and not isinstance(v, bool)


def meets(value: Any, schema: Any, root: Any = None) -> bool:
    """Whether a value meets a schema of the keywords below."""
    root = schema if root is None else root
    if isinstance(schema, bool):
        return schema
    return all(_KEYWORDS[key](value, wanted, schema, root) for key, wanted in schema.items() if key in _KEYWORDS)


def _same(a: Any, b: Any) -> bool:
    return (type(a) is type(b) and a == b) or (_is_number(a) and _is_number(b) and a == b)


def _properties(v: Any, wanted: Any, schema: Any, root: Any) -> bool:
    return not isinstance(v, dict) or all(meets(v[k], s, root) for k, s in wanted.items() if k in v)


def _additional(v: Any, wanted: Any, schema: Any, root: Any) -> bool:
    known = schema.get("properties", {})
    return not isinstance(v, dict) or all(meets(x, wanted, root) for k, x in v.items() if k not in known)


def _items(v: Any, wanted: Any, schema: Any, root: Any) -> bool:
    return not isinstance(v, list) or all(meets(x, wanted, root) for x in v[len(schema.get("prefixItems", ())) :])


def _ref(v: Any, wanted: str, schema: Any, root: Any) -> bool:
    target = root
    for part in wanted.removeprefix("#/").split("/"):
        target = target[part]
    return meets(v, target, root)


_KEYWORDS = {
    "type": lambda v, w, s, r: any(_TYPES[t](v) for t in ([w] if isinstance(w, str) else w)),
    "enum": lambda v, w, s, r: any(_same(v, x) for x in w),
    "const": lambda v, w, s, r: _same(v, w),
    "minimum": lambda v, w, s, r: not _is_number(v) or v >= w,
    "maximum": lambda v, w, s, r: not _is_number(v) or v <= w,
    "exclusiveMinimum": lambda v, w, s, r: not _is_number(v) or v > w,
    "exclusiveMaximum": lambda v, w, s, r: not _is_number(v) or v < w,
    "minLength": lambda v, w, s, r: not isinstance(v, str) or len(v) >= w,
    "maxLength": lambda v, w, s, r: not isinstance(v, str) or len(v) <= w,
    "pattern": lambda v, w, s, r: not isinstance(v, str) or bool(re.search(w, v)),
    "minItems": lambda v, w, s, r: not isinstance(v, list) or len(v) >= w,
    "maxItems": lambda v, w, s, r: not isinstance(v, list) or len(v) <= w,
    "prefixItems": lambda v, w, s, r: not isinstance(v, list) or all(map(lambda x, t: meets(x, t, r), v, w)),
    "items": _items,
    "required": lambda v, w, s, r: not isinstance(v, dict) or all(k in v for k in w),
    "properties": _properties,
    "additionalProperties": _additional,
    "anyOf": lambda v, w, s, r: any(meets(v, x, r) for x in w),
    "allOf": lambda v, w, s, r: all(meets(v, x, r) for x in w),
    "$ref": _ref,
}

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
_CONSTANTS = st.one_of(st.none(), st.booleans(), st.integers(-1000, 1000), _TEXT)
_NAMES = st.one_of(st.sampled_from(["name", "age", "a/b", "x~", "ö", 'q"', "\n", "日本", "$ref", ""]), _TEXT)
_PATTERNS = st.sampled_from(["^[a-z]{1,4}$", "^a+b?$", "[0-9]", "^(foo|bar)-[0-9]{2}$", "^.{2,5}$", "é"])


def _bounds(draw: Any, numbers: Any) -> dict[str, Any]:
    low, high = sorted(draw(st.tuples(numbers, numbers)))
    out: dict[str, Any] = {}
    if draw(st.booleans()):
        out["minimum"] = low
    if draw(st.booleans()):
        out["maximum"] = high
    return out


@st.composite
def _integers(draw: Any) -> dict[str, Any]:
    return {"type": "integer"} | _bounds(draw, st.integers(-(10**9), 10**9))


@st.composite
def _numbers(draw: Any) -> dict[str, Any]:
    if draw(st.booleans()):
        return {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": draw(st.integers(1, 50))}
    return {"type": "number"} | _bounds(draw, st.integers(-5000, 5000).map(lambda n: n / 100))


@st.composite
def _strings(draw: Any) -> dict[str, Any]:
    if draw(st.booleans()):
        return {"type": "string", "pattern": draw(_PATTERNS), "maxLength": 12}
    low = draw(st.integers(0, 4))
    return {"type": "string", "minLength": low, "maxLength": low + draw(st.integers(0, 5))}


_LEAVES = st.one_of(
    _integers(),
    _numbers(),
    _strings(),
    st.sampled_from([{"type": "null"}, {"type": "boolean"}, {"type": ["integer", "null"]}]),
    st.builds(lambda c: {"const": c}, _CONSTANTS),
    st.builds(lambda c: {"enum": c}, st.lists(_CONSTANTS, min_size=1, max_size=5)),
    st.just({"$ref": "#/$defs/leaf"}),
)


def _wider(inner: Any) -> Any:
    objects = st.builds(
        lambda p, n, more: {
            "type": "object", "properties": p, "required": list(p)[:n], "additionalProperties": more,
        },
        st.dictionaries(_NAMES, inner, max_size=4), st.integers(0, 4),
        st.sampled_from([False, False, {"type": "null"}]),
    )  # fmt: skip
    arrays = st.builds(
        lambda items, low, more, first: {
            "type": "array", "items": items, "minItems": low, "maxItems": low + more, "prefixItems": first,
        },
        inner, st.integers(0, 2), st.integers(0, 2), st.lists(inner, max_size=2),
    )  # fmt: skip
    unions = st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3))
    both = st.builds(
        lambda p, q: {"allOf": [{"type": "object", "properties": p, "required": list(p)},
                                {"type": "object", "properties": q, "required": list(q)}]},
        st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
        st.dictionaries(st.sampled_from(["c", "d"]), inner, max_size=2),
    )  # fmt: skip
    return st.one_of(objects, arrays, unions, both)


SCHEMAS = st.builds(
    lambda schema, leaf: schema | {"$defs": {"leaf": leaf}},
    st.recursive(_LEAVES, _wider, max_leaves=8),
    st.sampled_from([{"type": "boolean"}, {"type": "string", "maxLength": 3}, {"enum": ["ä", 1]}]),
)
"""Nested schemas, most of which can be met."""
