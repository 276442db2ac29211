"""Building blocks of Lark grammars for whole answers: free text with calls of tools in it.

Free text ends where a call begins: llguidance takes a `lazy` lexeme as soon as it is complete, so from "<tool_call>" on
nothing but a call can follow (docs/syntax.md and docs/toolcalls.md of llguidance).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from localllm.generate.grammar_input import Grammar
from localllm.generate.grammar_source import LAYOUT

_LARGEST = 1_000
"""Repetitions that are counted."""


class MarkerTokenizer(Protocol):
    """What markers need of a tokenizer (localllm.text's Tokenizer is one)."""

    def cut_control(self, text: str) -> list[str | int]: ...


@dataclass(frozen=True)
class Call:
    """One way to call a tool: `begin`, the text that it begins with, and `body`, a Lark expression of what follows."""

    begin: str
    body: str


def quoted(text: str) -> str:
    """A text as a literal of Lark's."""
    return json.dumps(text)


def written(tokenizer: MarkerTokenizer, text: str) -> str:
    """The Lark expression of a text of a model's format, such as '<|im_end|>' or '<tool_call>': control tokens in it
    stand for themselves, since no text of an answer can spell them; all else is a literal."""
    return " ".join(map(_expression, tokenizer.cut_control(text)))


def _expression(part: str | int) -> str:
    return f"<[{part}]>" if isinstance(part, int) else quoted(part)


def json_of(schema: Mapping[str, Any] | bool, layout: Mapping[str, Any] = LAYOUT) -> str:
    """The Lark expression of JSON that meets a schema. layout: options of llguidance ("x-guidance"); lenient=True
    leaves out what of the schema it does not know."""
    value = dict(schema) if isinstance(schema, Mapping) else {} if schema else {"not": {}}
    return f"%json {json.dumps(value | {'x-guidance': dict(layout)})}"


def answer_with_calls(
    tokenizer: MarkerTokenizer,
    calls: Sequence[Call],
    *,
    at_least: int = 0,
    at_most: int | None = None,
    text: bool = True,
    rules: str = "",
) -> Grammar:
    """An answer of free text with calls in it.

    at_least, at_most: calls (None: any number). text: False for nothing but calls, and white space between them. rules:
    further rules, lines of Lark that the bodies refer to (no names with "call_", "head_", "begin_" or "free_").
    Raises GrammarError when it is compiled, not here.
    """
    begins = list(dict.fromkeys(call.begin for call in calls))
    lines = [f"start: {_times(' | '.join(f'call_{i}' for i in range(len(begins))), at_least, at_most)} free_tail?"]
    lines += ["FREE_TEXT: /(?s:.+)/" if text else r"FREE_TEXT: /\s+/", "free_tail: FREE_TAIL"]
    # Once there may be no more calls, what looks like one would be taken for one.
    lines.append(
        "FREE_TAIL: FREE_TEXT" + "".join(_without(tokenizer, begin) for begin in begins if at_most is not None)
    )
    for i, begin in enumerate(begins):
        bodies = " | ".join(f"({call.body})" for call in calls if call.begin == begin)
        lines += [*_head(tokenizer, i, begin, text), f"call_{i}: head_{i} ({bodies})"]
    return Grammar("lark", "\n".join([*lines, rules, ""]))


def _head(tokenizer: MarkerTokenizer, i: int, begin: str, text: bool) -> Iterator[str]:
    """Rules of free text up to and including the beginning of a call."""
    first, *rest = tokenizer.cut_control(begin)
    if isinstance(first, int) or not text:
        yield f"head_{i}: FREE_TEXT? {written(tokenizer, begin)}"
        return
    yield f"begin_{i}[lazy]: FREE_TEXT? {quoted(first)}"
    yield f"head_{i}: {' '.join([f'begin_{i}', *map(_expression, rest)])}"


def _without(tokenizer: MarkerTokenizer, begin: str) -> str:
    first = tokenizer.cut_control(begin)[0]
    return "" if isinstance(first, int) else f" & ~(/(?s:.*)/ {quoted(first)} /(?s:.*)/)"


def _times(what: str, at_least: int, at_most: int | None) -> str:
    if at_most is None:
        return f"({what}){{{at_least},}}" if at_least else f"({what})*"
    return f"({what}){{{at_least},{min(at_most, _LARGEST)}}}"
