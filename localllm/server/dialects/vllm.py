"""What vLLM's server has beside OpenAI's paths: /tokenizer_info, by which lm-eval uses the server's own tokenizer."""

from __future__ import annotations

import msgspec

from localllm.server.call import Call
from localllm.server.endpoint import Endpoint


class TokenizerInfo(msgspec.Struct):
    tokenizer_class: str
    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    chat_template: str | None
    """None where the file has none."""


async def tokenizer_info(call: Call) -> TokenizerInfo:
    async with call.model() as served:
        tokenizer = served.tokenizer()

        def text(token: int | None) -> str | None:
            return None if token is None else tokenizer.token_text(token)

        return TokenizerInfo(
            tokenizer_class=tokenizer.kind,
            bos_token=text(tokenizer.bos_id),
            eos_token=text(tokenizer.eos_id),
            pad_token=None,
            chat_template=getattr(served.model.template, "source", None) or None,
        )


ENDPOINTS = (
    Endpoint("GET", "/tokenizer_info", tokenizer_info, None, TokenizerInfo, "Special tokens and the chat template"),
)
