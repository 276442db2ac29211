"""What the endpoints of OpenAI's dialect share: errors, ids, usage, timings, logprobs.

Shapes are those of OpenAI's API reference; what is beyond it has llama.cpp's names (tools/server/README.md).
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from localllm import __version__
from localllm.generate.piece import TokenLogprob
from localllm.generate.stats import Stats
from localllm.server.chat import Usage
from localllm.server.endpoint import ApiError

if TYPE_CHECKING:
    from localllm.text.tokenizer import Tokenizer

FINGERPRINT = f"localllm-{__version__}"
MAX_TOP_LOGPROBS = 20
_NO_CHANCE = -9999.0
"""What JSON, which has no infinity, is told of a token that cannot come (as OpenAI does)."""


class ErrorDetails(msgspec.Struct):
    message: str
    type: str
    param: str | None
    code: str | int | None
    n_prompt_tokens: int | UnsetType = UNSET
    n_ctx: int | UnsetType = UNSET


class ErrorBody(msgspec.Struct):
    error: ErrorDetails


_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


def error_body(error: ApiError) -> ErrorBody:
    """{"error": {message, type, param, code}}; with n_prompt_tokens and n_ctx for a prompt that is too long."""
    details = {name: value for name, value in error.details.items() if name in ErrorDetails.__struct_fields__}
    code = error.code or _CODES.get(error.status)
    return ErrorBody(ErrorDetails(error.message, error.kind, error.param, code, **details))


def new_id(prefix: str) -> str:
    return prefix + secrets.token_hex(16)


_LAST_SECOND = 253402300799.0
"""Of the year 9999: a file may bear any time."""


def timestamp(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339 has it."""
    return datetime.fromtimestamp(min(max(seconds, 0.0), _LAST_SECOND), UTC).isoformat().replace("+00:00", "Z")


def now() -> int:
    return int(time.time())


def refuse(message: str, param: str | None = None) -> ApiError:
    """A 400 that says what is wrong with a field."""
    return ApiError(400, message, param=param)


class PromptDetails(msgspec.Struct):
    cached_tokens: int


class CompletionDetails(msgspec.Struct):
    reasoning_tokens: int


class UsageBody(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


def usage_body(usage: Usage) -> UsageBody:
    return UsageBody(
        usage.prompt,
        usage.completion,
        usage.prompt + usage.completion,
        PromptDetails(usage.cached),
        CompletionDetails(usage.reasoning),
    )


class Timings(msgspec.Struct):
    """llama.cpp's (server_slot_stats::to_json, tools/server/server-common.cpp)."""

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float


def timings(stats: Stats) -> Timings:
    """prompt_n: tokens that were read, without those that were known; predicted_ms begins after the first token."""
    read = stats.prompt_tokens - stats.cached_tokens
    prompt_ms, predicted_ms = 1000 * stats.prompt_seconds, 1000 * stats.answer_seconds
    return Timings(
        cache_n=stats.cached_tokens,
        prompt_n=read,
        prompt_ms=prompt_ms,
        prompt_per_token_ms=prompt_ms / read if read else 0.0,
        prompt_per_second=stats.prompt_rate,
        predicted_n=stats.answer_tokens,
        predicted_ms=predicted_ms,
        predicted_per_token_ms=predicted_ms / stats.steps if stats.steps else 0.0,
        predicted_per_second=stats.answer_rate,
    )


class Progress(msgspec.Struct):
    """How far the prompt was read (llama.cpp's return_progress)."""

    total: int
    cache: int
    processed: int
    time_ms: int


class TopLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobBody(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class LogprobsBody(msgspec.Struct):
    content: list[TokenLogprobBody]
    refusal: None = None


def finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else _NO_CHANCE


def token_name(tokenizer: Tokenizer | None, token: int) -> tuple[str, list[int]]:
    """A token's text (U+FFFD for bytes that are no text by themselves) and its bytes."""
    if tokenizer is None:
        return str(token), []
    raw = tokenizer.token_bytes(token, special=True)
    return raw.decode("utf-8", "replace"), list(raw)


def logprobs_body(tokenizer: Tokenizer | None, tokens: Sequence[TokenLogprob]) -> list[TokenLogprobBody]:
    return [
        TokenLogprobBody(
            *_entry(tokenizer, t.token, t.logprob), [TopLogprob(*_entry(tokenizer, i, value)) for i, value in t.top]
        )
        for t in tokens
    ]


def _entry(tokenizer: Tokenizer | None, token: int, logprob: float) -> tuple[str, float, list[int]]:
    text, raw = token_name(tokenizer, token)
    return text, finite(logprob), raw


def as_json(value: Any) -> str:
    """Compact JSON text of a decoded value."""
    return msgspec.json.encode(value).decode()
