"""The calls of each format as a grammar: markers, and how a function and its arguments are written between them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from localllm.generate.dialogue.conversation import parameters_of
from localllm.generate.dialogue.families import deepseek, gemma, llama, mistral, others
from localllm.generate.dialogue.lark import Lark
from localllm.generate.dialogue.values import types_of
from localllm.generate.grammar_closed import closed

Body = Callable[[Lark, str, Mapping[str, Any]], str]
"""The call of a function, by its name and the schema of its arguments, as an expression."""


@dataclass(frozen=True)
class Shape:
    """trigger, head, one call, or several with `between` between them, end."""

    trigger: str
    """Where this comes in an answer, a call begins."""
    body: Body
    between: str | None = None
    """None: there are never several."""
    head: str = ""
    end: str = ""
    at_start: bool = False
    """`trigger` counts only where it begins the answer."""
    more_triggers: tuple[str, ...] = ()
    """Others with which calls may begin; `trigger` is the one that is forced."""


def grammar(shape: Shape, tools: Sequence[Mapping[str, Any]], parallel: bool, lark: Lark, with_trigger: bool) -> str:
    """The Lark source of calls of some tools; without the trigger, what follows it."""
    bodies = [
        shape.body(lark, tool["function"]["name"], {"type": "object", **closed(parameters_of(tool))}) for tool in tools
    ]
    call = lark.any_of(bodies)
    parts = [lark.literal(shape.trigger if with_trigger else ""), lark.literal(shape.head), call]
    if parallel and shape.between is not None:
        parts.append(f"({lark.literal(shape.between)} {call})*")
    return lark.source(" ".join(filter(None, [*parts, lark.literal(shape.end)])))


def _members(schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], Sequence[Any]]:
    """The schemas of an object's members, and which of them must be there."""
    properties, required = schema.get("properties"), schema.get("required")
    return properties if isinstance(properties, Mapping) else {}, required if isinstance(required, list) else ()


def _json_object(lark: Lark, name: str, schema: Mapping[str, Any], head: str, tail: str) -> str:
    """head and tail: around the arguments; `{name}` in them is the function's."""
    parts = [lark.literal(head.replace("{name}", name)), lark.json(schema), lark.literal(tail)]
    return lark.rule(" ".join(filter(None, parts)))


def _json_between(head: str, tail: str = "") -> Body:
    return partial(_json_object, head=head, tail=tail)


def _identified(
    lark: Lark, name: str, schema: Mapping[str, Any], head: str, call_id: str, middle: str, tail: str
) -> str:
    texts = [lark.literal(text.replace("{name}", name)) for text in (head, middle, tail)]
    return lark.rule(" ".join(filter(None, [texts[0], call_id, texts[1], lark.json(schema), texts[2]])))


def _with_id(head: str, call_id: str, middle: str, tail: str = "") -> Body:
    """call_id: a regular expression."""
    return partial(_identified, head=head, call_id=call_id, middle=middle, tail=tail)


_OBJECT = '{"name": "{name}", "arguments": '
_IN_LIST = _json_between(_OBJECT, "}")


def _tagged(lark: Lark, name: str, schema: Mapping[str, Any], head: str, argument: str, end: str, tail: str) -> str:
    """A tag for each argument. `{name}` and `{key}` in the texts are the function's and the argument's name; `{text}`
    is whether the value is a text as it stands."""
    properties, required = _members(schema)
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    parts = [lark.literal(head.replace("{name}", name))]
    for key, value in properties.items():
        of_value = value if isinstance(value, Mapping) else {}
        is_text = "string" in types_of(value)
        opening = argument.replace("{key}", key).replace("{text}", "true" if is_text else "false")
        written = (
            _text_value(lark, of_value, end) if is_text else f"{lark.json({**of_value, **shared})} {lark.literal(end)}"
        )
        expression = lark.rule(f"{lark.literal(opening)} {written}")
        parts.append(expression if key in required else f"({expression})?")
    return lark.rule(" ".join([*parts, lark.literal(tail)]))


def _text_value(lark: Lark, schema: Mapping[str, Any], end: str) -> str:
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(values, list) and values:
        texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
        return lark.any_of([lark.literal(text + end) for text in texts])
    return lark.rule(r"/(.|\n)*/", suffix=end)


_QWEN = partial(
    _tagged, head="\n<function={name}>\n", argument="<parameter={key}>\n", end="\n</parameter>\n",
    tail="</function>\n</tool_call>",
)  # fmt: skip
_GLM = partial(
    _tagged,
    head="{name}\n",
    argument="<arg_key>{key}</arg_key>\n<arg_value>",
    end="</arg_value>\n",
    tail="</tool_call>",
)
_DSML = partial(
    _tagged,
    head=f'<{deepseek.DSML}invoke name="{{name}}">\n',
    argument=f'<{deepseek.DSML}parameter name="{{key}}" string="{{text}}">',
    end=f"</{deepseek.DSML}parameter>\n",
    tail=f"</{deepseek.DSML}invoke>\n",
)


_SEED = partial(
    _tagged, head="\n<function={name}>\n", argument="<parameter={key}>", end="</parameter>\n",
    tail="</function>\n</seed:tool_call>",
)  # fmt: skip
_INVOKE = partial(
    _tagged, head='<invoke name="{name}">\n', argument='<parameter name="{key}">', end="</parameter>\n",
    tail="</invoke>\n",
)  # fmt: skip
_MINICPM = partial(_tagged, head='{name}">', argument='<param name="{key}">', end="</param>", tail="</function>")
_HY3 = partial(
    _tagged,
    head=f"{{name}}<tool_sep{others.HY3}>\n",
    argument=f"<arg_key{others.HY3}>{{key}}</arg_key{others.HY3}>\n<arg_value{others.HY3}>",
    end=f"</arg_value{others.HY3}>\n",
    tail=f"</tool_call{others.HY3}>\n",
)


def _pythonic(lark: Lark, name: str, schema: Mapping[str, Any]) -> str:
    """name(key=value, ...), with values as JSON."""
    properties, required = _members(schema)
    items = [
        (lark.rule(f"{lark.literal(key + '=')} {lark.json(value)}"), key in required)
        for key, value in properties.items()
    ]
    listed = lark.members(items, ", ") if items else ""
    return lark.rule(" ".join(filter(None, [lark.literal(name + "("), listed, lark.literal(")")])))


def _gemma(lark: Lark, name: str, schema: Mapping[str, Any], quote: str = gemma.QUOTE, end: str = gemma.END) -> str:
    return lark.rule(f"{lark.literal(name)} {_gemma_value(lark, schema, quote)} {lark.literal(end)}")


def _gemma_value(lark: Lark, schema: object, quote: str, depth: int = 0) -> str:
    """A value in Gemma's syntax: objects and arrays by their schemas to some depth, and then any."""
    of_value = schema if isinstance(schema, Mapping) else {}
    text = f"{lark.literal(quote)} {lark.rule(_GEMMA_TEXTS[quote])} {lark.literal(quote)}"
    values = of_value.get("enum")
    if isinstance(values, list) and values:
        quoted = [f"{quote}{value}{quote}" if isinstance(value, str) else json.dumps(value) for value in values]
        return lark.any_of([lark.literal(value) for value in quoted])
    kinds = types_of(schema)
    bounds = {key: value for key, value in of_value.items() if key in _BOUNDS}
    choices = [lark.json({"type": kind} | bounds) for kind in ("integer", "number") if kind in kinds]
    choices += [lark.json({"type": kind}) for kind in ("boolean", "null") if kind in kinds]
    if "string" in kinds:
        choices.append(text)
    deeper = depth < _GEMMA_DEPTH
    if "array" in kinds and deeper:
        choices.append(_gemma_array(lark, of_value, quote, depth + 1))
    if "object" in kinds and deeper:
        choices.append(_gemma_object(lark, of_value, quote, depth + 1))
    return lark.any_of(choices or [text])


def _gemma_array(lark: Lark, schema: Mapping[str, Any], quote: str, depth: int) -> str:
    item = _gemma_value(lark, schema.get("items"), quote, depth)
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if not isinstance(least, int) or not isinstance(most, int | None):
        least, most = 0, None
    if most == 0:
        return '"[" "]"'
    times = f"{{{max(least, 1) - 1},{'' if most is None else most - 1}}}"
    listed = f'{item} ("," {item}){times}'
    return f'"[" {listed if least else f"({listed})?"} "]"'


def _gemma_object(lark: Lark, schema: Mapping[str, Any], quote: str, depth: int) -> str:
    properties, required = _members(schema)
    if not properties and schema.get("additionalProperties") is False:
        return '"{" "}"'
    if not properties:
        item = f'/[A-Za-z_][A-Za-z0-9_]*/ ":" {_gemma_value(lark, None, quote, depth)}'
        return f'"{{" ({item} ("," {item})*)? "}}"'
    items = [
        (lark.rule(f"{lark.literal(key + ':')} {_gemma_value(lark, value, quote, depth)}"), key in required)
        for key, value in properties.items()
    ]
    return f'"{{" {lark.members(items, ",")} "}}"'


_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_GEMMA_DEPTH = 6
_GEMMA_TEXTS = {gemma.QUOTE: r"/[^<]([^<]|<[^|])*/", gemma.ESCAPE: r"/[^<]([^<]|<[^e])*/"}


def _harmony(lark: Lark, name: str, schema: Mapping[str, Any]) -> str:
    """After the recipient's "functions."; the channel follows where it does not stand before it."""
    channel = lark.literal("<|channel|>")
    kind = f'(" " ({lark.literal("<|constrain|>")})? "json")?'
    head = f'{lark.literal(name)} ({channel} ("commentary" | "analysis"))? {kind} {lark.literal("<|message|>")}'
    return lark.rule(f"{head} {lark.json(schema)}")


_HERMES = Shape("<tool_call>", _json_between(f"\n{_OBJECT}", "}\n</tool_call>"), between="\n<tool_call>")
SHAPES: dict[str, Shape] = {
    "hermes": _HERMES,
    "generic": _HERMES,
    "qwen3.5": Shape("<tool_call>", _QWEN, between="\n<tool_call>"),
    "qwen3-coder": Shape("<tool_call>", _QWEN, between="\n<tool_call>"),
    "glm": Shape("<tool_call>", _GLM, between="\n<tool_call>"),
    "mistral": Shape(mistral.START, _IN_LIST, ", ", "[", "]"),
    "mistral-args": Shape(mistral.START, _json_between("{name}[ARGS]"), mistral.START),
    "mistral-id": Shape(mistral.START, _with_id("{name}[CALL_ID]", "/[A-Za-z0-9]{9}/", "[ARGS]"), mistral.START),
    "llama3": Shape('{"name": "', _json_between('{name}", "parameters": ', "}"), at_start=True,
                    more_triggers=(f'{llama.START}{{"name": "',)),
    "granite": Shape("<|tool_call|>", _IN_LIST, ", ", "[", "]"),
    "phi-4": Shape("<|tool_call|>", _IN_LIST, ", ", "[", "]<|/tool_call|>"),
    "functools": Shape("functools", _IN_LIST, ", ", "[", "]"),
    "nemotron": Shape("<TOOLCALL>", _IN_LIST, ", ", "[", "]</TOOLCALL>"),
    "command-r": Shape(
        "<|START_ACTION|>",
        _with_id('\n    {"tool_call_id": "', "/[0-9]{1,3}/", '", "tool_name": "{name}", "parameters": ', "}"),
        ",", "[", "\n]<|END_ACTION|>"),
    "functionary": Shape("<function=", _json_between("{name}>", "</function>"), "<function="),
    "lfm2": Shape("<|tool_call_start|>", _pythonic, ", ", "[", "]<|tool_call_end|>"),
    "gemma4": Shape(f"{gemma.START}call:", _gemma, f"{gemma.START}call:"),
    "functiongemma": Shape(
        f"{gemma.FUNCTION_START}call:", partial(_gemma, quote=gemma.ESCAPE, end=gemma.FUNCTION_END),
        f"{gemma.FUNCTION_START}call:"),
    "seed": Shape("<seed:tool_call>", _SEED, "\n<seed:tool_call>"),
    "minimax-m2": Shape("<minimax:tool_call>", _INVOKE, "", "\n", "</minimax:tool_call>"),
    "minicpm5": Shape('<function name="', _MINICPM, '\n<function name="'),
    "hy3": Shape(f"<tool_calls{others.HY3}>", _HY3, f"<tool_call{others.HY3}>", f"\n<tool_call{others.HY3}>",
                 f"</tool_calls{others.HY3}>"),
    "apertus": Shape(others.APERTUS, _json_between('{"{name}": ', "}"), ", ", "[", f"]{others.APERTUS_END}"),
    "internlm": Shape("<|action_start|><|plugin|>", _json_between(f"\n{_OBJECT}", "}<|action_end|>"),
                      "<|action_start|><|plugin|>"),
    "gigachat3.1": Shape(others.GIGACHAT, _IN_LIST),
    "gigachat3": Shape(f"{others.GIGACHAT_END}\n\n{others.GIGACHAT_3}", _json_between(f"\n{_OBJECT}", "}"),
                       more_triggers=(others.GIGACHAT_3,)),
    "tool-calls": Shape(others.TOOL_CALLS, _IN_LIST, ", ", "[", "]</tool_calls>"),
    "jamba": Shape(others.TOOL_CALLS, _IN_LIST, ",\n    ", "[\n    ", "\n]</tool_calls>"),
    "minimax-m1": Shape(others.TOOL_CALLS, _IN_LIST, "\n", "\n", "\n</tool_calls>"),
    "llama4": Shape('{"name": "', _json_between('{name}", "parameters": ', "}"), between='{"name": "', at_start=True,
                    more_triggers=(f'{llama.START_4}{llama.END_4}{{"name": "',)),
    "deepseek": Shape(
        deepseek.CALLS + deepseek.CALL, _json_between(f"{{name}}{deepseek.SEPARATOR}", deepseek.CALL_END),
        between=deepseek.CALL, end=deepseek.CALLS_END),
    "deepseek-r1": Shape(
        deepseek.CALLS + deepseek.CALL,
        _json_between(f"function{deepseek.SEPARATOR}{{name}}\n```json\n", f"\n```{deepseek.CALL_END}"),
        between=f"\n{deepseek.CALL}", end=deepseek.CALLS_END),
    "deepseek-dsml": Shape(
        f"<{deepseek.DSML}function_calls>", _DSML, "", "\n", f"</{deepseek.DSML}function_calls>"),
    "deepseek-v4": Shape(f"<{deepseek.DSML}tool_calls>", _DSML, "", "\n", f"</{deepseek.DSML}tool_calls>"),
    "kimi": Shape(others.SECTION + others.CALL,
                  _with_id("functions.{name}:", "/[0-9]{1,3}/", others.ARGUMENTS, others.CALL_END),
                  others.CALL, end=others.SECTION_END),
    "harmony": Shape("<|channel|>commentary to=functions.", _harmony,
                     more_triggers=("<|start|>assistant to=functions.", "<|channel|>analysis to=functions.")),
}  # fmt: skip
"""By the name of the format."""
