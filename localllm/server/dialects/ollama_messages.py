"""What Ollama's clients ask, made neutral: messages, forms, limits, durations."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from localllm.generate.dialogue.conversation import Conversation
from localllm.generate.grammar import Grammar
from localllm.generate.params import Sampling
from localllm.server.call import Call
from localllm.server.chat import Limits, converse
from localllm.server.dialects.ollama_types import Asked, ChatBody, ChatMessage, GenerateBody, KeepAlive, Options
from localllm.server.dialects.openai_common import as_json, refuse
from localllm.server.dialects.openai_fields import json_grammar, own_sampling, stops
from localllm.server.models import Served

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(-?)((?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+)")
_MEASURE = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")


def keep_alive(given: KeepAlive | None) -> float | None:
    """Seconds that a model stays (Go's form of durations: "1h30m"); None: as the server is set."""
    if given is None or isinstance(given, float | int):
        if given is not None and not math.isfinite(given):
            raise refuse("keep_alive: must be a finite number", "keep_alive")
        return given
    if re.fullmatch(r"-?\d{1,9}", given):
        return float(given)
    found = _DURATION.fullmatch(given) if len(given) < 64 else None
    if found is None:
        raise refuse(f"keep_alive is {given!r:.40}: write 10m, 1h30m, or seconds; -1 keeps the model", "keep_alive")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _MEASURE.findall(found[2]))
    return -seconds if found[1] else seconds


def chat_conversation(body: ChatBody) -> Conversation:
    """Raises ApiError."""
    tools = [
        {"type": tool.type, "function": {k: v for k in ("name", "description", "parameters")
                                         if (v := getattr(tool.function, k)) is not None}}
        for tool in body.tools or ()
    ]  # fmt: skip
    last = body.messages[-1]
    return converse(
        messages=_neutral(body.messages),
        tools=tools,
        prefill=last.role == "assistant" and not last.tool_calls,
        **_directions(body),
    )


def generate_conversation(body: GenerateBody) -> Conversation:
    """A prompt as the only question. Raises ApiError."""
    system = [{"role": "system", "content": body.system}] if body.system else []
    return converse(messages=[*system, {"role": "user", "content": body.prompt}], **_directions(body))


def _directions(body: Asked) -> dict[str, Any]:
    effort = {"reasoning_effort": body.think} if isinstance(body.think, str) else {}
    thinking = True if effort else body.think
    return {"thinking": thinking, "template_kwargs": effort, "grammar": form(body.format)}


def form(given: str | dict[str, Any] | None) -> Grammar | None:
    """The grammar of an answer's form. Raises ApiError."""
    if given is None or given == "":
        return None
    if given == "json":
        return json_grammar()
    if isinstance(given, str):
        raise refuse(f'format is {given!r:.40}: it must be "json" or a JSON schema', "format")
    return Grammar("json_schema", as_json(given))


def _neutral(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Calls may have no ids here: results belong to the calls before them, in order or by the tool's name."""
    waiting: list[tuple[str, str]] = []
    neutral = []
    for place, message in enumerate(messages):
        if message.images:
            raise refuse(f"messages[{place}].images: models here read texts alone", "messages")
        result: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.thinking:
            result["reasoning_content"] = message.thinking
        if message.tool_calls:
            waiting = [
                (call.id or f"call_{place}_{i}", call.function.name) for i, call in enumerate(message.tool_calls)
            ]
            result["tool_calls"] = [
                {"id": call_id, "type": "function", "function": {"name": name, "arguments": call.function.arguments}}
                for (call_id, name), call in zip(waiting, message.tool_calls, strict=True)
            ]
        if message.role == "tool":
            result["tool_call_id"] = message.tool_call_id or _id_of(message, waiting)
            if message.tool_name:
                result["name"] = message.tool_name
        neutral.append(result)
    return neutral


def _id_of(message: ChatMessage, waiting: list[tuple[str, str]]) -> str | None:
    place = next((i for i, (_, name) in enumerate(waiting) if name == message.tool_name), 0)
    return waiting.pop(place)[0] if waiting else None


def sampling(options: Options, served: Served) -> Sampling:
    """The model's own sampling with what the options say. Raises ApiError."""
    names = [name for name in Options.__struct_fields__ if name not in ("num_predict", "num_ctx", "stop")]
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    if given.get("seed") == -1:
        del given["seed"]
    return own_sampling(served, given, "options.")


def limits(body: Asked, call: Call) -> Limits:
    options = body.options or Options()
    n = options.num_predict
    return Limits(
        max_tokens=None if n is None or n < 0 else n,
        stop=stops(options.stop),
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        user=call.user,
    )
