"""Chat templates in the sandbox: rendered with messages and tools, or refused; within its limits of time and size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from localllm.text import limits
from localllm.text.template import ChatTemplate
from tests.fuzz.mutators import of_text
from tests.fuzz.target import Finding, Target

_MODELS = Path(__file__).parent.parent / "text" / "templates"
_WORDS = (
    "{{", "}}", "{%", "%}", "{%-", "-%}", "{#", "#}", "{{-", "for ", " in ", "endfor", "if ", "else", "endif", "set ",
    "macro m(x)", "endmacro", "call", "filter ", "endfilter", "set ns = namespace(x=1)", "generation", "break",
    "continue", "messages", "tools", "loop.index", "loop.last", "add_generation_prompt", "raise_exception('x')",
    "strftime_now('%Y')", "range(99999)", "'x' * 999999", "['a'] * 99999", "2 ** 9999", "recursive", "loop(messages)",
    "cycler", "joiner", "lipsum()", "|tojson", "|join(',')", "|list", "|length", "|replace('a', 'bb')",
    "|map('upper')", "|map(attribute='x')", "|sum", "|selectattr('role')", "|batch(3)", "|slice(3)",
    "|groupby('role')", "|format(1)", "|indent(9)", "|center(999)", "|sort", "|unique", "|reverse", "|string", "|int",
    "|float", "|round(2)", "|trim", "|default(x)", "|attr('x')", "|e", ".__class__", ".__mro__", "['__init__']",
    ".__globals__", ".format", "'{0.__class__}'.format(1)", "'%99999d' % 1", ".split('\\n')", ".items()", ".get('a')",
    ".strip()", ".upper()", ".startswith('a')", ".append(1)", ".update({})", "is defined", "is string", "is mapping",
    "not ", " and ", " or ", "~", "//", "%", "**", "[::-1]", "[0]", "include 'x'", "import 'x' as y", "extends 'x'",
    "block b", "autoescape true", "self", "caller()", "varargs", "kwargs", "dict(a=1)",
)  # fmt: skip
_MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "hi\n"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}],
    },
    {"role": "tool", "content": "1", "name": "f"},
    {"role": "user", "content": "bye"},
]
_TOOLS = [
    {
        "type": "function",
        "function": {"name": "f", "description": "", "parameters": {"type": "object", "properties": {}}},
    }
]


def seeds() -> Iterator[bytes]:
    yield b"{% for m in messages %}{{ m.role ~ ': ' ~ m['content'] | trim }}{% endfor %}"
    for path in sorted(_MODELS.glob("*.jinja"))[::4]:
        if 0 < path.stat().st_size < 4096:
            yield path.read_bytes()


def run(data: bytes) -> None:
    template = ChatTemplate(data.decode("utf-8", "replace"), "<s>", "</s>")
    text = template.render(_MESSAGES, tools=_TOOLS)
    if len(text) > limits.MAX_TEXT:
        raise Finding(f"wrote {len(text)} characters")
    if "0x7f" in text and " at 0x" in text:
        raise Finding(f"shows an address of this process: {text!r:.200}")


# A rendering may take limits.SECONDS, of its thread, and less than a second beyond them.
TARGET = Target(seeds, run, of_text(_WORDS), max_len=8192, seconds=limits.SECONDS + 1)
