"""The bodies of /v1/responses, as OpenAI's API reference has them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from localllm.server.dialects.openai_common import MAX_TOP_LOGPROBS, TokenLogprobBody
from localllm.server.dialects.openai_fields import Count, CountOrAll, SamplingFields, StreamOptions
from localllm.server.dialects.openai_messages import ContentPart

Status = Literal["completed", "incomplete", "in_progress", "failed"]


# --- what is asked


class InputItem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A message, a call of a function, its output, or what was thought; items of a response's output are such, too."""

    type: str | None = None
    """None: a message."""
    id: str | None = None
    role: str | None = None
    content: str | list[ContentPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[ContentPart] | None = None
    summary: list[ContentPart] | None = None
    status: str | None = None


class FunctionTool(msgspec.Struct, kw_only=True):
    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class TextFormat(msgspec.Struct, kw_only=True, omit_defaults=True):
    type: str | None = None
    name: str | None = None
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class TextOptions(msgspec.Struct):
    format: TextFormat | None = None
    verbosity: str | None = None


class Reasoning(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None
    """Anything but null: the thinking is told as a summary, word for word."""
    generate_summary: str | None = None
    """The older name of summary."""


class ResponsesBody(SamplingFields, kw_only=True):
    input: str | list[InputItem] | None = None
    instructions: str | None = None
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_output_tokens: Count | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    include: list[str] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    enable_thinking: bool | None = None
    thinking_budget_tokens: CountOrAll | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None
    # Tolerated: they change nothing here.
    truncation: str | None = None
    max_tool_calls: int | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None


# --- what is answered


class OutputText(msgspec.Struct):
    text: str
    logprobs: list[TokenLogprobBody] = []
    annotations: list[Any] = []
    type: Literal["output_text"] = "output_text"


class ThinkingText(msgspec.Struct):
    text: str
    type: Literal["reasoning_text", "summary_text"]


class MessageItem(msgspec.Struct, kw_only=True):
    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    status: Status
    content: list[OutputText]


class ReasoningItem(msgspec.Struct, kw_only=True):
    id: str
    type: Literal["reasoning"] = "reasoning"
    status: Status
    summary: list[ThinkingText]
    content: list[ThinkingText]
    encrypted_content: None = None


class CallItem(msgspec.Struct, kw_only=True):
    id: str
    type: Literal["function_call"] = "function_call"
    status: Status
    call_id: str
    name: str
    arguments: str


OutputItem = MessageItem | ReasoningItem | CallItem


class InputDetails(msgspec.Struct):
    cached_tokens: int
    cache_write_tokens: int = 0


class OutputDetails(msgspec.Struct):
    reasoning_tokens: int


class ResponseUsage(msgspec.Struct):
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: InputDetails
    output_tokens_details: OutputDetails


class ResponseError(msgspec.Struct):
    code: str
    message: str


class Incomplete(msgspec.Struct):
    reason: str


class TextConfig(msgspec.Struct):
    format: TextFormat


class Response(msgspec.Struct, kw_only=True):
    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Status
    error: ResponseError | None = None
    incomplete_details: Incomplete | None = None
    instructions: str | None
    model: str
    output: list[Any]
    """Of MessageItem, ReasoningItem and CallItem."""
    usage: ResponseUsage | None = None
    tools: list[FunctionTool]
    tool_choice: str | dict[str, Any]
    parallel_tool_calls: bool
    text: TextConfig
    reasoning: Reasoning
    temperature: float
    top_p: float
    top_logprobs: int
    max_output_tokens: int | None
    previous_response_id: str | None
    store: bool
    metadata: dict[str, str]
    user: str | None
    truncation: Literal["disabled"] = "disabled"
    background: Literal[False] = False
    service_tier: Literal["default"] = "default"


class ResponseEvent(msgspec.Struct, kw_only=True):
    """An item of the stream; the fields that its type has."""

    type: str
    sequence_number: int
    response: Response | UnsetType = UNSET
    output_index: int | UnsetType = UNSET
    item: Any = UNSET
    item_id: str | UnsetType = UNSET
    content_index: int | UnsetType = UNSET
    summary_index: int | UnsetType = UNSET
    part: Any = UNSET
    delta: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET
    logprobs: list[TokenLogprobBody] | UnsetType = UNSET
    timings: Any = UNSET


class Deleted(msgspec.Struct):
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class ItemList(msgspec.Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[Any]
    first_id: str | None
    last_id: str | None
    has_more: bool
