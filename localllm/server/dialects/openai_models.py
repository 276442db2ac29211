"""/v1/models: what may be asked for."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from localllm.server.call import Call
from localllm.server.dialects.openai_common import timestamp
from localllm.server.endpoint import Endpoint
from localllm.server.models import Served


class ModelMeta(msgspec.Struct):
    """llama.cpp's; size: bytes of all tensors; n_ctx: tokens that a request may have."""

    n_vocab: int
    n_ctx_train: int
    n_embd: int
    n_params: int
    size: int
    n_ctx: int


class ModelStatus(msgspec.Struct):
    value: Literal["loaded", "unloaded", "loading"]


class ModelBody(msgspec.Struct, kw_only=True):
    """OpenAI's model and Anthropic's (type, display_name, created_at, lifecycle) in one: both ask at this path."""

    id: str
    object: Literal["model"] = "model"
    created: int
    type: Literal["model"] = "model"
    display_name: str
    created_at: str
    lifecycle: Literal["active"] = "active"
    owned_by: str = "localllm"
    status: ModelStatus
    meta: ModelMeta | UnsetType = UNSET
    """Of a model that is loaded."""


class ModelList(msgspec.Struct):
    """All of them: a list in Anthropic's form has no more pages."""

    data: list[ModelBody]
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"
    has_more: Literal[False] = False


async def models(call: Call) -> ModelList:
    names = call.server.models.names()
    return ModelList([_body(call, name) for name in names], *((names[0], names[-1]) if names else (None, None)))


async def model(call: Call) -> ModelBody:
    return _body(call, call.server.models.name(call.path("model")))


def _body(call: Call, name: str) -> ModelBody:
    found = call.server.models
    state, served = found.state(name)
    return ModelBody(
        id=name,
        created=found.created(name),
        display_name=name,
        created_at=timestamp(found.created(name)),
        status=ModelStatus(state),
        meta=_meta(served) if served else UNSET,
    )


def _meta(served: Served) -> ModelMeta:
    loaded, config = served.model, served.model.config
    n_ctx = loaded.default_n_ctx if served.engine is None else served.engine.n_ctx
    return ModelMeta(config.n_vocab, config.n_ctx_train, config.n_embd, loaded.n_params, loaded.n_bytes, n_ctx)


ENDPOINTS = (
    *(
        Endpoint("GET", path, models, None, ModelList, "Models that may be asked for")
        for path in ("/v1/models", "/models")
    ),
    *(
        Endpoint("GET", path, model, None, ModelBody, "One of the models")
        for path in ("/v1/models/{model:path}", "/models/{model:path}")
    ),
)
