"""llama.cpp's server, as tools/server/README.md describes it."""

from __future__ import annotations

from typing import Any

import msgspec

from localllm.server.call import Call
from localllm.server.endpoint import ApiError, Dialect, Endpoint


def error_body(error: ApiError) -> dict[str, Any]:
    """format_error_response of server-common.cpp."""
    told = {"code": error.status, "message": error.message, "type": error.kind}
    return {"error": told | ({"param": error.param} if error.param else {}) | error.details}


class Health(msgspec.Struct):
    status: str


async def health(call: Call) -> Health:
    return Health("ok")


DIALECT = Dialect(
    "llama.cpp",
    (
        Endpoint("GET", "/health", health, answer=Health, summary="Whether the server is ready", open=True),
        Endpoint("GET", "/v1/health", health, answer=Health, summary="Whether the server is ready", open=True),
    ),
    error_body,
)
