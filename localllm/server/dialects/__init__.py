"""The table of dialects: each is a file of this folder."""

from __future__ import annotations

from localllm.server.dialects import anthropic, llamacpp, openai
from localllm.server.endpoint import Dialect

DIALECTS: tuple[Dialect, ...] = (llamacpp.DIALECT, openai.DIALECT, anthropic.DIALECT)
"""The first one's errors are those of paths that belong to none."""
