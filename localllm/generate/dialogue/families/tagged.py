"""Calls with a tag for each argument, as Qwen3-Coder, Qwen 3.5 and Seed-OSS write them (llama.cpp:
parsers/qwen3-coder.cpp):

<tool_call>
<function=name>
<parameter=argument>
value
</parameter>
</function>
</tool_call>

Seed-OSS has <seed:tool_call> around them, and no line feeds around values.
"""

from __future__ import annotations

import regex

from localllm.generate.dialogue.families.json_calls import closing
from localllm.generate.dialogue.reader import Markers, Step
from localllm.generate.dialogue.turn import Turn, escaped, json_text
from localllm.generate.dialogue.values import as_json, is_text

_NAME = regex.compile(r"[^<>\s]{1,128}")
_PARAMETER_END = Markers(["</parameter>"])


def read(turn: Turn, outer: str = "tool_call", line: str = "\n") -> Step[None]:
    """One call; its outer tags may be missing. line: what stands around values."""
    yield from turn.accept(f"<{outer}>")
    yield from turn.space()
    if not (yield from turn.accept("<function=")):
        return
    name = yield from turn.match(_NAME)
    if not turn.knows(name) or not (yield from turn.accept(">")):
        return
    turn.begin(name)
    writer = Arguments(turn, name, line)
    while (yield from turn.after_space("<parameter=")):
        yield from turn.space()
        yield from turn.accept("<parameter=")
        argument = yield from turn.match(_NAME)
        yield from turn.accept(">")
        yield from turn.accept(line)
        if not (yield from _value(turn, writer, argument)):
            return
    if not turn.ended or (yield from turn.after_space("</function>")):
        writer.finish()
    yield from closing(turn, "</function>")
    yield from closing(turn, f"</{outer}>")


def _value(turn: Turn, writer: Arguments, argument: str) -> Step[bool]:
    """One value up to its end tag, which counts only where another tag follows; False if the text ends before."""
    writer.begin(argument)
    while (yield from turn.until(_PARAMETER_END, writer.text, keep_space=True)):
        if (yield from turn.followed("</parameter>", "<parameter=", "</function>")):
            yield from turn.accept("</parameter>")
            writer.end()
            return True
        writer.text(turn.take(len("</parameter>")))
    return False


class Arguments:
    """Writes the arguments of a call, one after the other, as a JSON object.

    `line`: values stand on lines of their own: a last line feed belongs to the end tag.
    """

    def __init__(self, turn: Turn, name: str, line: str = "") -> None:
        self._turn, self._line = turn, line
        self._properties = turn.properties(name)
        self._n = 0
        self._held = ""
        self._schema: object = None
        self._is_text = False

    def begin(self, argument: str, is_plain: bool | None = None) -> None:
        """The value of `argument` follows. is_plain: it is a text, or not, whatever the schema says."""
        self._turn.arguments(("{" if self._n == 0 else ", ") + json_text(argument) + ": ")
        self._schema = self._properties.get(argument)
        self._is_text = is_text(self._schema) if is_plain is None else is_plain
        self._n += 1
        self._held = ""
        if self._is_text:
            self._turn.arguments('"')

    def text(self, piece: str) -> None:
        """A piece of the value. A text goes out at once."""
        self._held += piece
        if self._is_text:
            end = len(self._held.removesuffix(self._line))
            self._turn.arguments(escaped(self._held[:end]))
            self._held = self._held[end:]

    def end(self) -> None:
        value = self._held.removesuffix(self._line)
        self._turn.arguments('"' if self._is_text else as_json(value, self._schema))

    def finish(self) -> None:
        self._turn.arguments("}" if self._n else "{}")
