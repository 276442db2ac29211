"""llama.cpp's server, as its tools/server/README.md describes it: its endpoints together, and its errors."""

from __future__ import annotations

from typing import Any

from localllm.server.dialects import llamacpp_completion, llamacpp_status, llamacpp_tokens
from localllm.server.endpoint import ApiError, Dialect


def error_body(error: ApiError) -> dict[str, Any]:
    """{"error": {code, message, type}} (format_error_response, server-common.cpp), with the field, and with the numbers
    that belong to the kind."""
    told = {"code": error.status, "message": error.message, "type": error.kind}
    return {"error": told | ({"param": error.param} if error.param else {}) | error.details}


_FILES = (llamacpp_status, llamacpp_completion, llamacpp_tokens)
DIALECT = Dialect("llama.cpp", tuple(endpoint for file in _FILES for endpoint in file.ENDPOINTS), error_body)
