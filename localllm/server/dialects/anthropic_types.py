"""Bodies and answers of Anthropic's Messages API (its API reference; the types of its Python client)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

# --- what is asked


class Block(msgspec.Struct, kw_only=True):
    """A block of a message: text, thinking, tool_use, tool_result, or a document that is plain text; others are
    refused. is_error is not told to the model: the content is."""

    type: str
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: str | list[Block] | dict[str, Any] | None = None
    source: dict[str, Any] | None = None
    is_error: bool | None = None


class InputMessage(msgspec.Struct):
    role: str
    content: str | list[Block]


class ToolBody(msgspec.Struct, kw_only=True):
    """A tool of the client's. Those that Anthropic runs itself have a type, and some no name: they are refused."""

    name: str | None = None
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoice(msgspec.Struct, kw_only=True):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct, kw_only=True):
    type: str
    budget_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    display: str | None = None


class OutputFormat(msgspec.Struct, kw_only=True):
    type: str
    schema: dict[str, Any] | None = None


class OutputConfig(msgspec.Struct, kw_only=True):
    format: OutputFormat | None = None
    effort: str | None = None


class Metadata(msgspec.Struct, kw_only=True):
    user_id: str | None = None


class CountBody(msgspec.Struct, kw_only=True):
    """What a message costs, without asking for an answer."""

    messages: Annotated[list[InputMessage], Meta(min_length=1)]
    model: str | None = None
    system: str | list[Block] | None = None
    tools: list[ToolBody] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    """The older name of output_config.format."""
    mcp_servers: list[Any] | None = None
    """Refused where there are some: tools of MCP servers are the client's to call."""


class MessagesBody(CountBody, kw_only=True):
    max_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    """0: the prompt is read, for requests to come."""
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    metadata: Metadata | None = None
    service_tier: str | None = None
    container: Any = None
    inference_geo: str | None = None
    """These three are tolerated: there is one tier, one machine."""


# --- what is answered


class TokenCount(msgspec.Struct):
    input_tokens: int


class AnswerUsage(msgspec.Struct):
    """input_tokens: what was read, without what was known (cache_read_input_tokens)."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_creation_input_tokens: int = 0
    service_tier: str = "standard"


class TextBlock(msgspec.Struct, tag="text"):
    text: str
    citations: None = None


class ThinkingBlock(msgspec.Struct, tag="thinking"):
    thinking: str
    signature: str = ""


class ToolUseBlock(msgspec.Struct, tag="tool_use"):
    id: str
    name: str
    input: Any


AnswerBlock = TextBlock | ThinkingBlock | ToolUseBlock


class AnswerMessage(msgspec.Struct, kw_only=True):
    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[AnswerBlock]
    stop_reason: str | None
    stop_sequence: str | None
    usage: AnswerUsage


class TextDelta(msgspec.Struct, tag="text_delta"):
    text: str


class ThinkingDelta(msgspec.Struct, tag="thinking_delta"):
    thinking: str


class InputDelta(msgspec.Struct, tag="input_json_delta"):
    partial_json: str


class SignatureDelta(msgspec.Struct, tag="signature_delta"):
    """Nobody signs thoughts here; clients wait for it before a thinking block ends."""

    signature: str = ""


class MessageDelta(msgspec.Struct):
    stop_reason: str
    stop_sequence: str | None


class MessageStart(msgspec.Struct, tag="message_start"):
    message: AnswerMessage


class BlockStart(msgspec.Struct, tag="content_block_start"):
    index: int
    content_block: AnswerBlock


class BlockDelta(msgspec.Struct, tag="content_block_delta"):
    index: int
    delta: TextDelta | ThinkingDelta | InputDelta | SignatureDelta


class BlockStop(msgspec.Struct, tag="content_block_stop"):
    index: int


class MessageEnd(msgspec.Struct, tag="message_delta"):
    delta: MessageDelta
    usage: AnswerUsage


class MessageStop(msgspec.Struct, tag="message_stop"):
    pass


class Ping(msgspec.Struct, tag="ping"):
    """What is sent when there was nothing to tell for a while."""


StreamEvent = MessageStart | BlockStart | BlockDelta | BlockStop | MessageEnd | MessageStop | Ping


class ErrorDetails(msgspec.Struct):
    type: str
    message: str


class ErrorBody(msgspec.Struct):
    error: ErrorDetails
    type: Literal["error"] = "error"
