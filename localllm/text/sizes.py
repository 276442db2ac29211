"""How large the results of filters, methods and operators of templates will be, told from their arguments.

Each function takes the arguments of what it stands for, and gives the number of characters of its result, at most; 0
where there is another reason to look. It raises LimitError where the work itself would be too much.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from localllm.text.limits import (
    MAX_COMPARED,
    MAX_ITEMS,
    MAX_LONG,
    MAX_TEXT,
    MAX_WIDTH,
    LimitError,
    check_bits,
    check_count,
    check_length,
)

Size = Callable[..., int]


def _bounded(value: Any, most: int, what: str) -> int:
    if isinstance(value, int) and value > most:
        raise LimitError(f"it asks for {what} of more than {most}")
    return int(value) if isinstance(value, int) else 0


def _width(text: Any, width: Any = 80, *_: Any, **named: Any) -> int:
    return len(str(text)) + _bounded(named.get("width", width), MAX_TEXT, "a width")


def _indented(text: Any, width: Any = 4, *_: Any, **named: Any) -> int:
    width = named.get("width", width)
    n = len(width) if isinstance(width, str) else _bounded(width, MAX_WIDTH, "an indentation")
    _pieces(text)
    return len(str(text)) + n * (str(text).count("\n") + 1)


def _replaced(text: Any, old: Any = "", new: Any = "", *_: Any, **named: Any) -> int:
    text, old, new = str(text), str(named.get("old", old)), str(named.get("new", new))
    return len(text) + (text.count(old) if old else len(text) + 1) * len(new)


def _tabs(text: str, tabsize: int = 8) -> int:
    return len(text) + text.count("\t") * _bounded(tabsize, MAX_WIDTH, "a width")


def _rows(value: Any, n: Any = 1, *more: Any, **named: Any) -> int:
    _letters(value)
    return _bounded(max((v for v in (n, *named.values()) if isinstance(v, int)), default=0), MAX_ITEMS, "a row")


def _rounded(_: Any, precision: Any = 0, *more: Any, **named: Any) -> int:
    return _bounded(named.get("precision", precision), 300, "a precision")


def _escaped(text: Any, *_: Any) -> int:
    letters = str(text)
    return len(letters) + 5 * sum(map(letters.count, "&<>'\""))


def _quoted(text: Any, *_: Any, **named: Any) -> int:
    if isinstance(text, str):
        check_length(len(text), MAX_LONG)
    return 0


def _pieces(text: Any, *_: Any, **named: Any) -> int:
    """Words or lines: objects each."""
    check_length(len(str(text)), MAX_LONG)
    return 0


def _parts(text: Any, sep: Any = None, maxsplit: Any = -1) -> int:
    """str.split."""
    if isinstance(sep, str) and sep:
        check_count(
            text.count(sep) if not isinstance(maxsplit, int) or maxsplit < 0 else min(text.count(sep), maxsplit)
        )
        return 0
    return _pieces(text) if not isinstance(maxsplit, int) or not 0 <= maxsplit < MAX_ITEMS else 0


def _parts_backwards(text: Any, sep: Any = None, maxsplit: Any = -1) -> int:
    _found_backwards(text, sep)
    return _parts(text, sep, maxsplit)


def _found_backwards(text: Any, sought: Any = "", *_: Any) -> int:
    """CPython searches backwards by comparing at each place, and strips by looking for each character."""
    if isinstance(sought, str) and len(sought) * len(str(text)) > MAX_COMPARED:
        raise LimitError(f"it makes {MAX_COMPARED} comparisons or more in one search")
    return 0


def _trimmed(text: Any, chars: Any = None, *_: Any, **named: Any) -> int:
    return _found_backwards(text, named.get("chars", chars))


def _letters(value: Any, *_: Any, **named: Any) -> int:
    """A text that is taken as a list of its letters."""
    if isinstance(value, str):
        check_count(len(value))
    return _path(named.get("attribute"))


def _path(attribute: Any) -> int:
    if isinstance(attribute, str) and attribute.count(".") > 100:
        raise LimitError("it goes along a path of more than 100 attributes")
    return 0


def _grouped(value: Any, attribute: Any = None, *_: Any, **named: Any) -> int:
    return _letters(value, attribute=named.get("attribute", attribute))


def _sorted(value: Any, reverse: Any = False, case_sensitive: Any = False, attribute: Any = None, **named: Any) -> int:
    return _letters(value, attribute=named.get("attribute", attribute))


def _percent(text: Any, *args: Any, **named: Any) -> int:
    if "*" in str(text):
        raise LimitError("it takes the width of a field from a value")
    return formatted(str(text), str(text).count("%"), (*args, *named.values()))


def formatted(text: str, n_fields: int, args: tuple[Any, ...]) -> int:
    """Of a text with so many fields for values."""
    if any(int(digits) > MAX_WIDTH for digits in re.findall(r"\d{4,20}", text)) or re.search(r"\d{21}", text):
        raise LimitError(f"it asks for a field wider than {MAX_WIDTH}")
    return len(text) + n_fields * (MAX_WIDTH + max((len(str(arg)) for arg in args), default=0))


def takes_width_from_value(text: str) -> bool:
    """Whether a field of `str.format` has another in its format: `{:{}}`. In one pass: a regular expression would
    begin anew at each brace."""
    depth = 0
    for brace in re.finditer("[{}]", text.replace("{{", "").replace("}}", "")):
        depth += 1 if brace[0] == "{" else -depth
        if depth > 1:
            return True
    return False


FILTERS: dict[str, Size] = {
    "center": _width,
    "indent": _indented,
    "replace": _replaced,
    "format": _percent,
    "batch": _rows,
    "slice": _rows,
    "round": _rounded,
    "escape": _escaped,
    "e": _escaped,
    "forceescape": _escaped,
    "urlencode": _quoted,
    "title": _pieces,
    "wordcount": _pieces,
    "trim": _trimmed,
    "list": _letters,
    "sort": _sorted,
    "unique": _sorted,
    "groupby": _grouped,
    "selectattr": _grouped,
    "rejectattr": _grouped,
    **dict.fromkeys(("min", "max", "map"), _letters),
}
METHODS: dict[str, Size] = {
    "center": _width,
    "ljust": _width,
    "rjust": _width,
    "zfill": _width,
    "expandtabs": _tabs,
    "replace": _replaced,
    "split": _parts,
    "rsplit": _parts_backwards,
    "splitlines": _pieces,
    **dict.fromkeys(("rfind", "rindex", "rpartition"), _found_backwards),
    **dict.fromkeys(("strip", "lstrip", "rstrip"), _trimmed),
}
"""Of str."""


def _multiply(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        check_bits(left.bit_length() + right.bit_length())
    for sequence, count in ((left, right), (right, left)):
        if isinstance(count, int) and isinstance(sequence, str):
            check_length(len(sequence) * max(count, 0))
        elif isinstance(count, int) and isinstance(sequence, list | tuple):
            check_count(len(sequence) * count)


def _power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        check_bits(left.bit_length() * max(right, 0))


def _add(left: Any, right: Any) -> None:
    if isinstance(left, str) and isinstance(right, str):
        check_length(len(left) + len(right))


def _remainder(left: Any, right: Any) -> None:
    if isinstance(left, str):
        check_length(_percent(left, *(right if isinstance(right, tuple) else (right,))))


def _any(left: Any, right: Any) -> None:
    """No larger than its parts."""


OPERATORS: dict[str, Callable[[Any, Any], None]] = {
    "*": _multiply,
    "**": _power,
    "+": _add,
    "%": _remainder,
    "-": _any,
    "/": _any,
    "//": _any,
}
