"""Chat templates: messages to the text that a model was trained on.

A file brings its own template, in Jinja, as `tokenizer.chat_template`; more of them may be there by name
(`tokenizer.chat_template.<name>`). What templates may call is what `apply_chat_template` of transformers offers them.
For a file without one, its vocabulary shows which named template it wants (localllm.text.templates); where it shows
none, plain dialogue is used. `is_fallback` and `description` say so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from localllm.errors import FileError, TemplateError, TemplateTimeError, UsageError
from localllm.text.templates import TEMPLATES, fallback_for, named, unknown_name

if TYPE_CHECKING:
    from jinja2 import Template

    from localllm.text.tokenizer import Tokenizer

MAX_SOURCE = 1 << 17
"""Characters of a template; the longest on the hub have some 30,000."""

TEMPLATE_KEY = "tokenizer.chat_template"
"""Where files have their template; others by their names behind it."""
OWN = "the file's own"


def _advice(used: str, why: str) -> str:
    return f"This model has no chat template: {used} is used, as {why}. --chat-template chooses another."


class ChatTemplate:
    """A Jinja template. `bos` and `eos` are the texts of those tokens, which templates write themselves."""

    def __init__(
        self,
        source: str,
        bos: str = "",
        eos: str = "",
        description: str = OWN,
        stop: tuple[str, ...] = (),
        advice: str = "",
        more_tokens: Mapping[str, str] | None = None,
    ) -> None:
        """more_tokens: texts of other special tokens, by their variables (`pad_token`, ...). description: where it
        comes from, for people. stop: strings that end an answer; none, where the model's own end tokens do. advice:
        what a user should know, where the file has none, and nobody chose one."""
        if len(source) > MAX_SOURCE:
            raise TemplateError(f"chat template: {len(source)} characters long, at most {MAX_SOURCE} are taken")
        self.source, self.description, self.stop, self.advice = source, description, stop, advice
        self._tokens = {"bos_token": bos, "eos_token": eos, **(more_tokens or {})}
        self._compiled: Template | None = None

    @property
    def is_fallback(self) -> bool:
        """The file has none, and nobody chose one."""
        return bool(self.advice)

    def render(self, /, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True, **extra: Any) -> str:
        """The text of `messages` ({"role": ..., "content": ...}), ready for the assistant's turn.

        `extra` are further variables (tools, enable_thinking, ...). TemplateError when the template is broken, refuses
        the messages, or goes beyond a limit of localllm.text.limits; TemplateTimeError where that is its time.
        """
        from localllm.text.limits import MAX_TEXT, LimitError, check_clock, check_made, start_rendering

        start_rendering()  # compiling counts
        if self._compiled is None:
            self._compiled = _compile(self.source)
        variables = {"tools": None, "documents": None, **self._tokens, **extra}
        variables |= {"messages": list(map(_prepared, messages)), "add_generation_prompt": add_generation_prompt}
        pieces, size = [], 0
        try:
            for piece in self._compiled.generate(variables):
                check_clock()
                check_made(piece)
                size += len(piece)
                if size > MAX_TEXT:
                    raise LimitError(f"it writes more than {MAX_TEXT} characters")
                pieces.append(piece)
        except Exception as error:  # what a template computes may raise anything
            _fail(error)
        return "".join(pieces)


class PlainTurns:
    """Turns in plain words, for models that know no chat format. `stop` keeps the model from playing the user, too."""

    is_fallback = True
    description = "fallback: plain dialogue (nothing in its vocabulary shows a chat format)"
    advice = _advice("plain dialogue", "nothing in its vocabulary shows a chat format")
    stop: tuple[str, ...] = ("\nUser:",)
    _NAMES = {"user": "User", "assistant": "Assistant"}  # noqa: RUF012

    def render(self, /, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True, **extra: Any) -> str:
        """The text of `messages`; a system message stands before the turns as it is."""
        turns = []
        for message in messages:
            role, content = str(message.get("role", "user")), str(message.get("content") or "").strip()
            if role == "system":
                turns.append(f"{content}\n\n")
            else:
                turns.append(f"{self._NAMES.get(role, role.capitalize())}: {content}\n")
        return "".join(turns) + ("Assistant:" if add_generation_prompt else "")


def chat_template(
    metadata: Mapping[str, Any], tokenizer: Tokenizer | None, name: str | None = None
) -> ChatTemplate | PlainTurns:
    """The template of a file, or that of the given name; for a file without any, what its vocabulary asks for.

    TemplateError for a name that is not there, naming those that are.
    """
    source = metadata.get(TEMPLATE_KEY if name is None else f"{TEMPLATE_KEY}.{name}")
    if source is None and name is None:
        source = metadata.get(f"{TEMPLATE_KEY}.default")
    if source is None and name is not None:
        has = ", ".join(_own_names(metadata)) or "none"
        raise TemplateError(f"the file has no chat template called {name!r:.60}; by name it has: {has}")
    if source is None:
        return _fallback(metadata, tokenizer)
    if not isinstance(source, str):
        raise TemplateError(f"{TEMPLATE_KEY} is {type(source).__name__}, not a text")
    if source in TEMPLATES:  # older files of RWKV's hold a name of llama.cpp's
        return _from_name(source, metadata, tokenizer, f"{OWN}: {source}")
    return _made(source, metadata, tokenizer, OWN if name is None else f"{OWN}: {name}")


def chosen_template(given: str, metadata: Mapping[str, Any], tokenizer: Tokenizer | None) -> ChatTemplate | PlainTurns:
    """The template that a user names: one of localllm.text.templates, a file with one in Jinja, one that the model's
    file has by this name, or the template itself (a text with "{{" or "{%").

    UsageError for a name that is none of these; FileError for a file that cannot be read.
    """
    if given in TEMPLATES:
        return _from_name(given, metadata, tokenizer, f"named: {given}")
    if "{{" in given or "{%" in given:
        return _made(given, metadata, tokenizer, "given as text")
    if os.path.isfile(given):
        return _made(_read(given), metadata, tokenizer, f"from {given}")
    if given in _own_names(metadata):
        return chat_template(metadata, tokenizer, given)
    if os.path.basename(given) != given or given.endswith((".jinja", ".jinja2", ".j2", ".txt")):
        raise FileError(f"{given}: no such file (a chat template)")
    raise UsageError(unknown_name(given))


def _own_names(metadata: Mapping[str, Any]) -> list[str]:
    return sorted(key[len(TEMPLATE_KEY) + 1 :] for key in metadata if key.startswith(TEMPLATE_KEY + "."))


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(4 * MAX_SOURCE + 1)  # four bytes a character at most
        return data.decode()
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not a chat template: byte {error.start} is not UTF-8") from None


def _fallback(metadata: Mapping[str, Any], tokenizer: Tokenizer | None) -> ChatTemplate | PlainTurns:
    if tokenizer is None:
        return PlainTurns()
    kind = metadata.get("tokenizer.ggml.model")
    found = fallback_for(lambda text: tokenizer.special_id(text) is not None, str(kind))
    if found is None:
        return PlainTurns()
    why = f"its vocabulary has {' and '.join(found.signs)}"
    description, advice = f"fallback: {found.name} ({why})", _advice(found.name, why)
    return _from_name(found.name, metadata, tokenizer, description, advice)


def _from_name(
    name: str, metadata: Mapping[str, Any], tokenizer: Tokenizer | None, description: str, advice: str = ""
) -> ChatTemplate:
    row = named(name)
    return _made(row.source, metadata, tokenizer, description, row.stop, advice)


def _made(
    source: str, metadata: Mapping[str, Any], tokenizer: Tokenizer | None, description: str,
    stop: tuple[str, ...] = (), advice: str = "",
) -> ChatTemplate:  # fmt: skip
    bos, eos = ("", "") if tokenizer is None else (_text(tokenizer, i) for i in (tokenizer.bos_id, tokenizer.eos_id))
    texts = () if tokenizer is None else tokenizer.tokens
    more = {
        variable: texts[metadata[key]]
        for variable, key in _MORE_TOKENS.items()
        if isinstance(metadata.get(key), int) and 0 <= metadata[key] < len(texts)
    }
    return ChatTemplate(source, bos, eos, description, stop, advice, more)


_MORE_TOKENS = {
    f"{name}_token": f"tokenizer.ggml.{key}_token_id"
    for name, key in (("pad", "padding"), ("unk", "unknown"), ("sep", "seperator"), ("mask", "mask"), ("cls", "cls"))
}
"""Variables of templates -> keys of files, which spell one of them so."""


def _prepared(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as `apply_chat_template` of transformers hands it on: without fields that are None, and with thoughts
    by each name that templates read."""
    plain = {key: value for key, value in message.items() if value is not None}
    thoughts = next((plain[key] for key in _THOUGHTS if key in plain), None)
    return plain if thoughts is None else {"thinking": thoughts, **plain, "reasoning_content": thoughts}


_THOUGHTS = ("reasoning_content", "thinking", "reasoning")


def _text(tokenizer: Tokenizer, token_id: int | None) -> str:
    return "" if token_id is None else tokenizer.token_text(token_id)


def _compile(source: str) -> Template:
    from localllm.text.sandbox import TemplateSandbox

    sandbox = TemplateSandbox()
    sandbox.filters["tojson"] = _to_json
    sandbox.globals["raise_exception"] = _refuse
    sandbox.globals["strftime_now"] = _now
    try:
        return sandbox.from_string(source)
    except Exception as error:  # beside syntax errors: deep nesting ends in RecursionError, MemoryError or SyntaxError
        _fail(error)


class _RefusedError(Exception):
    """A template called raise_exception."""


def _refuse(message: str) -> NoReturn:
    raise _RefusedError(message)


def _now(form: str) -> str:
    from datetime import datetime

    from localllm.text.limits import MAX_WIDTH, check_length

    check_length(len(form), MAX_WIDTH)
    return datetime.now().strftime(form)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as transformers writes it: jinja2's own escapes `<`, `>` and `&` for HTML."""
    from localllm.text.limits import MAX_WIDTH, LimitError
    from localllm.text.sandbox import TemplateSandbox

    if (indent if isinstance(indent, int) else len(indent or "")) > MAX_WIDTH:
        raise LimitError(f"it asks for an indentation of more than {MAX_WIDTH}")
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys, default=_listed
    )
    chunks: Iterable[str] = encoder.iterencode(value)
    return TemplateSandbox.concat(chunks)


def _listed(value: object) -> list[Any]:
    """What `map` and its like give, as llama.cpp's own templates write it."""
    if isinstance(value, Iterator):
        return list(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _fail(error: Exception) -> NoReturn:
    """TemplateError with one clear line, and the line of the template where it can be told."""
    from jinja2.exceptions import TemplateSyntaxError

    from localllm.terminal.safe import visible
    from localllm.text.limits import LimitError, TimeLimitError

    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, TemplateSyntaxError):
        line = error.lineno
    where = "chat template" if line is None else f"chat template, line {line}"
    text = " ".join(visible(str(error)[:3000]).split())[:300]
    if isinstance(error, _RefusedError):
        raise TemplateError(f"{where}: it refuses these messages: {text}") from None
    if isinstance(error, TimeLimitError):
        raise TemplateTimeError(f"{where}: {text}") from None
    if isinstance(error, LimitError):
        raise TemplateError(f"{where}: {text}") from None
    raise TemplateError(f"{where}: {type(error).__name__}: {text or 'no more is known'}") from None
