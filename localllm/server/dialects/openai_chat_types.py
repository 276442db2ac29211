"""The bodies of /v1/chat/completions, as OpenAI's API reference has them; reasoning_content, timings and progress are
llama.cpp's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from localllm.server.dialects.openai_common import MAX_TOP_LOGPROBS, LogprobsBody, Progress, Timings, UsageBody
from localllm.server.dialects.openai_fields import CountOrAll, GenerationFields
from localllm.server.dialects.openai_messages import FunctionCall, FunctionDefinition, Messages, Tool


class JsonSchema(msgspec.Struct):
    name: str | None = None
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    """An answer keeps to its schema, whatever stands here."""


class ResponseFormat(msgspec.Struct):
    type: str
    json_schema: JsonSchema | None = None
    schema: dict[str, Any] | None = None
    """llama.cpp's: of json_object."""


class ChatBody(GenerationFields, kw_only=True):
    messages: Messages
    max_completion_tokens: CountOrAll | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: list[FunctionDefinition] | None = None
    function_call: str | dict[str, Any] | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    reasoning_effort: str | None = None
    enable_thinking: bool | None = None
    thinking_budget_tokens: CountOrAll | None = None
    reasoning_budget_tokens: CountOrAll | None = None
    """llama.cpp's name of thinking_budget_tokens."""
    reasoning_format: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    continue_final_message: bool | str | None = None
    """Whether a last message of the assistant is continued; not given: it is, as in llama.cpp."""
    modalities: list[str] | None = None
    # Tolerated: they change nothing here.
    prediction: Any = None
    store: bool | None = None
    metadata: Any = None
    service_tier: str | None = None
    verbosity: str | None = None


class CallFunction(msgspec.Struct):
    arguments: str
    name: str | UnsetType = UNSET


class MessageCall(msgspec.Struct):
    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class AnswerMessage(msgspec.Struct, kw_only=True):
    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[MessageCall] | UnsetType = UNSET
    function_call: FunctionCall | UnsetType = UNSET


class ChatChoice(msgspec.Struct):
    index: int
    message: AnswerMessage
    logprobs: LogprobsBody | None
    finish_reason: str


class ChatCompletion(msgspec.Struct, kw_only=True):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: UsageBody
    system_fingerprint: str
    timings: Timings


class DeltaCall(msgspec.Struct):
    index: int
    function: CallFunction
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET


class ChatDelta(msgspec.Struct, kw_only=True):
    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[DeltaCall] | UnsetType = UNSET
    function_call: CallFunction | UnsetType = UNSET


class ChunkChoice(msgspec.Struct):
    index: int
    delta: ChatDelta
    logprobs: LogprobsBody | None = None
    finish_reason: str | None = None


class ChatChunk(msgspec.Struct, kw_only=True):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: UsageBody | UnsetType | None = UNSET
    timings: Timings | UnsetType = UNSET
    prompt_progress: Progress | UnsetType = UNSET


class InputTokens(msgspec.Struct):
    input_tokens: int
    object: Literal["response.input_tokens"] = "response.input_tokens"
