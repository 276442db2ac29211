"""A sandbox for the templates of untrusted model files: no access to Python, no endless loop, no exploding string.

jinja2's ImmutableSandboxedEnvironment keeps a template from running code and from changing its arguments; it does not
keep it from spinning or from filling the memory. Here every loop step, call and operator checks a deadline, and all
that can make a string or a list much larger than its parts is measured first. In process: a child costs too much at
start-up. Import this module when a template is at hand, not before: it imports jinja2.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

MAX_TEXT = 1 << 23
"""Characters of any string a template makes, its output included."""
MAX_TEXT_IN_ALL = 1 << 28
"""Characters of all strings that one rendering makes."""
MAX_ITEMS = 1 << 17
"""Elements of any list or dict a template makes, those of its elements included."""
MAX_BITS = 1 << 12
"""Bits of any integer a template makes."""
MAX_WIDTH = 1000
"""Width or precision of a formatted value, and of an indentation."""
SECONDS = 2.0
"""How long a rendering may take."""


_UNBOUNDED = ("pprint", "striptags", "urlize", "wordwrap", "xmlattr")
"""Filters that no prompt needs, and whose time or size no limit can tell beforehand."""
_NOT_CALLED = {
    str: frozenset(("encode", "striptags", "translate", "unescape")),
    int: frozenset(("from_bytes", "to_bytes")),
}
"""Methods for which the same holds: bytes have methods that make gigabytes, a table for `translate` may, too."""


class LimitError(SecurityError):
    """A template went beyond a limit."""


class _Budget:
    """What one rendering may still use."""

    def __init__(self) -> None:
        self.deadline = time.monotonic() + SECONDS
        self.text = MAX_TEXT_IN_ALL


_budget: ContextVar[_Budget] = ContextVar("_budget")


def start_rendering() -> None:
    """Begin a rendering in this thread, with a fresh budget of time and text."""
    _budget.set(_Budget())


def check_clock() -> None:
    """LimitError when the time of this rendering is over."""
    if time.monotonic() > _budget.get().deadline:
        raise LimitError(f"it takes longer than {SECONDS:g} seconds")


def check_text(n_characters: int) -> None:
    """LimitError for a string that would be too long, or one too many."""
    budget = _budget.get()
    budget.text -= n_characters
    if n_characters > MAX_TEXT or budget.text < 0:
        raise LimitError(f"it makes a text of more than {MAX_TEXT} characters, or {MAX_TEXT_IN_ALL} in all")


def check_made(value: Any) -> None:
    """LimitError for what a function or a filter made, if it is too large."""
    if isinstance(value, str):
        check_text(len(value))
    elif isinstance(value, int):
        _bits(value.bit_length())
    elif isinstance(value, list | tuple | dict):
        check_items(value)


def check_items(value: Any) -> None:
    """LimitError for a list, tuple or dict that holds too much.

    A list may hold another twice: forty lines of template make one that takes years to print or to compare.
    """
    n_items, n_text, stack = 0, 0, [value]
    while stack:
        item = stack.pop()
        n_items += 1
        if isinstance(item, str):
            n_text += len(item)
        elif isinstance(item, list | tuple):
            stack += item
        elif isinstance(item, Mapping):
            stack += item.values()
        if n_items > MAX_ITEMS or n_text > MAX_TEXT:
            raise LimitError(f"it makes a list of more than {MAX_ITEMS} elements or {MAX_TEXT} characters")


class Generation(Extension):
    """`{% generation %}`, by which training marks the assistant's words: here its body is rendered, no more."""

    tags = {"generation"}  # noqa: RUF012  jinja2 declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The body of the tag."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """The environment of chat templates: that of transformers (`apply_chat_template`), within limits."""

    intercepted_binops = frozenset(("*", "**", "+", "%"))

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation])
        del self.globals["lipsum"]
        for name in _UNBOUNDED:
            del self.filters[name]
        self.filters |= {"join": _join, "sum": _sum}
        self.globals["namespace"] = _Namespace
        for name, function in self.filters.items():
            self.filters[name] = _measured(function, None if name == "join" else _SIZES.get(name))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Instrument().visit(super()._parse(source, name, filename))
        tree.set_environment(self)
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Operators that can explode: repetition, power, concatenation, formatting."""
        check_clock()
        _OPERATORS[operator](left, right)
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, list | tuple):
            check_items(result)
        return result

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls of functions, macros and methods."""
        check_clock()
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str) and (size := _SIZES.get(getattr(__obj, "__name__", ""))) is not None:
            check_text(size(owner, *args, **kwargs))
        result = super().call(__context, __obj, *args, **kwargs)
        check_made(result)
        return result

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Beside what jinja2 finds unsafe: what is not bounded."""
        return super().is_safe_attribute(obj, attr, value) and not any(
            isinstance(obj, kind) and attr in names for kind, names in _NOT_CALLED.items()
        )

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`str.format` and `str.format_map`, at the door that jinja2 has for them."""
        inner = super().wrap_str_format(value)
        if inner is None:
            return None
        text: str = value.__self__

        def wrapper(*args: Any, **kwargs: Any) -> str:
            if re.search(r"\{[^{}]*[:!][^{}]*\{", text):
                raise LimitError("it takes the width of a field from a value")
            check_text(_formatted_size(text, text.count("{"), (*args, *kwargs.values())))
            return inner(*args, **kwargs)

        return wrapper

    def ticking(self, items: Iterable[Any]) -> Iterator[Any]:
        """What a loop runs over; checks the clock at every step."""
        for item in items:
            check_clock()
            yield item

    def weighed(self, value: Any) -> Any:
        """A list, tuple or dict as a template writes it."""
        check_items(value)
        return value

    def joined(self, *parts: Any) -> str:
        """The operator `~`."""
        return self.concat(map(str, parts))

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """What macros, `{% set %}` blocks and filter blocks gather."""
        check_clock()
        gathered, size = [], 0
        for part in parts:
            size += len(part)
            if size > MAX_TEXT:
                break
            gathered.append(part)
        check_text(size)
        return "".join(gathered)


class _Instrument(NodeTransformer):
    """Puts the environment's checks into loops, container literals and `~`."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _check("ticking", node.iter)
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:
        return _check("weighed", self.generic_visit(node))

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return _check("weighed", node) if node.ctx == "load" else node

    visit_Dict = visit_List

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _check("joined", *node.nodes)


def _check(method: str, *args: Any) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(method), list(args), [], None, None, lineno=args[0].lineno)


def _measured(function: Callable[..., Any], size: Callable[..., int] | None) -> Callable[..., Any]:
    """A filter that checks the clock, and its result before and after it is made."""
    marker = getattr(function, "jinja_pass_arg", None)

    def measured(*args: Any, **kwargs: Any) -> Any:
        check_clock()
        if size is not None:
            check_text(size(*(args[1:] if marker else args), **kwargs))
        result = function(*args, **kwargs)
        check_made(result)
        return result

    if marker is not None:
        measured.jinja_pass_arg = marker  # type: ignore[attr-defined]
    return measured


def _join(value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    from jinja2.filters import make_attrgetter

    items = map(make_attrgetter(_ATTRIBUTES, attribute), value) if attribute is not None else value
    parts, size = [], 0
    for item in items:
        parts.append(str(item))
        size += len(parts[-1]) + len(d)
        check_text(len(parts[-1]) + len(d))
    check_text(size)
    return str(d).join(parts)


def _sum(iterable: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:
    from jinja2.filters import make_attrgetter

    total = start
    for item in map(make_attrgetter(_ATTRIBUTES, attribute), iterable) if attribute is not None else iterable:
        check_clock()
        _add(total, item)
        total = total + item
        check_made(total)
    return total


_ATTRIBUTES = ImmutableSandboxedEnvironment()


class _Namespace(Namespace):
    """That of transformers: no names with an underscore in front."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        for name in dict(*args[1:], **kwargs):
            _check_name(name)
        Namespace.__init__(*args, **kwargs)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace takes no names that begin with an underscore: {name!r:.60}")


def _bounded(value: Any, most: int, what: str) -> int:
    if isinstance(value, int) and value > most:
        raise LimitError(f"it asks for {what} of {value}, at most {most} is given")
    return int(value) if isinstance(value, int) else 0


def _width(text: Any, width: Any = 80, *_: Any, **named: Any) -> int:
    return len(str(text)) + _bounded(named.get("width", width), MAX_TEXT, "a width")


def _indented(text: Any, width: Any = 4, *_: Any, **named: Any) -> int:
    n = len(width) if isinstance(width, str) else _bounded(width, MAX_WIDTH, "an indentation")
    return len(str(text)) + n * (str(text).count("\n") + 1)


def _replaced(text: Any, old: Any = "", new: Any = "", *_: Any, **named: Any) -> int:
    text, old = str(text), str(old)
    return len(text) + (text.count(old) if old else len(text) + 1) * len(str(new))


def _tabs(text: str, tabsize: int = 8) -> int:
    return len(text) + text.count("\t") * _bounded(tabsize, MAX_WIDTH, "a width")


def _rows(_: Any, n: Any = 1, *more: Any, **named: Any) -> int:
    return _bounded(max((v for v in (n, *named.values()) if isinstance(v, int)), default=0), MAX_ITEMS, "a row")


def _rounded(_: Any, precision: Any = 0, *more: Any, **named: Any) -> int:
    return _bounded(precision, 300, "a precision")


def _joined(separator: str, items: Iterable[Any]) -> int:
    # a generator cannot be looked into without using it up; what `map` and `select` yield was measured one by one
    return sum(len(str(item)) + len(separator) for item in items) if isinstance(items, list | tuple | str) else 0


def _percent(text: Any, *args: Any, **named: Any) -> int:
    if "*" in str(text):
        raise LimitError("it takes the width of a field from a value")
    return _formatted_size(str(text), str(text).count("%"), (*args, *named.values()))


def _formatted_size(text: str, n_fields: int, args: tuple[Any, ...]) -> int:
    if any(int(digits) > MAX_WIDTH for digits in re.findall(r"\d{4,20}", text)) or re.search(r"\d{21}", text):
        raise LimitError(f"it asks for a field wider than {MAX_WIDTH}")
    return len(text) + n_fields * (MAX_WIDTH + max((len(str(arg)) for arg in args), default=0))


_SIZES: dict[str, Callable[..., int]] = {
    "center": _width,
    "ljust": _width,
    "rjust": _width,
    "zfill": _width,
    "expandtabs": _tabs,
    "indent": _indented,
    "replace": _replaced,
    "format": _percent,
    "join": _joined,
    "batch": _rows,
    "slice": _rows,
    "round": _rounded,
}
"""Filters and methods of str: how many characters they will make, at most."""


def _multiply(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _bits(left.bit_length() + right.bit_length())
    for sequence, count in ((left, right), (right, left)):
        if isinstance(count, int) and isinstance(sequence, str):
            check_text(len(sequence) * max(count, 0))
        elif isinstance(count, int) and isinstance(sequence, list | tuple) and len(sequence) * count > MAX_ITEMS:
            raise LimitError(f"it makes a list of more than {MAX_ITEMS} elements")


def _power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _bits(left.bit_length() * max(right, 0))


def _bits(n_bits: int) -> None:
    if n_bits > MAX_BITS:
        raise LimitError(f"it makes a number of more than {MAX_BITS} bits")


def _add(left: Any, right: Any) -> None:
    if isinstance(left, str) and isinstance(right, str):
        check_text(len(left) + len(right))


def _remainder(left: Any, right: Any) -> None:
    if isinstance(left, str):
        check_text(_percent(left, *(right if isinstance(right, tuple) else (right,))))


_OPERATORS: dict[str, Callable[[Any, Any], None]] = {"*": _multiply, "**": _power, "+": _add, "%": _remainder}
