"""What a dialect is made of: endpoints with typed bodies, and errors in the dialect's own shape."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from localllm.errors import (
    Cancelled,
    ChangedError,
    ContextFullError,
    LocalllmError,
    NotEnoughMemoryError,
    QueueFullError,
    ShortageError,
    StoreError,
    TemplateError,
    TokenizerError,
    UnsupportedError,
    UsageError,
)
from localllm.runtime.shortage import shortage

log = logging.getLogger("localllm.server")
KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    405: "invalid_request_error", 408: "timeout_error", 413: "invalid_request_error", 429: "rate_limit_error",
    500: "server_error", 501: "not_supported_error", 503: "unavailable_error",
}  # fmt: skip
"""Status -> kind of the error, where nothing more exact is known (llama.cpp's and OpenAI's words)."""


class ApiError(Exception):
    """What a client is told: `status` (HTTP), `message` (one line), `kind` (of KINDS, or a word more exact), `param`
    (the field that is wrong), `code` (a word for programs), `retry_after` (seconds), `details` (numbers that belong to
    the kind, such as n_ctx)."""

    def __init__(
        self,
        status: int,
        message: str,
        kind: str | None = None,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        message = " ".join(message.splitlines())  # names that clients send are in some
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.kind = kind or KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
        self.retry_after, self.details = retry_after, details or {}


_STATUS: tuple[tuple[type[LocalllmError], int, str | None], ...] = (
    (QueueFullError, 429, None),
    (ContextFullError, 400, "exceed_context_size_error"),
    (UsageError, 400, None),
    (TemplateError, 400, None),
    (TokenizerError, 400, None),
    (UnsupportedError, 400, "not_supported_error"),
    (StoreError, 404, None),
    (NotEnoughMemoryError, 503, None),
    (Cancelled, 503, None),
    (ChangedError, 503, None),
    (ShortageError, 503, None),
    (LocalllmError, 500, None),
)
"""Errors of the rooms below -> status and kind; the first that fits."""
_RETRY_SECONDS = 1.0


def api_error(error: LocalllmError) -> ApiError:
    """An error of the rooms below, as clients are told of it."""
    status, kind = next((status, kind) for family, status, kind in _STATUS if isinstance(error, family))
    retry_after = _RETRY_SECONDS if status in (429, 503) else None
    return ApiError(status, " ".join(str(error).split()), kind, retry_after=retry_after)


def unforeseen(error: Exception, request_id: str) -> ApiError:
    """An error that nobody raised on purpose, as clients are told of it; the log has all of it, unless it is only that
    the system gave no more memory, threads or files."""
    if text := shortage(error):
        log.error("request %s: %s", request_id, text)
        return api_error(ShortageError(text))
    log.error("request %s", request_id, exc_info=error)
    return ApiError(500, f"an error within the server (request {request_id}); its log says more")


Handler = Callable[["Any"], Awaitable[Any]]
"""Takes a Call (localllm.server.call); gives a msgspec Struct or JSON value (answered with 200), or a Response."""


@dataclass(frozen=True)
class Endpoint:
    """A path that clients ask. `path` is Starlette's form ("/v1/models/{model:path}"); `body` the type of the JSON that
    is sent, `answer` of what comes back (str: plain text), `stream` of the items of a stream: /openapi.json tells of
    these. A tuple of types: one of them."""

    method: str
    path: str
    handler: Handler
    body: type[msgspec.Struct] | None = None
    answer: Any = None
    summary: str = ""
    stream: Any = None
    open: bool = False
    """Answered without a key (health)."""


@dataclass(frozen=True)
class Dialect:
    """Endpoints of one family of clients. Unknown paths that begin with one of `prefixes` get errors in its shape."""

    name: str
    endpoints: tuple[Endpoint, ...]
    error_body: Callable[[ApiError], Any]
    """The body of an error's answer: a Struct or a JSON value."""
    prefixes: tuple[str, ...] = ()
    stream_type: str = "text/event-stream"
    stream_error: Callable[[ApiError], Sequence[Any]] | None = None
    """Items that tell of an error in the middle of a stream (None: error_body alone)."""

    ping: Any = None
    """What a stream of events says when there was nothing to tell for a while; None: a comment."""

    def told_in_stream(self, error: ApiError) -> Sequence[Any]:
        return (self.error_body(error),) if self.stream_error is None else self.stream_error(error)


@dataclass(frozen=True)
class Named:
    """An item of an event stream that has a name: `event: name` stands before its data."""

    event: str
    data: Any = field(default=None)
