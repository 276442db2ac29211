"""Fields that chat, completions and responses share: how tokens are chosen, where answers end, what form they take.

OpenAI's names first; llama.cpp's (tools/server/server-schema.cpp) and vLLM's beside them. null is as good as nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from localllm.errors import GrammarError, UsageError
from localllm.generate.constraint import NewConstraint
from localllm.generate.grammar import Grammar, compile_grammar
from localllm.generate.params import Sampling
from localllm.server.chat import default_sampling
from localllm.server.dialects.openai_common import as_json, refuse

if TYPE_CHECKING:
    from localllm.server.call import Call
    from localllm.server.models import Served

MAX_ANSWERS = 128
MAX_STOPS = 64
MAX_STOP_LENGTH = 1000
MAX_BIASES = 4096

Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
CountOrAll = Annotated[int, Meta(ge=-1, le=2**31 - 1)]


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Tolerated: nothing is added to hide lengths."""


class StructuredOutputs(msgspec.Struct):
    """vLLM's newer form of guided_json and the like."""

    json: dict[str, Any] | str | bool | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None


class SamplingFields(msgspec.Struct, kw_only=True):
    """How the next token is chosen. What is not given is the model file's, or llama.cpp's, default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    top_n_sigma: float | None = None
    xtc_probability: float | None = None
    xtc_threshold: float | None = None
    dynatemp_range: float | None = None
    dynatemp_exponent: float | None = None
    repeat_penalty: float | None = None
    repetition_penalty: float | None = None
    """vLLM's name of repeat_penalty."""
    repeat_last_n: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: int | None = None
    dry_penalty_last_n: int | None = None
    dry_sequence_breakers: list[str] | None = None
    mirostat: int | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    adaptive_target: float | None = None
    adaptive_decay: float | None = None
    min_keep: int | None = None
    samplers: list[str] | str | None = None
    seed: int | None = None
    logit_bias: dict[str, float | bool] | list[list[int | float | str | bool]] | None = None
    """{id: bias} or llama.cpp's [[id or text, bias or false]]: false bans."""


class GenerationFields(SamplingFields, kw_only=True):
    """What requests for text have in common."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_ANSWERS)] | None = None
    stop: str | list[str] | None = None
    max_tokens: CountOrAll | None = None
    n_predict: CountOrAll | None = None
    """llama.cpp's name of max_tokens."""
    ignore_eos: bool | None = None
    cache_prompt: bool | None = None
    return_progress: bool | None = None
    grammar: str | None = None
    """GBNF."""
    json_schema: dict[str, Any] | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    structured_outputs: StructuredOutputs | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


_OTHER_NAMES = {"repetition_penalty": "repeat_penalty"}
_OWN_WAY = ("logit_bias", "seed")
_PLAIN = tuple(name for name in SamplingFields.__struct_fields__ if name not in _OWN_WAY)


def sampling(body: SamplingFields, served: Served) -> Sampling:
    """The model's own sampling with what a body says of it. ApiError for a value out of its range."""
    given = {_OTHER_NAMES.get(n, n): value for n in _PLAIN if (value := getattr(body, n)) is not None}
    if body.seed is not None and body.seed != -1:  # llama.cpp's word for any
        given["seed"] = body.seed
    if body.logit_bias:
        given["logit_bias"] = _biases(body.logit_bias, served)
    return own_sampling(served, given)


def own_sampling(served: Served, given: Mapping[str, Any], where: str = "") -> Sampling:
    """The model's own sampling, but for fields that are given. ApiError for a value out of its range; where: what the
    client calls the place of the fields."""
    try:
        return replace(default_sampling(served), **given)
    except UsageError as error:
        name = str(error).split(" ", 1)[0]
        raise refuse(f"{where}{error}", f"{where}{name}" if name in _NAMES else None) from None


_NAMES = {f.name for f in fields(Sampling)}


def _biases(given: dict[str, float | bool] | list[list[Any]], served: Served) -> dict[int, float]:
    """Both forms of logit_bias as {id: bias}; false is a ban. A text stands for each of its tokens, as in llama.cpp."""
    pairs = list(given.items()) if isinstance(given, dict) else given
    if len(pairs) > MAX_BIASES:
        raise refuse(f"logit_bias has {len(pairs)} entries, {MAX_BIASES} are the most", "logit_bias")
    biases: dict[int, float] = {}
    for pair in pairs:
        if len(pair) != 2:
            raise refuse("logit_bias: each entry is a token and its bias", "logit_bias")
        token, bias = pair
        if bias is True or isinstance(bias, str):
            raise refuse(f"logit_bias: {bias!r:.40} is no bias: give a number, or false to ban the token", "logit_bias")
        value = float("-inf") if bias is False else float(bias)
        for token_id in _bias_ids(token, served):
            biases[token_id] = value
    return biases


def _bias_ids(token: int | float | str | bool, served: Served) -> list[int]:
    n_vocab = served.model.config.n_vocab
    if isinstance(token, str) and not token.removeprefix("-").isdecimal():
        ids: list[int] = served.tokenizer().encode(token, parse_special=True)
        return ids
    if isinstance(token, bool | float) and not float(token).is_integer():
        raise refuse(f"logit_bias: {token!r} is no token id", "logit_bias")
    token_id = int(token)
    if not 0 <= token_id < n_vocab:
        raise refuse(f"logit_bias: token id {token_id}: ids go from 0 to {n_vocab - 1}", "logit_bias")
    return [token_id]


def max_tokens(body: GenerationFields, *others: int | None) -> int | None:
    """The limit, by whatever name it came; None for none."""
    given = next((value for value in (*others, body.max_tokens, body.n_predict) if value is not None), None)
    return None if given == -1 else given


def user(body: Any, call: Call) -> str:
    """Whose request it is: of a client, and of the people behind it."""
    return call.behind(body.safety_identifier or body.user)


def stops(given: str | list[str] | None) -> tuple[str, ...]:
    texts = [given] if isinstance(given, str) else given or []
    if len(texts) > MAX_STOPS or any(len(text) > MAX_STOP_LENGTH for text in texts):
        raise refuse(f"stop takes at most {MAX_STOPS} texts of at most {MAX_STOP_LENGTH} characters", "stop")
    return tuple(text for text in texts if text)


def thinking(
    variables: dict[str, Any] | None, enabled: bool | None, effort: str | None
) -> tuple[bool | None, dict[str, Any]]:
    """Whether the model is to think (None: as its template has it), and what else its template is told.

    variables: chat_template_kwargs. Raises ApiError.
    """
    told = dict(variables or {})
    asked = told.pop("enable_thinking", None)
    if asked is not None and not isinstance(asked, bool):
        raise refuse("chat_template_kwargs.enable_thinking: must be true or false", "chat_template_kwargs")
    if effort == "none":
        return False, told
    if effort:
        told["reasoning_effort"] = effort
    return asked if enabled is None else enabled, told


def schema_grammar(schema: Any) -> Grammar:
    return Grammar("json_schema", schema if isinstance(schema, str) else as_json(schema))


def choice_grammar(choices: list[str]) -> Grammar:
    """One of some texts, word for word."""
    return Grammar("lark", "start: " + " | ".join(as_json(text) for text in choices))


def json_grammar(schema: dict[str, Any] | None = None) -> Grammar:
    """Any JSON object, or what a schema describes."""
    return schema_grammar(schema) if schema else Grammar("json", "object")


_FORMS = (
    ("grammar", lambda value: Grammar("gbnf", value)),
    ("json_schema", json_grammar),
    ("guided_json", schema_grammar),
    ("guided_regex", lambda value: Grammar("regex", value)),
    ("guided_choice", choice_grammar),
    ("guided_grammar", lambda value: Grammar("lark", value)),
)
_STRUCTURED = (
    ("json", schema_grammar),
    ("regex", lambda value: Grammar("regex", value)),
    ("choice", choice_grammar),
    ("grammar", lambda value: Grammar("lark", value)),
    ("json_object", lambda wanted: json_grammar() if wanted else None),
)
"""Fields that say what form an answer takes -> the grammar."""


def grammar(body: GenerationFields, *others: tuple[str, Grammar | None]) -> tuple[str, Grammar | None]:
    """What the extra fields, and others by their names, say of the answer's form: the field's name, "" where none does.

    Raises ApiError where two of them do, or where one cannot be.
    """
    found = {name: made for name, made in others if made is not None}
    found |= _found(body, _FORMS, "")
    if body.structured_outputs is not None:
        found |= _found(body.structured_outputs, _STRUCTURED, "structured_outputs.")
    if len(found) > 1:
        raise refuse(f"{' and '.join(found)}: only one of them can direct an answer", next(iter(found)))
    return next(iter(found.items()), ("", None))


def _found(body: msgspec.Struct, forms: Any, prefix: str) -> dict[str, Grammar]:
    found: dict[str, Grammar] = {}
    for name, make in forms:
        value = getattr(body, name)
        if value is None or value == "":
            continue
        with naming(prefix + name):
            made = make(value)
        if made is not None:
            found[prefix + name] = made
    return found


async def constraint(body: GenerationFields, served: Served) -> NewConstraint | None:
    """What the extra fields say of the answer's form, compiled by a thread. Raises ApiError."""
    name, asked = grammar(body)
    if asked is None:
        return None
    with naming(name):
        return await asyncio.to_thread(compile_grammar, served.tokenizer(), asked)


@contextmanager
def naming(param: str | None) -> Iterator[None]:
    """Grammars that cannot be held to are told with the field that they came by."""
    try:
        yield
    except GrammarError as error:
        raise refuse(str(error), param or None) from None
