"""The table of dialects: each is a file of this folder."""

from __future__ import annotations

from localllm.server.dialects import anthropic, llamacpp, ollama, openai
from localllm.server.endpoint import Dialect

DIALECTS: tuple[Dialect, ...] = (llamacpp.DIALECT, openai.DIALECT, anthropic.DIALECT, ollama.DIALECT)
"""The first one's errors are those of paths that belong to none."""
