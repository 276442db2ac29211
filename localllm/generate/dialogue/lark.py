"""Grammars of calls in llguidance's variant of Lark (its docs/syntax.md), put together from texts and JSON schemas."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

LAYOUT: dict[str, Any] = {
    "item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False, "coerce_one_of": True, "lenient": True,
}  # fmt: skip
"""How arguments are written: as most models do, so that little is forced upon them. Keywords of schemas that llguidance
does not know are not held to."""

MARKER = re.compile(r"(<[^<>\s]+>|\[/?[A-Z_]+\])")
"""What may be the text of a control token."""


class SpecialTokens(Protocol):
    """What a grammar needs of a tokenizer: control tokens are no text to it."""

    def special_id(self, text: str) -> int | None: ...
    def is_control(self, token_id: int) -> bool: ...


class Lark:
    """Collects rules. Expressions are texts of Lark; "" is an empty one."""

    def __init__(self, tokenizer: SpecialTokens) -> None:
        self._tokenizer = tokenizer
        self._rules: list[str] = []
        self._named: dict[str, str] = {}

    def literal(self, text: str) -> str:
        """A text as it stands; control tokens in it are those tokens."""
        return " ".join(self._piece(piece) for piece in MARKER.split(text) if piece)

    def _piece(self, text: str) -> str:
        token = self._tokenizer.special_id(text)
        if token is not None and self._tokenizer.is_control(token):
            return f"<[{token}]>"
        return json.dumps(text, ensure_ascii=False)

    def rule(self, expression: str, suffix: str = "") -> str:
        """The name of a rule; suffix: a text up to which it goes, and which belongs to it."""
        head = f"[suffix={json.dumps(suffix, ensure_ascii=False)}]" if suffix else ""
        body = f"{head}: {expression}"
        if body not in self._named:
            self._named[body] = f"r{len(self._rules)}"
            self._rules.append(self._named[body] + body)
        return self._named[body]

    def any_of(self, expressions: Sequence[str]) -> str:
        return self.rule(" | ".join(expressions))

    def json(self, schema: object) -> str:
        """A JSON value that meets a schema."""
        plain = dict(schema) if isinstance(schema, Mapping) else {}
        return self.rule("%json " + json.dumps(plain | {"x-guidance": LAYOUT}))

    def members(self, items: Sequence[tuple[str, bool]], separator: str) -> str:
        """Some expressions in order, with a separator between them; those that are not required may be missing."""
        rest, first = "", ""
        between = self.literal(separator)
        for expression, required in reversed(items):
            head, tail = f"{expression} {rest}".strip(), f"{between} {expression} {rest}".strip()
            if not required and first:
                first = self.rule(f"{head} | {first}")
            else:
                first = self.rule(head if required else f"({head})?")
            rest = self.rule(tail if required else f"({tail})?" if not rest else f"{tail} | {rest}")
        return first

    def source(self, start: str) -> str:
        return "\n".join([f"start: {start}", *self._rules]) + "\n"
