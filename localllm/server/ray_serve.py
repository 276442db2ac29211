"""The server as a deployment of Ray Serve: replicas on several machines behind one address.

    serve run localllm.server.ray_serve:build model=qwen2.5-coder-1.5b replicas=4 threads=8

Requests with the header `x-session-id` go to the replica that this name belongs to, which has read the conversation's
beginning already (Ray's ConsistentHashRouter); the others to any.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette

from localllm.engine.options import EngineOptions
from localllm.errors import LocalllmError, UsageError
from localllm.server.app import create_app
from localllm.server.library import Library
from localllm.server.loading import ModelSettings, load
from localllm.server.models import Models
from localllm.server.options import ServerOptions
from localllm.store.filenames import stem
from localllm.store.resolve import resolve

_ROUTER = "ray.serve.experimental.consistent_hash_router:ConsistentHashRouter"
_WAITING = 32
"""Requests that a replica takes beyond those that it answers; Ray keeps the rest."""


@dataclass(frozen=True)
class Settings:
    """`model`: a path or a name of the catalog, on every machine; `parallel`: answers of a replica at the same time;
    `threads`: of a replica; `n_ctx`: tokens of a context; `api_key`: what clients are asked for, "" for none."""

    model: str
    replicas: int = 1
    parallel: int = 4
    threads: int = 1
    n_ctx: int | None = None
    api_key: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """From the arguments of `serve run`, which are texts. Raises UsageError."""
        unknown = given.keys() - cls.__dataclass_fields__.keys()
        if unknown or not given.get("model"):
            known = ", ".join(cls.__dataclass_fields__)
            raise UsageError(f"{', '.join(sorted(unknown)) or 'model'}: arguments are {known}; model must be given")
        numbers = {
            name: _number(name, given[name]) for name in ("replicas", "parallel", "threads", "n_ctx") if name in given
        }
        return cls(**{**given, **numbers})


def _number(name: str, value: Any) -> int:
    if not str(value).isdecimal() or int(value) < 1:
        raise UsageError(f"{name} is {value!r:.40}: it must be a number from 1 on")
    return int(value)


def make_app(settings: Settings) -> Starlette:
    """The application of one replica; its model is loaded before the first request comes."""
    path = resolve(settings.model, fetch=True)
    model = ModelSettings(EngineOptions(settings.n_ctx, settings.parallel), settings.threads)
    library = Library({stem(path): path}, any_name=True)
    models = Models(library, lambda path: load(path, model))
    app = create_app(models, ServerOptions(keys=(settings.api_key,) if settings.api_key else ()))
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[Any]:
        async with inner(app) as state:
            await models.preload(models.default)
            yield state

    app.router.lifespan_context = lifespan
    return app


def build(arguments: Mapping[str, Any]) -> Any:
    """An application of Ray Serve: see Settings for the arguments. Raises LocalllmError."""
    try:
        from ray import serve
        from ray.serve.config import RequestRouterConfig
    except ImportError:
        raise LocalllmError("Ray Serve is needed: pip install 'localllm[ray]'") from None
    settings = Settings.of(arguments)

    def make() -> Starlette:
        return make_app(settings)

    deployment = serve.deployment(
        name="localllm",
        num_replicas=settings.replicas,
        max_ongoing_requests=settings.parallel + _WAITING,
        ray_actor_options={"num_cpus": settings.threads},
        request_router_config=RequestRouterConfig(request_router_class=_ROUTER),
    )
    return deployment(serve.ingress(make)()).bind()
