"""Bodies and answers of Ollama's API (its docs/api.md; the types of its Python client). Durations are nanoseconds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

KeepAlive = float | str
"""Seconds, or a duration such as "10m"; 0: drop the model now; negative: keep it."""
Think = bool | str
"""Whether the model is to think, or how hard ("low", "medium", "high")."""


class Options(msgspec.Struct, kw_only=True):
    """How tokens are chosen and where an answer ends. Those about the machine (num_gpu, num_thread, ...) are the
    server's own settings here: they are ignored."""

    seed: int | None = None
    num_predict: Annotated[int, Meta(ge=-2, le=2**31 - 1)] | None = None
    """-1 and -2: until the context is full."""
    num_ctx: int | None = None
    """Ignored: the server's -c says what a context holds, and what does not fit is refused."""
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_last_n: int | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    mirostat: int | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    stop: str | list[str] | None = None


class CallFunction(msgspec.Struct, kw_only=True):
    name: str
    arguments: Any = msgspec.field(default_factory=dict)
    index: int | UnsetType = UNSET
    description: str | UnsetType = UNSET


class ToolCallBody(msgspec.Struct, kw_only=True):
    function: CallFunction
    id: str | UnsetType = UNSET


class ChatMessage(msgspec.Struct, kw_only=True):
    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[ToolCallBody] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class FunctionDefinition(msgspec.Struct, kw_only=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(msgspec.Struct, kw_only=True):
    function: FunctionDefinition
    type: str = "function"


class Asked(msgspec.Struct, kw_only=True):
    """What /api/generate and /api/chat have in common."""

    model: str
    stream: bool | None = None
    """Lines as they come, unless it is false."""
    format: str | dict[str, Any] | None = None
    """"json", or a JSON schema."""
    options: Options | None = None
    keep_alive: KeepAlive | None = None
    think: Think | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


class ChatBody(Asked, kw_only=True):
    messages: list[ChatMessage] = msgspec.field(default_factory=list)
    """None: the model is loaded, or with keep_alive 0 dropped."""
    tools: list[Tool] | None = None


class GenerateBody(Asked, kw_only=True):
    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    raw: bool | None = None
    """The prompt as it is, without the chat template."""
    context: list[int] | None = None
    images: list[str] | None = None


class TopLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int]


class Logprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob] | UnsetType = UNSET


class AnswerMessage(msgspec.Struct, kw_only=True):
    role: Literal["assistant"] = "assistant"
    content: str = ""
    thinking: str | UnsetType = UNSET
    tool_calls: list[ToolCallBody] | UnsetType = UNSET


class Answer(msgspec.Struct, kw_only=True):
    """A line of a stream, or the whole answer. What ends it says why and how long it took."""

    model: str
    created_at: str
    done: bool
    done_reason: str | UnsetType = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET
    logprobs: list[Logprob] | UnsetType = UNSET


class ChatAnswer(Answer, kw_only=True):
    message: AnswerMessage


class GenerateAnswer(Answer, kw_only=True):
    response: str
    thinking: str | UnsetType = UNSET


class EmbedBody(msgspec.Struct, kw_only=True):
    model: str
    input: str | list[str]
    truncate: bool | None = None
    """True: texts that are too long are cut at the end. Otherwise they are refused."""
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    options: dict[str, Any] | None = None
    keep_alive: KeepAlive | None = None


class EmbedAnswer(msgspec.Struct, kw_only=True):
    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OldEmbedBody(msgspec.Struct, kw_only=True):
    model: str
    prompt: str
    options: dict[str, Any] | None = None
    keep_alive: KeepAlive | None = None


class OldEmbedAnswer(msgspec.Struct):
    embedding: list[float]


class Details(msgspec.Struct, kw_only=True):
    parent_model: str = ""
    format: str = "gguf"
    family: str = ""
    families: list[str] = msgspec.field(default_factory=list)
    parameter_size: str = ""
    quantization_level: str = ""


class ListedModel(msgspec.Struct, kw_only=True):
    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    """Of name, size and time: files are not read to list them."""
    details: Details


class Tags(msgspec.Struct):
    models: list[ListedModel]


class RunningModel(msgspec.Struct, kw_only=True):
    name: str
    model: str
    size: int
    digest: str
    details: Details
    expires_at: str
    size_vram: int = 0
    context_length: int


class Running(msgspec.Struct):
    models: list[RunningModel]


class ShowBody(msgspec.Struct, kw_only=True):
    model: str | None = None
    name: str | None = None
    """The older name of the field."""
    verbose: bool | None = None


class Shown(msgspec.Struct, kw_only=True):
    modelfile: str
    parameters: str
    template: str
    details: Details
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str
    license: str | UnsetType = UNSET


class PullBody(msgspec.Struct, kw_only=True):
    model: str | None = None
    name: str | None = None
    insecure: bool | None = None
    stream: bool | None = None


class PullStatus(msgspec.Struct, kw_only=True):
    status: str
    total: int | UnsetType = UNSET
    completed: int | UnsetType = UNSET


class Version(msgspec.Struct):
    version: str


class ErrorBody(msgspec.Struct):
    error: str
