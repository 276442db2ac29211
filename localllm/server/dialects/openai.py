"""OpenAI's dialect: its endpoints together."""

from __future__ import annotations

from localllm.server.dialects import (
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_models,
    openai_rerank,
    openai_responses,
    vllm,
)
from localllm.server.dialects.openai_common import error_body
from localllm.server.endpoint import Dialect

_FILES = (openai_chat, openai_completions, openai_embeddings, openai_models, openai_rerank, openai_responses, vllm)

DIALECT = Dialect(
    "OpenAI", tuple(endpoint for file in _FILES for endpoint in file.ENDPOINTS), error_body, prefixes=("/v1/",)
)
