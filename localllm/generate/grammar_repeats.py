"""How long a regular expression gets once its repetitions are written out.

llguidance keeps them short, but what a text of a million given characters takes is paid when it is read: seconds, and
hundreds of megabytes.
"""

from __future__ import annotations

import re

from localllm.errors import GrammarError

MAX_LENGTH = 100_000
"""Characters, of all regular expressions of a grammar."""

_COUNT = re.compile(r"\{(\d{1,9})(?:,(\d{0,9}))?\}")
_ESCAPE = re.compile(r"\\(?:[pPxuU]\{[^}]*\}|.)", re.DOTALL)
_CLASS = re.compile(r"\[\^?\]?(?:\\.|\[:[^:\]]*:\]|[^\]\\])*\]", re.DOTALL)
_GROUP = re.compile(r"\((?:\?(?:P?<\w+>|[a-zA-Z-]*:|[a-zA-Z-]+(?=\))))?")

_LARK = re.compile(
    r"(?P<comment>//[^\n]*|\#[^\n]*|\s+)"
    r"|(?P<string>\"(?:\\.|[^\"\\\n])*\")"
    r"|(?P<regex>/(?:\\.|[^/\\\n])+/)"
    r"|(?P<name>[A-Za-z_][\w-]*)"
)


def written_out(regex: str) -> int:
    """Characters of a regular expression that may be a part of an answer at once, an upper bound."""
    lengths, last, at = [0], 0, 0
    while at < len(regex):
        c = regex[at]
        if c == "(":
            found = _GROUP.match(regex, at)
            lengths.append(0)
        elif c == ")" and len(lengths) > 1:
            last, found = lengths.pop(), None
            lengths[-1] += last
        elif c == "{" and (found := _COUNT.match(regex, at)):
            times = max(int(found[1]), int(found[2] or 0), 1)
            lengths[-1] += last * (times - 1)
            last *= times
        else:
            found = (_ESCAPE if c == "\\" else _CLASS).match(regex, at) if c in "\\[" else None
            last = 0 if c in "|*+?^$" else 1
            lengths[-1] += last
        at = found.end() if found else at + 1
    return sum(lengths)


def written_out_lark(lark: str) -> int:
    """The same of a Lark grammar without schemas; what its names stand for is not followed."""
    return written_out(_LARK.sub(_as_regex, lark))


def _as_regex(found: re.Match[str]) -> str:
    kind, text = found.lastgroup, found[0]
    if kind == "string":
        return "(" + "x" * (len(text) - 2) + ")"
    return f"({text[1:-1]})" if kind == "regex" else "x" if kind == "name" else ""


def check_written_out(name: str, where: str, length: int) -> None:
    """Raise GrammarError for more than MAX_LENGTH."""
    if length > MAX_LENGTH:
        raise GrammarError(name, where, f"its repetitions make more than {MAX_LENGTH} characters")
