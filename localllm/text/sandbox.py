"""A sandbox for the templates of untrusted model files: no access to Python, no endless loop, no exploding string.

jinja2's ImmutableSandboxedEnvironment keeps a template from running code and from changing its arguments; it does not
keep it from spinning or from filling the memory. Here every loop step, call, comparison, filter and operator checks a
deadline, all that can make a string or a list much larger than its parts is measured first (localllm.text.sizes), and
what was made is counted (localllm.text.limits). Nothing is computed while a template is compiled, and its length in
tokens bounds what compiling takes. In process: a child costs too much at start-up. Import this module when a template
is at hand, not before: it imports jinja2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from types import GeneratorType
from typing import Any

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Namespace
from jinja2.visitor import NodeTransformer
from markupsafe import Markup, escape

from localllm.text.limits import (
    MAX_DEPTH,
    MAX_TEXT,
    MAX_TOKENS,
    LimitError,
    charge,
    check_bits,
    check_clock,
    check_count,
    check_items,
    check_length,
    check_made,
)
from localllm.text.sizes import FILTERS, METHODS, OPERATORS, Size, formatted, takes_width_from_value

_UNBOUNDED = ("pprint", "striptags", "urlize", "wordwrap", "xmlattr")
"""Filters that no prompt needs, and whose time or size no limit can tell beforehand."""
_SCOPES = ("_block_vars", "_loop_vars")
"""What jinja2 hands on with a call, for what wants the context."""
_NOT_CALLED = {
    str: frozenset(("encode", "maketrans", "striptags", "translate", "unescape")),
    int: frozenset(("from_bytes", "to_bytes")),
}
"""Methods for which the same holds: bytes have methods that make gigabytes, a table for `translate` may, too."""


class Generation(Extension):
    """`{% generation %}`, by which training marks the assistant's words: here its body is rendered, no more."""

    tags = {"generation"}  # noqa: RUF012  jinja2 declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The body of the tag."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        """All tokens, unless there are too many: what comes after takes time and memory by their number, some of it by
        its square."""
        for n, token in enumerate(stream):
            if n >= MAX_TOKENS:
                raise LimitError(f"it has more than {MAX_TOKENS} words and signs")
            yield token


class _Code(CodeGenerator):
    """Leaves to the rendering what could be computed before it: only there it is counted."""

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: Any) -> str:
        check_clock()
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible
        return super()._output_child_to_const(node, frame, finalize)

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        if frame.eval_ctx.volatile:
            self.write("(environment.escaped if context.eval_ctx.autoescape else str)(")
        else:
            self.write("environment.escaped(" if frame.eval_ctx.autoescape else "str(")

    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:
        """Calls of the environment's own checks are none of the template's."""
        if not isinstance(node.node, nodes.EnvironmentAttribute):
            super().visit_Call(node, frame, forward_caller=forward_caller)
            return
        self.write(f"environment.{node.node.name}(")
        for arg in node.args:
            self.visit(arg, frame)
            self.write(", ")
        self.write(")")


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """The environment of chat templates: that of transformers (`apply_chat_template`), within limits."""

    intercepted_binops = frozenset(OPERATORS)
    code_generator_class = _Code

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation], optimized=False)
        del self.globals["lipsum"]
        for name in _UNBOUNDED:
            del self.filters[name]
        self.filters |= {"join": _join, "sum": _sum}
        self.globals |= {"namespace": _Namespace, "cycler": _cycler}
        filters: dict[str, Any] = {**self.filters}
        tests: dict[str, Any] = {**self.tests}
        self.filters = {name: _measured(function, FILTERS.get(name)) for name, function in filters.items()}
        self.tests = {name: _measured(function, None) for name, function in tests.items()}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Instrument().visit(super()._parse(source, name, filename))
        tree.set_environment(self)
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Operators that can explode: repetition, power, concatenation, formatting."""
        check_clock()
        OPERATORS[operator](left, right)
        _check_escapes(left, right)
        result = super().call_binop(context, operator, left, right)
        check_made(result)
        return result

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls of functions, macros and methods."""
        check_clock()
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            kwargs = {key: value for key, value in kwargs.items() if key not in _SCOPES}
            name = getattr(__obj, "__name__", "")
            if name == "join":
                text = owner.join(_texts(owner, *args, **kwargs))
                check_made(text)
                return text
            if name in METHODS:
                check_length(METHODS[name](owner, *args, **kwargs))
            _check_escapes(owner, *args, *kwargs.values())
        elif isinstance(__obj, LoopContext) and args:
            args = (__self.ticking(args[0]), *args[1:])
        result = super().call(__context, __obj, *args, **kwargs)
        check_made(result)
        return result

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Also each step along the path of `map(attribute="a.b.c")`."""
        check_clock()
        return super().getitem(obj, argument)

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
            if takes_width_from_value(text):
                raise LimitError("it takes the width of a field from a value")
            check_length(formatted(text, text.count("{"), (*args, *kwargs.values())))
            return inner(*args, **kwargs)

        return wrapper

    def ticking(self, items: Iterable[Any]) -> Iterator[Any]:
        """What a loop runs over; checks the clock at every step."""
        if isinstance(items, str):
            check_count(len(items))
        for item in items:
            check_clock()
            yield item

    def weighed(self, value: Any) -> Any:
        """A list, tuple or dict as a template writes it, or as a macro gets it."""
        check_items(value)
        return value

    def sliced(self, value: Any) -> Any:
        """What `[begin:end]` gives: no deeper than what it was cut from."""
        check_clock()
        charge(sys.getsizeof(value))
        return value

    def compared(self, value: Any) -> Any:
        """What a comparison looks at."""
        check_clock()
        return value

    def spread(self, value: Any) -> Any:
        """What stands behind `*` or `**` in a call."""
        if hasattr(value, "__len__"):
            check_count(len(value))
        return value

    def escaped(self, value: Any) -> str:
        """What `{% autoescape true %}` makes of an expression."""
        check_length(FILTERS["escape"](value))
        return escape(value)

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
        check_length(size)
        text = "".join(gathered)
        charge(sys.getsizeof(text))
        return text


class _Instrument(NodeTransformer):
    """Puts the environment's checks into the tree of a template."""

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

    def visit_Name(self, node: nodes.Name) -> nodes.Node:
        """A macro gets what it has no parameters for as a tuple and a dict."""
        return _check("weighed", node) if node.ctx == "load" and node.name in ("varargs", "kwargs") else node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _check("joined", *node.nodes)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        return _check("sliced", node) if isinstance(node.arg, nodes.Slice) else node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _check("compared", node.expr)
        for operand in node.ops:
            operand.expr = _check("compared", operand.expr)
        return node

    def visit_Const(self, node: nodes.Const) -> nodes.Node:
        if isinstance(node.value, int):
            check_bits(node.value.bit_length())
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        self.generic_visit(node)
        for part in ("dyn_args", "dyn_kwargs"):
            if (given := getattr(node, part)) is not None:
                setattr(node, part, _check("spread", given))
        return node

    visit_Filter = visit_Test = visit_Call


def _check(method: str, *args: Any) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(method), list(args), [], None, None, lineno=args[0].lineno)


def _check_escapes(*values: Any) -> None:
    """Where one is marked as safe in HTML (`|safe`), the others are escaped: a letter becomes six."""
    if any(isinstance(value, Markup) for value in values):
        check_length(6 * sum(len(value) for value in values if isinstance(value, str)))


class _Lazy:
    """What `map` and its like give, one by one."""

    __slots__ = ("_depth", "_items")

    def __init__(self, items: Iterator[Any], depth: int) -> None:
        self._items, self._depth = items, depth

    def __iter__(self) -> _Lazy:
        return self

    def __next__(self) -> Any:
        check_clock()
        return next(self._items)

    def __repr__(self) -> str:
        return "<generator object>"


def _measured(function: Callable[..., Any], size: Size | None) -> Callable[..., Any]:
    """A filter, or a test, that checks the clock, and its result before and after it is made."""
    marker = getattr(function, "jinja_pass_arg", None)

    def measured(*args: Any, **kwargs: Any) -> Any:
        check_clock()
        if size is not None:
            check_length(size(*(args[1:] if marker else args), **kwargs))
        result = function(*args, **kwargs)
        if isinstance(result, GeneratorType):
            return _lazy(result, (*args, *kwargs.values()))
        check_made(result)
        return result

    if marker is not None:
        measured.jinja_pass_arg = marker  # type: ignore[attr-defined]
    return measured


def _lazy(items: Iterator[Any], args: Iterable[Any]) -> _Lazy:
    depth = 1 + max((arg._depth for arg in args if isinstance(arg, _Lazy)), default=0)
    if depth > MAX_DEPTH:
        raise LimitError(f"it has more than {MAX_DEPTH} filters wait for one another")
    return _Lazy(items, depth)


def _texts(separator: str, items: Iterable[Any]) -> list[Any]:
    """What is to be joined, once it is certain that the result is not too long."""
    parts: list[Any] = []
    size, most = 0, MAX_TEXT // (6 if isinstance(separator, Markup) else 1)
    for item in TemplateSandbox.ticking(_ENVIRONMENT, items):
        parts.append(item)
        size += len(separator) + (len(item) if isinstance(item, str) else 0)
        check_length(size, most)
        check_count(len(parts))
    return parts


def _join(value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    from jinja2.filters import make_attrgetter

    items = map(make_attrgetter(_ENVIRONMENT, attribute), value) if attribute is not None else value
    return str(d).join(_texts(str(d), map(str, TemplateSandbox.ticking(_ENVIRONMENT, items))))


def _sum(iterable: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:
    from jinja2.filters import make_attrgetter

    total = start
    for item in map(make_attrgetter(_ENVIRONMENT, attribute), iterable) if attribute is not None else iterable:
        check_clock()
        OPERATORS["+"](total, item)
        total = total + item
        check_made(total)
    return total


def _cycler(*items: Any) -> Cycler:
    check_items(items)
    return Cycler(*items)


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


_ENVIRONMENT = TemplateSandbox()
"""By which `join` and `sum` reach the attributes of what they get."""
