"""How families of models write calls, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from localllm.generate.dialogue.families import (
    deepseek,
    gemma,
    generic,
    harmony,
    llama,
    mistral,
    others,
    pythonic,
    tagged,
)
from localllm.generate.dialogue.families.json_calls import Read, list_between


@dataclass(frozen=True)
class Format:
    """One way to write calls. It is that of a template whose source has all of `signs`, and none of `lacks`."""

    name: str
    signs: tuple[str, ...]
    starts: tuple[str, ...]
    """Texts with which calls begin."""
    read: Read
    """Reads one or more calls from such a text on; or a whole answer, where `is_whole`."""
    lacks: tuple[str, ...] = ()
    at_start: bool = False
    """A call may also be the whole answer, without a marker: it begins with a brace."""
    ends_thinking: bool = False
    """A call ends thinking, too."""
    is_whole: bool = False
    """`read` reads the whole answer."""
    id_prefix: str = "call_"
    id_length: int = 24
    drops: tuple[str, ...] = ()
    """Markers around content, which are not shown."""


_START_ACTION, _END_ACTION = "<|START_ACTION|>", "<|END_ACTION|>"
_COHERE = tuple(f"<|{border}_{part}|>" for border in ("START", "END") for part in ("RESPONSE", "TEXT"))

GENERIC = Format("generic", (), generic.STARTS, generic.read, at_start=True)
FORMATS = (
    Format("harmony", ("<|channel|>", "<|start|>"), (), harmony.read_answer, is_whole=True),
    Format("kimi", (others.SECTION,), (others.SECTION, others.CALL), others.read_kimi, ends_thinking=True),
    Format("deepseek-dsml", ("dsml_token", "function_calls"), (f"<{deepseek.DSML}",), deepseek.read_dsml,
           ends_thinking=True),
    Format("deepseek-v4", ("dsml_token",), (f"<{deepseek.DSML}",), deepseek.read_dsml, ends_thinking=True),
    Format("deepseek-r1", (deepseek.CALL, "```json"), (deepseek.CALLS, deepseek.CALL), deepseek.read),
    Format("deepseek", (deepseek.CALL,), (deepseek.CALLS, deepseek.CALL), deepseek.read),
    Format("gemma4", ("<|tool_call>call:",), (gemma.START,), gemma.read),
    Format("mistral-id", (mistral.START, "[CALL_ID]"), (mistral.START,), mistral.read, id_prefix="", id_length=9),
    Format("mistral-args", (mistral.START, "[ARGS]"), (mistral.START,), mistral.read, id_prefix="", id_length=9),
    Format("mistral", (mistral.START,), (mistral.START,), mistral.read, id_prefix="", id_length=9),
    Format("qwen3-coder", ("<tool_call>", "<function=", "<parameter="), ("<tool_call>", "<function="), tagged.read,
           lacks=("<think>",)),
    Format("qwen3.5", ("<tool_call>", "<function=", "<parameter="), ("<tool_call>",), tagged.read, ends_thinking=True),
    Format("glm", ("<tool_call>", "<arg_key>"), ("<tool_call>",), others.read_glm),
    Format("granite", ("<|tool_call|>",), ("<|tool_call|>", "<tool_call>"),
           list_between("<|tool_call|>", "<tool_call>"),
           drops=("<response>", "</response>")),
    Format("phi-4", ("<|tool|>", "<|/tool|>"), ("<|tool_call|>", "functools["),
           list_between("<|tool_call|>", "functools", end="<|/tool_call|>")),
    Format("hermes", ("<tool_call>",), generic.STARTS, generic.read, at_start=True),
    Format("command-r", (_START_ACTION,), (_START_ACTION,), list_between(_START_ACTION, end=_END_ACTION),
           drops=_COHERE),
    Format("nemotron", ("<TOOLCALL>",), ("<TOOLCALL>",), list_between("<TOOLCALL>", end="</TOOLCALL>")),
    Format("functionary", ("<function=", "</function>"), ("<function=",), others.read_functionary),
    Format("functools", ("functools[",), ("functools[",), list_between("functools")),
    Format("lfm2", ("List of tools: ",), ("<|tool_call_start|>",),
           partial(pythonic.read_between, start="<|tool_call_start|>", end="<|tool_call_end|>")),
    Format("llama3", ("<|start_header_id|>", "ipython"), (llama.START,), llama.read, at_start=True),
)  # fmt: skip
"""The first that fits counts."""


def find_format(source: str) -> Format:
    """How the model of a template writes calls; GENERIC for a template that knows no tools."""
    for row in FORMATS:
        if all(sign in source for sign in row.signs) and not any(sign in source for sign in row.lacks):
            return row
    return GENERIC
