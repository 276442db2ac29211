"""What a JSON schema may cost: counted before llguidance sees it, where its own limits do not hold.

Measured with llguidance 1.9 on a Zen 4 server: at each limit a schema is compiled within a second or two.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from localllm.errors import GrammarError
from localllm.generate.grammar_input import escaped
from localllm.generate.grammar_repeats import check_written_out, written_out

MAX_DEPTH = 100
"""Levels of nesting (llguidance itself takes 126)."""
MAX_VALUES = 10_000
"""JSON values."""
MAX_MEMBERS = 1_000
"""Of one object: the cost of properties is quadratic (0.1 s for this many)."""
MAX_PATTERNS = 100
"""Of all patternProperties: each pair is compared, in time that grows with their number (0.1 s for these)."""
MAX_MULTIPLES = 10_000
"""Sum of all multipleOf, without their zeros and points: each becomes as many states (0.2 s for these)."""
MAX_JOINED = 8
"""Patterns that a value must match at once, by allOf: their number is an exponent (0.1 s for 10, hours for 20)."""

_REGEXES = ("pattern", "format", "multipleOf", "patternProperties")


def check_schema(name: str, schema: Any) -> None:
    """Raise GrammarError where a schema passes one of the limits."""
    levels = _levels(name, schema)
    _check_counts(name, [value for level in levels for value in level])
    try:
        joined = _Joined(schema).count(schema)
    except RecursionError:
        raise GrammarError(name, "", "has a chain of references that is too long") from None
    if joined > MAX_JOINED:
        raise GrammarError(name, "", f"joins more than {MAX_JOINED} patterns by allOf and $ref at one place")


def _levels(name: str, schema: Any) -> list[list[tuple[str, Any]]]:
    """(pointer, value) of all values, by their depth."""
    levels, count = [[("", schema)]], 1
    while levels[-1]:
        level = [(f"{where}/{escaped(key)}", child) for where, parent in levels[-1] for key, child in _children(parent)]
        count += len(level)
        if count > MAX_VALUES:
            raise GrammarError(name, "", f"holds more than {MAX_VALUES} values")
        if len(levels) > MAX_DEPTH and level:
            raise GrammarError(name, level[0][0][:80], f"is nested deeper than {MAX_DEPTH} levels")
        levels.append(level)
    return levels


def _children(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return [(str(i), child) for i, child in enumerate(value)] if isinstance(value, list) else []


def _check_counts(name: str, values: list[tuple[str, Any]]) -> None:
    patterns = multiples = written = 0
    for where, value in values:
        if isinstance(value, dict):
            if len(value) > MAX_MEMBERS:
                raise GrammarError(name, where, f"has {len(value)} members: at most {MAX_MEMBERS} are taken")
            if where.endswith("/patternProperties"):
                patterns += len(value)
                written += sum(map(written_out, value))
        elif where.endswith("/multipleOf") and type(value) in (int, float):  # true is an int, too
            multiples += _digits(value)
        elif where.endswith("/pattern") and isinstance(value, str):
            written += written_out(value)
        check_written_out(name, where, written)
        if patterns > MAX_PATTERNS:
            raise GrammarError(name, where, f"there are more than {MAX_PATTERNS} patternProperties")
        if multiples > MAX_MULTIPLES:
            raise GrammarError(name, where, f"the digits of all multipleOf together make more than {MAX_MULTIPLES}")


def _digits(value: float) -> int:
    """The digits of a number as an integer, without zeros at its end."""
    return int("".join(map(str, Decimal(repr(value)).normalize().as_tuple().digits)) or "0")


class _Joined:
    """An upper bound of the patterns that may have to hold at once for one value."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._known: dict[str, int] = {}

    def count(self, schema: Any) -> int:
        if isinstance(schema, list):
            return max(map(self.count, schema), default=0)
        if not isinstance(schema, dict):
            return 0
        listed = {key: schema[key] for key in ("allOf", "anyOf", "oneOf") if isinstance(schema.get(key), list)}
        own = max((self.count(child) for key, child in schema.items() if key not in listed), default=0)
        joined = max(own, int(any(key in schema for key in _REGEXES)))
        for key, members in listed.items():
            counts = list(map(self.count, members))
            joined += sum(counts) if key == "allOf" else max(counts, default=0)
        return min(joined + self._of_reference(schema.get("$ref")), MAX_JOINED + 1)

    def _of_reference(self, reference: Any) -> int:
        if not isinstance(reference, str):
            return 0
        if reference not in self._known:
            self._known[reference] = 0  # what refers to itself adds nothing new
            self._known[reference] = self.count(_target(self._root, reference))
        return self._known[reference]


def _target(root: Any, reference: str) -> Any:
    """What a local reference names; None where it names nothing, which llguidance then says."""
    value = root
    for part in reference.removeprefix("#").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value
