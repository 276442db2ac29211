"""How families of models write calls, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from localllm.generate.dialogue.families import (
    deepseek,
    gemma,
    generic,
    harmony,
    invoke,
    llama,
    mistral,
    others,
    pythonic,
    tagged,
)
from localllm.generate.dialogue.families.json_calls import Read, between, list_between


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
    """A call may also be the whole answer, without a marker: it begins with a brace, or a bracket."""
    ends_thinking: bool = False
    """A call ends thinking, too."""
    is_whole: bool = False
    """`read` reads the whole answer."""
    id_prefix: str = "call_"
    id_length: int = 24
    drops: tuple[str, ...] = ()
    """Markers around content, which are not shown."""
    models: str = ""
    """Whose it is, for docs/server.md."""


_START_ACTION, _END_ACTION = "<|START_ACTION|>", "<|END_ACTION|>"
_COHERE = tuple(f"<|{border}_{part}|>" for border in ("START", "END") for part in ("RESPONSE", "TEXT"))

_SEED, _INTERNLM = "seed:tool_call", "<|action_start|><|plugin|>"
_MINIMAX = invoke.Tags("minimax:tool_call", "invoke", "parameter")
_MINICPM = invoke.Tags("", "function", "param")

GENERIC = Format(
    "generic",
    (),
    generic.STARTS,
    generic.read,
    at_start=True,
    models="all others: the prompt tells them the form of Hermes",
)
FORMATS = (
    Format("harmony", ("<|channel|>", "<|start|>"), (), harmony.read_answer, is_whole=True, models="gpt-oss"),
    Format("kimi", (others.SECTION,), (others.SECTION, others.CALL), others.read_kimi, ends_thinking=True,
           models="Kimi K2"),
    Format("deepseek-dsml", ("dsml_token", "function_calls"), (f"<{deepseek.DSML}",), deepseek.read_dsml,
           ends_thinking=True, models="DeepSeek V3.2"),
    Format("deepseek-v4", ("dsml_token",), (f"<{deepseek.DSML}",), deepseek.read_dsml, ends_thinking=True,
           models="DeepSeek V4"),
    Format("deepseek-r1", (deepseek.CALL, "```json"), (deepseek.CALLS, deepseek.CALL), deepseek.read,
           models="DeepSeek R1"),
    Format("deepseek", (deepseek.CALL,), (deepseek.CALLS, deepseek.CALL), deepseek.read, models="DeepSeek V3, V3.1"),
    Format("gemma4", ("<|tool_call>call:",), (gemma.START,), gemma.read, models="Gemma 4"),
    Format("functiongemma", (gemma.FUNCTION_START,), (gemma.FUNCTION_START,),
           partial(gemma.read, start=gemma.FUNCTION_START, end=gemma.FUNCTION_END, quote=gemma.ESCAPE),
           models="FunctionGemma"),
    Format("mistral-id", (mistral.START, "[CALL_ID]"), (mistral.START,), mistral.read, id_prefix="", id_length=9,
           models="Mistral Small 3.2"),
    Format("mistral-args", (mistral.START, "[ARGS]"), (mistral.START,), mistral.read, id_prefix="", id_length=9,
           models="Ministral 3"),
    Format("mistral", (mistral.START,), (mistral.START,), mistral.read, id_prefix="", id_length=9,
           models="Mistral Nemo, and others of its time"),
    Format("seed", (f"<{_SEED}>", "<function="), (f"<{_SEED}>",), partial(tagged.read, outer=_SEED, line=""),
           models="Seed-OSS"),
    Format("minimax-m2", (f"<{_MINIMAX.outer}>", "<invoke name="), (f"<{_MINIMAX.outer}>",),
           partial(invoke.read, tags=_MINIMAX), models="MiniMax M2"),
    Format("minicpm5", ('<function name="', '<param name="'), ('<function name="',),
           partial(invoke.read, tags=_MINICPM), models="MiniCPM 5"),
    Format("hy3", (f"'{others.HY3}'", "<tool_sep"), (f"<tool_calls{others.HY3}>",), others.read_hy3,
           models="Hunyuan 3"),
    Format("apertus", (others.APERTUS,), (others.APERTUS,), others.read_apertus, models="Apertus"),
    Format("internlm", (_INTERNLM,), (_INTERNLM,), between(_INTERNLM, "<|action_end|>"), models="InternLM 2 and 2.5"),
    Format("gigachat3.1", ("<|role_sep|>", others.GIGACHAT), (others.GIGACHAT,), others.read_gigachat,
           models="GigaChat 3.1"),
    Format("gigachat3", ("<|role_sep|>", "'function call'"),
           (f"{others.GIGACHAT_END}\n\n{others.GIGACHAT_3}", others.GIGACHAT_3), others.read_gigachat,
           models="GigaChat 3"),
    Format("tool-calls", (f"{others.TOOL_CALLS}[",), (others.TOOL_CALLS,), others.read_tool_calls,
           models="Hunyuan A13B, Apriel"),
    Format("jamba", (f'"{others.TOOL_CALLS}"',), (others.TOOL_CALLS,), others.read_tool_calls, models="Jamba 1.5"),
    Format("minimax-m1", (others.TOOL_CALLS,), (others.TOOL_CALLS,), others.read_tool_calls, models="MiniMax M1"),
    Format("qwen3-coder", ("<tool_call>", "<function=", "<parameter="), ("<tool_call>", "<function="), tagged.read,
           lacks=("<think>",), models="Qwen3-Coder"),
    Format("qwen3.5", ("<tool_call>", "<function=", "<parameter="), ("<tool_call>",), tagged.read, ends_thinking=True,
           models="Qwen 3.5"),
    Format("glm", ("<tool_call>", "<arg_key>"), ("<tool_call>",), others.read_glm, models="GLM 4.5, 4.6"),
    Format("granite", ("<|tool_call|>",), ("<|tool_call|>", "<tool_call>"),
           list_between("<|tool_call|>", "<tool_call>"),
           drops=("<response>", "</response>"), models="Granite 3"),
    Format("phi-4", ("<|tool|>", "<|/tool|>"), ("<|tool_call|>", "functools["),
           list_between("<|tool_call|>", "functools", end="<|/tool_call|>"), models="Phi-4 mini"),
    Format("hermes", ("<tool_call>",), generic.STARTS, generic.read, at_start=True,
           models="Qwen 2.5, Qwen 3, Hermes 2 and 3, Granite 4"),
    Format("command-r", (_START_ACTION,), (_START_ACTION,), list_between(_START_ACTION, end=_END_ACTION),
           drops=_COHERE, models="Command R7B"),
    Format("nemotron", ("<TOOLCALL>",), ("<TOOLCALL>",), list_between("<TOOLCALL>", end="</TOOLCALL>"),
           models="Nemotron Nano 2"),
    Format("functionary", ("<function=", "</function>"), ("<function=",), others.read_functionary,
           models="Functionary 3.1"),
    Format("functools", ("functools[",), ("functools[",), list_between("functools"), models="FireFunction 2"),
    Format("lfm2", ("List of tools: ",), ("<|tool_call_start|>",),
           partial(pythonic.read_between, start="<|tool_call_start|>", end="<|tool_call_end|>"), models="LFM2"),
    Format("llama4", ("<|header_start|>", llama.START_4), (llama.START_4, llama.END_4), llama.read_llama4,
           at_start=True, models="Llama 4"),
    Format("llama3", ("<|start_header_id|>", "ipython"), (llama.START,), llama.read, at_start=True,
           models="Llama 3.1, 3.2, 3.3, xLAM 2, ToolACE"),
)  # fmt: skip
"""The first that fits counts."""


def find_format(source: str) -> Format:
    """How the model of a template writes calls; GENERIC for a template that knows no tools."""
    for row in FORMATS:
        if all(sign in source for sign in row.signs) and not any(sign in source for sign in row.lacks):
            return row
    return GENERIC
