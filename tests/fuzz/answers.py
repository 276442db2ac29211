"""Answers taken apart into content, thinking and calls: the same for every cut, and no text is lost or made up.

The first bytes choose the format, how it thinks, whether the prompt ended in thinking, and where the text is cut.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from localllm.generate.dialogue.deltas import CallArguments, CallBegin, Content, Reasoning
from localllm.generate.dialogue.formats import FORMATS, GENERIC
from localllm.generate.dialogue.parser import OutputParser, Reading
from localllm.generate.dialogue.thinking import THINKING
from tests.fuzz.mutators import of_text
from tests.fuzz.target import Finding, Target
from tests.generate.dialogue.cases import CASES, TOOLS

_ROWS = (*FORMATS, GENERIC)
_HEAD = 4
_WORDS = (
    *sorted({word for row in _ROWS for word in (*row.starts, *row.drops)}),
    *sorted({word for thinking in THINKING for word in (thinking.opening, thinking.closing)}),
    '{"name": "python", "arguments": {"code": "x"}}', '{"name":', '"arguments":', "{", "}", "[", "]", '"', "\\u", "\\",
    ",", "python", "special_function", "arg1", "</tool_call>", "</function>", "<parameter=code>", "</parameter>",
    "```", "\n", "1e999", "-", "null", "NaN", "python(code='x', a=[1])", "<arg_value>", "</invoke>", "[ARGS]",
    "<|call|>", "<|message|>",
)  # fmt: skip


def seeds() -> Iterator[bytes]:
    names = [row.name for row in _ROWS]
    marks = [thinking.opening for thinking in THINKING]
    for i, case in enumerate(CASES):
        mark = marks.index(case.thinking) + 1 if case.thinking in marks else 0
        yield bytes([names.index(case.format), mark, int(case.is_thinking), i % 256]) + case.text.encode()


def run(data: bytes) -> None:
    head, text = data[:_HEAD].ljust(_HEAD, b"\0"), data[_HEAD:].decode("utf-8", "replace")
    mark = head[1] % (len(THINKING) + 1)
    reading = Reading(
        _ROWS[head[0] % len(_ROWS)], TOOLS, THINKING[mark - 1] if mark else None, head[2] % 3 == 1, head[2] % 3 == 2
    )
    whole = _parsed(reading, [text])
    rng = random.Random(head[3])
    places = sorted(rng.randint(0, len(text)) for _ in range(8))
    for pieces in (list(text), [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]):
        if (cut := _parsed(reading, pieces)) != whole:
            raise Finding(f"{reading.format and reading.format.name}: {text!r}: {whole!r} as a whole, and cut {cut!r}")


def _parsed(reading: Reading, pieces: list[str]) -> tuple[str, str, list[tuple[str, str]]]:
    parser = OutputParser(reading, seed=1)
    content = reasoning = ""
    calls: list[tuple[str, str]] = []
    for delta in [delta for piece in pieces for delta in parser.push(piece)] + parser.finish():
        if isinstance(delta, Content):
            content += delta.text
        elif isinstance(delta, Reasoning):
            reasoning += delta.text
        elif isinstance(delta, CallBegin):
            calls.append((delta.name, ""))
        elif isinstance(delta, CallArguments):
            calls[-1] = calls[-1][0], calls[-1][1] + delta.text
    return content, reasoning, calls


TARGET = Target(seeds, run, of_text(_WORDS), max_len=1 << 10)
