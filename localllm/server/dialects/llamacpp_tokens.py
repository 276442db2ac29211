"""Texts to tokens, to prompts and to embeddings, as llama.cpp's server has it: /tokenize, /detokenize, /apply-template,
/embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from localllm.server.call import Call
from localllm.server.chat import prepared_for
from localllm.server.dialects.openai_chat import conversation
from localllm.server.dialects.openai_chat_types import ChatBody
from localllm.server.dialects.openai_common import refuse
from localllm.server.endpoint import ApiError, Endpoint

if TYPE_CHECKING:
    from localllm.text.tokenizer import Tokenizer

Mixed = str | int | list[str | int]
"""A text, a token, or a list of both."""


class TokenizeBody(msgspec.Struct):
    content: Mixed = ""
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False
    model: str | None = None
    prompt: str | None = None
    """vLLM's name of content; add_special_tokens is that of add_special."""
    add_special_tokens: bool = True


class Piece(msgspec.Struct):
    id: int
    piece: str | list[int]
    """Its bytes where they are no text by themselves."""


class Tokens(msgspec.Struct):
    tokens: list[int | Piece]


async def tokenize(call: Call) -> Tokens:
    body: TokenizeBody = call.body
    async with call.model(body.model) as served:
        content, add_special = body.content, body.add_special
        if body.prompt is not None:
            content, add_special = body.prompt, body.add_special_tokens
        ids = await mixed_ids(served, content, add_special, body.parse_special, "content")
        if not body.with_pieces:
            return Tokens([*ids])
        return Tokens(await served.aside(len(ids), _pieces, served.tokenizer(), ids))


def _pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> list[int | Piece]:
    return [Piece(i, _text_or_bytes(tokenizer.token_bytes(i, special=True))) for i in ids]


def _text_or_bytes(raw: bytes) -> str | list[int]:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return list(raw)


async def mixed_ids(
    served: Any, content: Mixed, add_special: bool, parse_special: bool = True, param: str = "prompt"
) -> list[int]:
    """Ids of texts and tokens; BOS goes before the first if that is a text (tokenize_mixed, server-common.cpp)."""
    parts = content if isinstance(content, list) else [content]
    ids: list[int] = []
    if set(map(type, parts)) == {int}:  # there may be a million of them
        ids = cast(list[int], parts)
    else:
        for i, part in enumerate(parts):
            ids += await served.encode(part, add_special and i == 0, parse_special) if isinstance(part, str) else [part]
    n_vocab = served.model.config.n_vocab
    for token in (min(ids, default=0), max(ids, default=0)):
        if not 0 <= token < n_vocab:
            raise refuse(f"token id {token}: ids go from 0 to {n_vocab - 1}", param)
    return ids


class DetokenizeBody(msgspec.Struct):
    tokens: list[int] = []
    model: str | None = None


class Content(msgspec.Struct):
    content: str
    prompt: str
    """vLLM's name of content."""


async def detokenize(call: Call) -> Content:
    async with call.model(call.body.model) as served:
        ids = await mixed_ids(served, call.body.tokens, add_special=False, param="tokens")
        text = await served.aside(len(ids), _text, served.tokenizer(), ids)
        return Content(text, text)


def _text(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    stream = tokenizer.stream(special=True)
    return "".join(map(stream.push, ids)) + stream.finish()


class EmbeddingBody(msgspec.Struct):
    content: str | list[str | int | list[int]] = ""
    input: str | list[str | int | list[int]] = ""
    """Another name of content."""
    embd_normalize: int = 2
    model: str | None = None


class Embedding(msgspec.Struct):
    index: int
    embedding: list[list[float]]


async def embedding(call: Call) -> list[Embedding]:
    """One row a text, in a list, since pooling "none" would give several."""
    body: EmbeddingBody = call.body
    if body.embd_normalize not in (-1, 2):
        raise ApiError(
            400, "embd_normalize: -1 (as they are) and 2 (of length 1) are supported", param="embd_normalize"
        )
    given = body.content or body.input
    texts = given if isinstance(given, list) and not all(isinstance(part, int) for part in given) else [given]
    async with call.model(body.model) as served:
        ids = [await mixed_ids(served, text, True, False, "content") for text in texts]  # type: ignore[arg-type]
        if served.embeddings.is_pooled:
            rows = await served.embeddings.embed(ids, None, body.embd_normalize == 2)
            return [Embedding(i, [row.tolist()]) for i, row in enumerate(rows)]
        return [Embedding(i, (await served.embeddings.hidden_states(text)).tolist()) for i, text in enumerate(ids)]


class AppliedTemplate(msgspec.Struct):
    prompt: str


async def apply_template(call: Call) -> AppliedTemplate:
    async with call.model(call.body.model) as served:
        return AppliedTemplate((await prepared_for(served, conversation(call.body))).prompt)


ENDPOINTS = (
    Endpoint("POST", "/tokenize", tokenize, TokenizeBody, Tokens, "Text to tokens"),
    Endpoint("POST", "/detokenize", detokenize, DetokenizeBody, Content, "Tokens to text"),
    Endpoint("POST", "/apply-template", apply_template, ChatBody, AppliedTemplate, "Messages to a prompt"),
    Endpoint("POST", "/embedding", embedding, EmbeddingBody, list[Embedding], "Embeddings of texts"),
    Endpoint("POST", "/embeddings", embedding, EmbeddingBody, list[Embedding], "Embeddings of texts"),
)
