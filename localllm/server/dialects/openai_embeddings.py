"""/v1/embeddings: OpenAI's API reference."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from localllm.server.call import Call
from localllm.server.chat import too_long
from localllm.server.dialects.openai_common import refuse
from localllm.server.endpoint import Endpoint
from localllm.server.models import Served

MAX_INPUTS = 2048


class EmbeddingsBody(msgspec.Struct, kw_only=True):
    input: str | list[str | int | list[int]]
    """A text, ids, or a list of either."""
    model: str | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    """Only the first so many numbers of each row, brought to length 1 again: sensible for models that were trained for
    it (arXiv:2205.13147)."""
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


class Embedding(msgspec.Struct):
    index: int
    embedding: list[float] | str
    """base64: of float32 numbers, little-endian."""
    object: Literal["embedding"] = "embedding"


class EmbeddingsUsage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(msgspec.Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingsUsage


async def embeddings(call: Call) -> EmbeddingsAnswer:
    body: EmbeddingsBody = call.body
    async with call.model(body.model) as served:
        texts = await _texts(body.input, served)
        rows = shortened(await served.embeddings.embed(texts), body.dimensions)
        tell = _as_base64 if body.encoding_format == "base64" else _as_list
        n_tokens = sum(map(len, texts))
        return EmbeddingsAnswer(
            data=[Embedding(i, tell(row)) for i, row in enumerate(rows)],
            model=served.name,
            usage=EmbeddingsUsage(n_tokens, n_tokens),
        )


async def _texts(given: str | list[Any], served: Served) -> list[Sequence[int]]:
    """The ids of each text. Raises ApiError."""
    if given == [] or given == "":
        raise refuse("input: is empty: there is nothing to embed", "input")
    texts = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    if len(texts) > MAX_INPUTS:
        raise refuse(f"input: there are {len(texts)} texts, {MAX_INPUTS} are the most at once", "input")
    return [await _ids(text, served, "input" if texts is not given else f"input[{i}]") for i, text in enumerate(texts)]


async def _ids(text: str | Any, served: Served, where: str) -> Sequence[int]:
    n_vocab, n_ctx = served.model.config.n_vocab, served.model.default_n_ctx
    ids: Sequence[int]
    if isinstance(text, str):
        check_length(served.at_least(text), n_ctx, where, "at least ")
        ids = await served.encode(text, add_special=True)
    elif isinstance(text, int) or not all(isinstance(token, int) for token in text):
        raise refuse(f"{where}: ids and texts cannot stand in one list", where)
    else:
        ids = text
        if any(not 0 <= token < n_vocab for token in ids):
            raise refuse(f"{where}: token ids go from 0 to {n_vocab - 1}", where)
    if not len(ids):
        raise refuse(f"{where}: has no tokens: there is nothing to embed", where)
    check_length(len(ids), n_ctx, where)
    return ids


def check_length(n_tokens: int, n_ctx: int, where: str, about: str = "") -> None:
    """ApiError for a text longer than the model takes: nothing is cut off. about: "at least " for a lower bound."""
    if n_tokens > n_ctx:
        text = f"{where}: has {about}{n_tokens} tokens, {n_ctx} are the most"
        raise too_long(f"{text}: shorten it, or start the server with a larger -c", n_tokens, n_ctx, where)


def shortened(rows: np.ndarray, n: int | None) -> np.ndarray:
    if n is None or n == rows.shape[1]:
        return rows
    if n > rows.shape[1]:
        raise refuse(f"dimensions is {n}: this model's embeddings have {rows.shape[1]}", "dimensions")
    cut = rows[:, :n]
    lengths = np.sqrt((cut.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    result: np.ndarray = (cut / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    return result


def _as_list(row: np.ndarray) -> list[float]:
    numbers: list[float] = row.tolist()
    return numbers


def _as_base64(row: np.ndarray) -> str:
    return base64.b64encode(row.astype("<f4").tobytes()).decode()


ENDPOINTS = (Endpoint("POST", "/v1/embeddings", embeddings, EmbeddingsBody, EmbeddingsAnswer, "Embeddings of texts"),)
