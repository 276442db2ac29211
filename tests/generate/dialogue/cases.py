"""Whole answers in each format, and what is in them. Most are of llama.cpp's tests/test-chat.cpp (MIT licence)."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple


def tool(name: str, required: int | None = None, **properties: Any) -> dict[str, Any]:
    schemas = {key: {"type": value} if isinstance(value, str) else value for key, value in properties.items()}
    parameters = {"type": "object", "properties": schemas, "required": list(schemas)[:required]}
    return {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": parameters}}


TOOLS = [
    tool("special_function", arg1="integer"),
    tool("special_function_with_opt", 1, arg1="integer", arg2="integer"),
    tool("python", code="string"),
    tool("edit", filename="string", oldString="string", newString="string", replaceAll="boolean"),
    tool("get_time", city="string"),
    tool("get_weather", city="string"),
    tool("empty_args"),
    tool("amount", orig="number"),
    tool("toggle", enabled="boolean"),
    tool("set_nullable", value={"type": ["string", "null"]}),
    tool("todo_list", todos={"type": "array", "items": {"type": "string"}}),
    tool("set_config", config={"type": "object"}),
    tool("anything", value={}),
]


class Case(NamedTuple):
    format: str
    text: str
    content: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    """Names, and arguments as JSON."""
    thinking: str = ""
    """The opening of the thinking that the model marks."""
    is_thinking: bool = False
    is_exact: bool = True
    """Arguments are compared as texts; otherwise as values."""


HELLO = "Hello, world!\nWhat's up?"
THOUGHT = "I'm\nthinking"
ONE = ("special_function", '{"arg1": 1}')
TWO = ("special_function_with_opt", '{"arg1": 1, "arg2": 2}')


def _tagged(name: str, **arguments: str) -> str:
    body = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in arguments.items())
    return f"<tool_call>\n<function={name}>\n{body}</function>\n</tool_call>"


_CODE = 'def hello():\n    print("Hello, world!")\n\nhello()'
_EDIT = '{"filename": "foo.c", "oldString": "#iclunde", "newString": "#include\\n"}'

HERMES = (
    Case("hermes", HELLO, HELLO),
    Case("hermes", '<tool_call>\n{"name": "special_function", "arguments": {"arg1": 1}}\n</tool_call>', calls=(ONE,)),
    Case("hermes", '<tool_call>\n{"name": "special_function", "arguments": {"arg1": 1}}</tool_call>', calls=(ONE,)),
    Case(
        "hermes",
        HELLO + '<tool_call>\n{"name": "special_function", "arguments": {"arg1": 1}}</tool_call>',
        HELLO,
        calls=(ONE,),
    ),
    Case(
        "hermes",
        '<tool_call>\n{"arguments": {"arg1": 1}, "name": "special_function"}\n</tool_call>\n'
        '<tool_call>\n{"name": "special_function_with_opt", "arguments": {"arg1": 1, "arg2": 2}}\n</tool_call>',
        calls=(ONE, TWO),
    ),
    Case(
        "hermes",
        '<tool_call>{"type": "function", "function": {"name": "special_function", "arguments": "{\\"arg1\\": 1}"}}'
        "</tool_call>",
        calls=(ONE,),
    ),
    Case("hermes", '<tool_call>{"name": "empty_args"}</tool_call>', calls=(("empty_args", "{}"),)),
    Case("hermes", '<tool_call>{"name": "empty_args", "arguments": null}</tool_call>', calls=(("empty_args", "{}"),)),
    Case(
        "hermes",
        '<tool_call>{"name": "python", "arguments": {"code": "a = \\"}</tool_call>{[\\""}, "id": "7"}</tool_call> ok',
        "ok",
        calls=(("python", '{"code": "a = \\"}</tool_call>{[\\""}'),),
    ),
    Case("hermes", '```json\n{\n  "name": "special_function",\n  "arguments": {"arg1": 1}\n}\n```', calls=(ONE,)),
    Case("hermes", '```\n{"name": "special_function", "arguments": {"arg1": 1}}\n```', calls=(ONE,)),
    Case("hermes", ' [{"name": "special_function", "arguments": {"arg1": 1}}]', calls=(ONE,)),
    Case("hermes", '[{"name": "Ann"}, 1]', '[{"name": "Ann"}, 1]'),
    Case("hermes", "```python\n{}\n```\n{1}", "```python\n{}\n```\n{1}"),
    Case("hermes", '<tools>\n{"name": "special_function", "arguments": {"arg1": 1}}\n</tools>', calls=(ONE,)),
    Case("hermes", '```json\n{"name": "Ann", "arguments": {}}\n```', '```json\n{"name": "Ann", "arguments": {}}\n```'),
    Case("hermes", "Use <tool_call> tags.", "Use <tool_call> tags."),
    Case("hermes", 'No: <tool_call>{"name": "fly", "arguments": {}}</tool_call>.',
         'No: <tool_call>{"name": "fly", "arguments": {}}</tool_call>.'),
    Case("hermes", '<tool_call>{"name": "empty_args", "arguments": [1]}</tool_call>',
         '<tool_call>{"name": "empty_args", "arguments": [1]}</tool_call>'),
    Case("hermes", '<tool_call>{"name": "special_function", "arguments": {"arg1": 1</tool_call> so',
         "so", calls=(("special_function", '{"arg1": 1'),)),
    Case("hermes", "a < b <tool", "a < b <tool"),
    Case("hermes", " \n" + HELLO + " \n", " \n" + HELLO + " \n"),
    Case("hermes", f"<think>\n{THOUGHT}\n</think>\n\n{HELLO}", HELLO, THOUGHT, thinking="<think>"),
    Case("hermes", f"\n{THOUGHT}\n</think>\n\n{HELLO}", HELLO, THOUGHT, thinking="<think>", is_thinking=True),
    Case("hermes", f"<think>{THOUGHT}</think>{HELLO}", HELLO, THOUGHT, thinking="<think>", is_thinking=True),
    Case("hermes", f"</think>{HELLO}", HELLO, thinking="<think>", is_thinking=True),
    Case("hermes", f"<think>\n\n</think>\n\n{HELLO}", HELLO, thinking="<think>"),
    Case("hermes", THOUGHT, "", THOUGHT, thinking="<think>", is_thinking=True),
    Case("hermes", "A <think>b</think>", "A <think>b</think>", thinking="<think>"),
    Case("hermes", '<think>\nI want <tool_call></think>\n<tool_call>\n{"name": "special_function", "arguments": '
         '{"arg1": 1}}\n</tool_call>', "", "I want <tool_call>", (ONE,), thinking="<think>"),
)  # fmt: skip

TAGGED = (
    Case("qwen3.5", f"{THOUGHT}\n</think>\n\n{HELLO}", HELLO, THOUGHT, thinking="<think>", is_thinking=True),
    Case("qwen3.5", _tagged("special_function", arg1="1"), calls=(ONE,)),
    Case("qwen3.5", f"{THOUGHT}\n</think>\n\n" + _tagged("special_function", arg1="1"), "", THOUGHT, (ONE,),
         thinking="<think>", is_thinking=True),
    Case("qwen3.5", f"{THOUGHT}\n" + _tagged("special_function", arg1="1"), "", THOUGHT, (ONE,),
         thinking="<think>", is_thinking=True),
    Case("qwen3.5", _tagged("special_function", arg1="1") + "\n"
         + _tagged("special_function_with_opt", arg1="1", arg2="2"), calls=(ONE, TWO)),
    Case("qwen3.5", _tagged("python", code=_CODE),
         calls=(("python", '{"code": "def hello():\\n    print(\\"Hello, world!\\")\\n\\nhello()"}'),)),
    Case("qwen3.5", _tagged("edit", filename="foo.c", oldString="#iclunde", newString="#include\n"),
         calls=(("edit", _EDIT),)),
    Case("qwen3.5", _tagged("python", code='    print("Hello, world!")'),
         calls=(("python", '{"code": "    print(\\"Hello, world!\\")"}'),)),
    Case("qwen3.5", _tagged("python", code="</parameter> <b> \n</parameter>\nx"),
         calls=(("python", '{"code": "</parameter> <b> \\n</parameter>\\nx"}'),)),
    Case("qwen3.5", _tagged("empty_args"), calls=(("empty_args", "{}"),)),
    Case("qwen3.5", _tagged("toggle", enabled="True"), calls=(("toggle", '{"enabled": true}'),)),
    Case("qwen3.5", _tagged("toggle", enabled="perhaps"), calls=(("toggle", '{"enabled": "perhaps"}'),)),
    Case("qwen3.5", _tagged("set_nullable", value="null"), calls=(("set_nullable", '{"value": null}'),)),
    Case("qwen3.5", _tagged("set_nullable", value="12"), calls=(("set_nullable", '{"value": "12"}'),)),
    Case("qwen3.5", _tagged("todo_list", todos='["buy milk"]'), calls=(("todo_list", '{"todos": ["buy milk"]}'),)),
    Case("qwen3.5", _tagged("anything", value='{"a": [1]}'), calls=(("anything", '{"value": {"a": [1]}}'),)),
    Case("qwen3.5", _tagged("anything", value="NaN"), calls=(("anything", '{"value": "NaN"}'),)),
    Case("qwen3.5", _tagged("fly"), _tagged("fly")),
    Case("qwen3.5", "<tool_call>\n<function=python>\n<parameter=code>\nprint(",
         calls=(("python", '{"code": "print('),)),
    Case("qwen3-coder", _tagged("special_function", arg1="1").removeprefix("<tool_call>\n"), calls=(ONE,)),
    Case("qwen3-coder", "Let me call it.\n" + _tagged("special_function", arg1="1").removeprefix("<tool_call>\n"),
         "Let me call it.", calls=(ONE,)),
    Case("qwen3-coder", _tagged("python", code="格"), calls=(("python", '{"code": "格"}'),)),
    Case("qwen3-coder", "#include <functional> <function=f>", "#include <functional> <function=f>"),
)  # fmt: skip

MISTRAL = (
    Case("mistral", HELLO, HELLO),
    Case("mistral", '[TOOL_CALLS][{"name": "special_function", "arguments": {"arg1": 1}, "id": "123456789"}]',
         calls=(ONE,)),
    Case("mistral", '[TOOL_CALLS] [{"name": "special_function", "arguments": {"arg1": 1}}, '
         '{"name": "special_function_with_opt", "arguments": {"arg1": 1, "arg2": 2}}]', calls=(ONE, TWO)),
    Case("mistral", '[TOOL_CALLS][{"name": "special_function", "arguments": {"arg1": 1}}, {"name": "fly"}]',
         ', {"name": "fly"}]', calls=(ONE,)),
    Case("mistral-args", HELLO + '[TOOL_CALLS]special_function[ARGS]{"arg1": 1}', HELLO, calls=(ONE,)),
    Case("mistral-id", '[TOOL_CALLS]special_function[CALL_ID]000000001[ARGS]{"arg1": 1}'
         '[TOOL_CALLS]special_function_with_opt[CALL_ID]000000002[ARGS]{"arg1": 1, "arg2": 2}', calls=(ONE, TWO)),
    Case("mistral-args", f"[THINK]{THOUGHT}[/THINK]{HELLO}", HELLO, THOUGHT, thinking="[THINK]"),
    Case("mistral-args", '[THINK]Let me think about [TOOL_CALLS]special_function[ARGS]{"arg1":1} and more[/THINK]'
         '[TOOL_CALLS]special_function[ARGS]{"arg1": 1}', "",
         'Let me think about [TOOL_CALLS]special_function[ARGS]{"arg1":1} and more', (ONE,), thinking="[THINK]"),
    Case("mistral-args", "[TOOL_CALLS]fly[ARGS]{}", "[TOOL_CALLS]fly[ARGS]{}"),
)  # fmt: skip

_QUOTE = '<|"|>'


def _gemma(name: str, arguments: str, expected: str) -> Case:
    return Case("gemma4", f"<|tool_call>call:{name}{arguments}<tool_call|>", calls=((name, expected),), is_exact=False)


GEMMA = (
    Case("gemma4", f"<|channel>thought\n{THOUGHT}<channel|>{HELLO}", HELLO, THOUGHT, thinking="<|channel>thought"),
    Case("gemma4", f"<|channel>thought<channel|>{HELLO}", HELLO, thinking="<|channel>thought"),
    _gemma("get_time", "{city:" + f"{_QUOTE}San Francisco{_QUOTE}" + "}", '{"city": "San Francisco"}'),
    _gemma("empty_args", "{}", "{}"),
    _gemma("special_function", "{arg1:-7}", '{"arg1": -7}'),
    _gemma("amount", "{orig:3.14}", '{"orig": 3.14}'),
    _gemma("amount", "{orig:1.5e10}", '{"orig": 1.5e10}'),
    _gemma("toggle", "{enabled:true}", '{"enabled": true}'),
    _gemma("set_nullable", "{value:null}", '{"value": null}'),
    _gemma("todo_list", f"{{todos:[{_QUOTE}buy milk{_QUOTE},{_QUOTE}walk dog{_QUOTE}]}}",
           '{"todos": ["buy milk", "walk dog"]}'),
    _gemma("set_config", f"{{config:{{theme:{_QUOTE}da\"rk{_QUOTE},count:3}}}}",
           '{"config": {"theme": "da\\"rk", "count": 3}}'),
    _gemma("todo_list", "{todos:[]}", '{"todos": []}'),
    _gemma("set_config", "{config:{}}", '{"config": {}}'),
    Case("gemma4", f"{HELLO}<|tool_call>call:get_time{{city:{_QUOTE}London{_QUOTE}}}<tool_call|>"
         f"<|tool_call>call:get_weather{{city:{_QUOTE}Paris{_QUOTE}}}<tool_call|>", HELLO,
         calls=(("get_time", '{"city": "London"}'), ("get_weather", '{"city": "Paris"}')),
         thinking="<|channel>thought"),
    Case("gemma4", f"<|channel>thought\n{THOUGHT}<channel|><|tool_call>call:get_time{{city:{_QUOTE}Paris{_QUOTE}}}"
         "<tool_call|>", "", THOUGHT, (("get_time", '{"city": "Paris"}'),), thinking="<|channel>thought"),
    Case("gemma4", f"<|channel>thought\n<channel|>{HELLO}<|channel>thought\n<channel|><channel|>", HELLO,
         thinking="<|channel>thought"),
)  # fmt: skip

_A, _F = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"

HARMONY = (
    Case("harmony", _F + HELLO, HELLO),
    Case("harmony", "<|channel|>commentary<|message|>" + HELLO, HELLO),
    Case("harmony", f"{_A}{THOUGHT}<|end|><|start|>assistant{_F}{HELLO}", HELLO, THOUGHT),
    Case("harmony", f"{_A}{THOUGHT}<|end|><|start|>assistant{_F}{HELLO}<|return|>", HELLO, THOUGHT),
    Case("harmony", f"{_A}{THOUGHT}", "", THOUGHT),
    Case("harmony", ' to=functions.special_function<|channel|>analysis<|message|>{"arg1": 1}', calls=(ONE,)),
    Case("harmony", '<|channel|>analysis to=functions.special_function<|message|>{"arg1": 1}<|call|>', calls=(ONE,)),
    Case("harmony", ' to=functions.special_function<|channel|>analysis <|constrain|>json<|message|>{"arg1": 1}',
         calls=(ONE,)),
    Case("harmony", '<|channel|>commentary to=functions.special_function json<|message|>{"arg1": 1}', calls=(ONE,)),
    Case("harmony", f'{_A}{THOUGHT}<|end|><|start|>assistant to=functions.special_function<|channel|>analysis'
         '<|message|>{"arg1": 1}', "", THOUGHT, (ONE,)),
    Case("harmony", f'{_A}{THOUGHT}<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>{{"a": 1}}',
         '{"a": 1}', THOUGHT),
    Case("harmony", f"{_A}Hm. <|end|><|start|>assistant<|channel|>commentary to=python <|constrain|>code<|message|>1+1",
         "", "Hm. 1+1"),
    Case("harmony", f"<|channel|>commentary to=assistant{_A}{THOUGHT}<|end|><|start|>assistant{_F}{HELLO}",
         HELLO, THOUGHT),
    Case("harmony", HELLO, HELLO),
)  # fmt: skip

_CALLS, _CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_CALL, _SEP, _CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
_DSML = "｜DSML｜"


def _dsml(section: str) -> str:
    return (
        f'<{_DSML}{section}>\n<{_DSML}invoke name="edit">\n'
        f'<{_DSML}parameter name="filename" string="true">a\n</{_DSML}parameter>\n'
        f'<{_DSML}parameter name="replaceAll" string="false">true</{_DSML}parameter>\n'
        f'</{_DSML}invoke>\n<{_DSML}invoke name="empty_args">\n</{_DSML}invoke>\n</{_DSML}{section}>'
    )


DEEPSEEK = (
    Case("deepseek", f"</think>{HELLO}", HELLO, thinking="<think>", is_thinking=True),
    Case("deepseek", f"{THOUGHT}</think>{HELLO}", HELLO, THOUGHT, thinking="<think>", is_thinking=True),
    Case("deepseek-r1", f'</think>{_CALLS}{_CALL}function{_SEP}special_function\n```json\n{{"arg1": 1}}```{_CALL_END}'
         f"{_CALLS_END}", calls=(ONE,), thinking="<think>", is_thinking=True),
    Case("deepseek-r1", f'{_CALLS}{_CALL}function{_SEP}special_function\n```json\n{{"arg1": 1}}\n```{_CALL_END}\n'
         f'{_CALL}function{_SEP}special_function_with_opt\n```json\n{{"arg1": 1, "arg2": 2}}\n```{_CALL_END}'
         f"{_CALLS_END}", calls=(ONE, TWO)),
    Case("deepseek", f'R</think>CONTENT{_CALLS}{_CALL}get_time{_SEP}{{"city": "Paris"}}{_CALL_END}{_CALL}get_weather'
         f'{_SEP}{{"city": "Paris"}}{_CALL_END}{_CALLS_END}', "CONTENT", "R",
         (("get_time", '{"city": "Paris"}'), ("get_weather", '{"city": "Paris"}')), "<think>", True),
    Case("deepseek", f"{_CALLS}{_CALL}fly{_SEP}{{}}{_CALL_END}{_CALLS_END}",
         f"{_CALLS}{_CALL}fly{_SEP}{{}}{_CALL_END}{_CALLS_END}"),
    Case("deepseek-dsml", f"T</think>\n\n{_dsml('function_calls')}", "", "T",
         (("edit", '{"filename": "a\\n", "replaceAll": true}'), ("empty_args", "{}")), "<think>", True),
    Case("deepseek-v4", f"T\n\n{_dsml('tool_calls')}", "", "T",
         (("edit", '{"filename": "a\\n", "replaceAll": true}'), ("empty_args", "{}")), "<think>", True),
)  # fmt: skip

_LIST = '[{"name": "special_function", "arguments": {"arg1": 1}}, {"name": "empty_args", "arguments": {}}]'
_LISTED = (ONE, ("empty_args", "{}"))

OTHERS = (
    Case("granite", f"<|tool_call|>{_LIST}", calls=_LISTED),
    Case("granite", f"<tool_call>{_LIST}", calls=_LISTED),
    Case("granite", f"<think>{THOUGHT}</think><response>{HELLO}</response>", HELLO, THOUGHT, thinking="<think>"),
    Case("granite", f"Here is my thought process:\n{THOUGHT}\n\nHere is my response:\n{HELLO}", HELLO, THOUGHT,
         thinking="Here is my thought process:"),
    Case("phi-4", f"<|tool_call|>{_LIST}<|/tool_call|>", calls=_LISTED),
    Case("phi-4", f"functools{_LIST}", calls=_LISTED),
    Case("functools", f" functools{_LIST}", calls=_LISTED),
    Case("nemotron", f"<TOOLCALL>{_LIST}</TOOLCALL>", calls=_LISTED),
    Case("command-r", f"<|START_THINKING|>{THOUGHT}<|END_THINKING|><|START_ACTION|>[\n    "
         '{"tool_call_id": "0", "tool_name": "special_function", "parameters": {"arg1": 1}}\n]<|END_ACTION|>', "",
         THOUGHT, (ONE,), thinking="<|START_THINKING|>"),
    Case("command-r", f"<|START_THINKING|>{THOUGHT}<|END_THINKING|><|START_RESPONSE|>{HELLO}<|END_RESPONSE|>", HELLO,
         THOUGHT, thinking="<|START_THINKING|>"),
    Case("llama3", HELLO, HELLO),
    Case("llama3", '{"name": "special_function", "parameters": {"arg1": 1}}', calls=(ONE,)),
    Case("llama3", '{"type": "function", "name": "special_function", "parameters": {"arg1": 1}}; '
         '{"name": "special_function_with_opt", "parameters": {"arg1": 1, "arg2": 2}}', calls=(ONE, TWO)),
    Case("llama3", '<|python_tag|>{"name": "special_function", "parameters": {"arg1": 1}}', calls=(ONE,)),
    Case("llama3", '<|python_tag|>get_time.call(city="London")', calls=(("get_time", '{"city": "London"}'),)),
    Case("llama3", '<|python_tag|>print("hi")', calls=(("python", '{"code": "print(\\"hi\\")"}'),)),
    Case("llama3", '{"name": "Ann", "age": 3}', '{"name": "Ann", "age": 3}'),
    Case("llama3", '{"answer": 3} is', '{"answer": 3} is'),
    Case("llama3", '[{"name": "Ann"}]', '[{"name": "Ann"}]'),
    Case("llama3", f"{_LIST}", calls=_LISTED),
    Case("llama3", '[get_time(city="X"), empty_args()]', calls=(("get_time", '{"city": "X"}'), ("empty_args", "{}"))),
    Case("llama3", "[1, 2]", "[1, 2]"),
    Case("lfm2", '<|tool_call_start|>[special_function(arg1=1), get_time(city="X")]<|tool_call_end|>Done.', "Done.",
         calls=(ONE, ("get_time", '{"city": "X"}'))),
    Case("lfm2", "<|tool_call_start|>[fly()]<|tool_call_end|>", "<|tool_call_start|>[fly()]<|tool_call_end|>"),
    Case("functionary", '<function=special_function>{"arg1": 1}</function><function=empty_args>{}</function>',
         calls=_LISTED),
    Case("functionary", "<function=fly>{}</function>", "<function=fly>{}</function>"),
    Case("glm", "<tool_call>special_function\n<arg_key>arg1</arg_key>\n<arg_value>1</arg_value>\n</tool_call>",
         calls=(ONE,)),
    Case("glm", "<tool_call>get_time<arg_key>city</arg_key><arg_value>X </arg_value></tool_call>\n"
         "<tool_call>empty_args</tool_call>", calls=(("get_time", '{"city": "X "}'), ("empty_args", "{}"))),
    Case("kimi", "<|tool_calls_section_begin|><|tool_call_begin|>functions.special_function:0"
         '<|tool_call_argument_begin|>{"arg1": 1}<|tool_call_end|><|tool_call_begin|>functions.empty_args:1'
         "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>", calls=_LISTED),
    Case("generic", HELLO, HELLO),
    Case("generic", '<tool_call>{"name": "special_function", "arguments": {"arg1": 1}}</tool_call>', calls=(ONE,)),
    Case("generic", '{"name": "special_function", "arguments": {"arg1": 1}}', calls=(ONE,)),
    Case("generic", f"Sure:\n```json\n{_LIST}\n```", "Sure:", calls=_LISTED),
    Case("generic", '```json\n{"name": "special_function", "parameters": {"arg1": 1}}\n```\n', calls=(ONE,)),
    Case("generic", "```json\n{}\n```", "```json\n{}\n```"),
    Case("generic", '```tool_code\nget_time(city="Paris")\n```', calls=(("get_time", '{"city": "Paris"}'),)),
    Case("generic", "```tool_code\nprint(1)\n```", "```tool_code\nprint(1)\n```"),
    Case("generic", "```python\nx\n```", "```python\nx\n```"),
)  # fmt: skip

_FIRST, _OBJECTS = '{"name": "special_function", "arguments": {"arg1": 1}}', '{"name": "empty_args", "arguments": {}}'
_X = (("get_time", '{"city": "X"}'), ("empty_args", "{}"))


def _invoke(call: str, argument: str, name: str, **arguments: str) -> str:
    inner = "".join(f'<{argument} name="{key}">{value}</{argument}>\n' for key, value in arguments.items())
    return f'<{call} name="{name}">\n{inner}</{call}>\n'


_IN_M2 = partial(_invoke, "invoke", "parameter")
_IN_MINICPM = partial(_invoke, "function", "param")

MORE = (
    Case("seed", "<seed:tool_call>\n<function=edit>\n<parameter=filename>a\n</parameter>\n"
         "<parameter=replaceAll>true</parameter>\n</function>\n</seed:tool_call>\n"
         "<seed:tool_call>\n<function=empty_args>\n</function>\n</seed:tool_call>",
         calls=(("edit", '{"filename": "a\\n", "replaceAll": true}'), ("empty_args", "{}"))),
    Case("seed", "Well.<seed:tool_call>\n<function=fly>\n</function>\n</seed:tool_call>",
         "Well.<seed:tool_call>\n<function=fly>\n</function>\n</seed:tool_call>"),
    Case("minimax-m2", f"{HELLO}\n<minimax:tool_call>\n{_IN_M2('get_time', city='X')}{_IN_M2('empty_args')}"
         "</minimax:tool_call>", HELLO, calls=_X),
    Case("minimax-m2", f"<minimax:tool_call>\n{_IN_M2('fly')}</minimax:tool_call>",
         f"<minimax:tool_call>\n{_IN_M2('fly')}</minimax:tool_call>"),
    Case("minicpm5", f"{THOUGHT}\n</think>\n\n{_IN_MINICPM('get_time', city='X')}{_IN_MINICPM('empty_args')}",
         "", THOUGHT, _X, thinking="<think>", is_thinking=True),
    Case("minicpm5", _IN_MINICPM("python", code="<![CDATA[a < b\n</param>]]>"),
         calls=(("python", '{"code": "a < b\\n</param>"}'),)),
    Case("hy3", "<tool_calls:opensource>\n<tool_call:opensource>get_time<tool_sep:opensource>\n"
         "<arg_key:opensource>city</arg_key:opensource>\n<arg_value:opensource>X</arg_value:opensource>\n"
         "</tool_call:opensource>\n<tool_call:opensource>empty_args<tool_sep:opensource>\n</tool_call:opensource>\n"
         "</tool_calls:opensource>", calls=_X),
    Case("hy3", f"<think:opensource>{THOUGHT}</think:opensource>{HELLO}", HELLO, THOUGHT,
         thinking="<think:opensource>"),
    Case("apertus", '<|tools_prefix|>[{"special_function": {"arg1": 1}}, {"empty_args": {}}]<|tools_suffix|>',
         calls=_LISTED),
    Case("apertus", '<|tools_prefix|>[{"fly": {}}]<|tools_suffix|>', '<|tools_prefix|>[{"fly": {}}]<|tools_suffix|>'),
    Case("internlm", f"{HELLO}<|action_start|><|plugin|>\n{_FIRST}<|action_end|><|action_start|><|plugin|>"
         f"{_OBJECTS}<|action_end|>", HELLO, calls=_LISTED),
    Case("gigachat3.1", f"{HELLO}<|function_call|>{_FIRST}<|message_sep|>", HELLO, calls=(ONE,)),
    Case("gigachat3", f"{HELLO}<|message_sep|>\n\nfunction call<|role_sep|>\n{_FIRST}<|message_sep|>", HELLO,
         calls=(ONE,)),
    Case("gigachat3", f"function call<|role_sep|>\n{_FIRST}", calls=(ONE,)),
    Case("tool-calls", f"{HELLO}\n<tool_calls>{_LIST}</tool_calls>", HELLO, calls=_LISTED),
    Case("tool-calls", '<tool_calls>[{"name": "fly"}]</tool_calls>', '<tool_calls>[{"name": "fly"}]</tool_calls>'),
    Case("tool-calls", f"Here are my reasoning steps:\n{THOUGHT}\n[BEGIN FINAL RESPONSE]\n{HELLO}", HELLO, THOUGHT,
         thinking="Here are my reasoning steps:"),
    Case("jamba", f"<tool_calls>[\n    {_FIRST},\n    {_OBJECTS}\n]</tool_calls>", calls=_LISTED),
    Case("minimax-m1", f"<tool_calls>\n{_FIRST}\n{_OBJECTS}\n</tool_calls>", calls=_LISTED),
    Case("functiongemma", "<start_function_call>call:get_time{city:<escape>X<escape>}<end_function_call>"
         "<start_function_call>call:empty_args{}<end_function_call>", calls=_X),
    Case("functiongemma", "<start_function_call>call:fly{}<end_function_call>",
         "<start_function_call>call:fly{}<end_function_call>"),
    Case("llama4", f"<|python_start|><|python_end|>{_FIRST}{_OBJECTS}", calls=_LISTED),
    Case("llama4", '[get_time(city="X"), empty_args()]', calls=_X),
    Case("llama4", '<|python_start|>[get_time(city="X"), empty_args()]<|python_end|>', calls=_X),
    Case("llama4", HELLO, HELLO),
    Case("lfm2", "<|tool_call_start|>[python(code='a\n\"b\"')]<|tool_call_end|>",
         calls=(("python", '{"code": "a\\n\\"b\\""}'),)),
    Case("hermes", f"<mm:think>{THOUGHT}</mm:think>{HELLO}", HELLO, THOUGHT, thinking="<mm:think>"),
)  # fmt: skip

CASES = (*HERMES, *TAGGED, *MISTRAL, *GEMMA, *HARMONY, *DEEPSEEK, *OTHERS, *MORE)
