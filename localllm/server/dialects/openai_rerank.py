"""/v1/rerank: how well documents answer a query, in the form that Jina AI, Cohere and llama.cpp's server share; with
`texts` in the place of documents, in that of Hugging Face's text-embeddings-inference."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from localllm.server.call import Call
from localllm.server.dialects.openai_common import new_id, refuse
from localllm.server.dialects.openai_embeddings import MAX_INPUTS, EmbeddingsUsage, check_length
from localllm.server.endpoint import Endpoint
from localllm.server.models import Served
from localllm.text.pairs import TEMPLATE_KEY, pair_ids


class Document(msgspec.Struct):
    text: str


class RerankBody(msgspec.Struct, kw_only=True):
    query: str
    documents: list[str | Document] | None = None
    texts: list[str] | None = None
    model: str | None = None
    top_n: Annotated[int, Meta(ge=1)] | None = None
    return_documents: bool | None = None
    return_text: bool | None = None
    """Of text-embeddings-inference: what return_documents is."""


class RerankResult(msgspec.Struct):
    index: int
    relevance_score: float
    """What the model's classifier says: higher is better; the range is the model's own."""
    document: Document | UnsetType = UNSET


class RerankAnswer(msgspec.Struct, kw_only=True):
    id: str
    object: Literal["list"] = "list"
    model: str
    results: list[RerankResult]
    """Best first."""
    usage: EmbeddingsUsage


class RankedText(msgspec.Struct):
    index: int
    score: float
    text: str | UnsetType = UNSET


async def rerank(call: Call) -> Any:
    body: RerankBody = call.body
    if (body.documents is None) == (body.texts is None):
        raise refuse("documents: is needed (or texts, in its place)", "documents")
    given = body.documents if body.documents is not None else body.texts or []
    texts = [document if isinstance(document, str) else document.text for document in given]
    if not 1 <= len(texts) <= MAX_INPUTS:
        raise refuse(f"documents: there are {len(texts)}, must be 1 to {MAX_INPUTS}", "documents")
    async with call.model(body.model) as served:
        pairs = await asyncio.to_thread(_pairs, served, body.query, texts)
        scores = (await served.embeddings.embed(pairs, "rank"))[:, 0].tolist()
        best = sorted(range(len(texts)), key=lambda i: -scores[i])[: body.top_n]
        if body.texts is not None:
            return [RankedText(i, scores[i], texts[i] if body.return_text else UNSET) for i in best]
        n_tokens = sum(map(len, pairs))
        return RerankAnswer(
            id=new_id("rerank-"),
            model=served.name,
            results=[RerankResult(i, scores[i], Document(texts[i]) if body.return_documents else UNSET) for i in best],
            usage=EmbeddingsUsage(n_tokens, n_tokens),
        )


def _pairs(served: Served, query: str, texts: list[str]) -> list[list[int]]:
    """Ids of the query with each text. Raises ApiError for a pair that is too long."""
    given, n_ctx = served.model.metadata.get(TEMPLATE_KEY), served.model.default_n_ctx
    template = given if isinstance(given, str) else ""
    pairs = []
    for i, text in enumerate(texts):
        where = f"documents[{i}] and the query"
        check_length(served.at_least(query, text), n_ctx, where, "at least ")
        pairs.append(pair_ids(served.tokenizer(), query, text, template))
        check_length(len(pairs[-1]), n_ctx, where)
    return pairs


ENDPOINTS = tuple(
    Endpoint("POST", path, rerank, RerankBody, RerankAnswer | list[RankedText], "Order documents by a query")
    for path in ("/v1/rerank", "/rerank", "/v1/reranking", "/reranking", "/v2/rerank")
)
