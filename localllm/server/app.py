"""The application: routes from the table of dialects, and the one place where errors become answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from localllm.errors import LocalllmError
from localllm.server import openapi, page
from localllm.server.call import Call, Server, read_body
from localllm.server.dialects import DIALECTS
from localllm.server.endpoint import ApiError, Dialect, Endpoint, api_error, unforeseen
from localllm.server.guard import Guard
from localllm.server.metrics import Metrics
from localllm.server.models import Models
from localllm.server.options import ServerOptions

_json = msgspec.json.Encoder().encode


def create_app(
    models: Models, options: ServerOptions | None = None, dialects: Sequence[Dialect] = DIALECTS
) -> Starlette:
    """An ASGI application that serves `models`, which are closed when it ends."""
    server = Server(models, options or ServerOptions(), Metrics(models))
    document = _document(dialects)  # without the page, which is for people
    dialects = (*dialects, page.DIALECT)
    routes = [
        Route(endpoint.path, _run(server, dialect, endpoint), methods=[endpoint.method])
        for dialect in dialects
        for endpoint in dialect.endpoints
    ]

    routes.append(Route("/openapi.json", document))

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.to_thread(models.close)

    async def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        dialect = _dialect_of(dialects, request.scope["path"])  # request.url fails for queries that are no UTF-8
        text = {404: "no such path", 405: f"{request.method} is not among the methods of this path"}
        told = ApiError(error.status_code, text.get(error.status_code, error.detail))
        return error_response(dialect, told, dict(error.headers or {}))

    def tell(path: str, error: ApiError, headers: Mapping[str, str]) -> Response:
        return error_response(_dialect_of(dialects, path), error, dict(headers))

    open_paths = [endpoint.path for dialect in dialects for endpoint in dialect.endpoints if endpoint.open]
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[
            Middleware(Guard, options=server.options, open_paths=open_paths, tell=tell, counted=server.metrics)
        ],
        exception_handlers={HTTPException: unknown},
    )


def _dialect_of(dialects: Sequence[Dialect], path: str) -> Dialect:
    """The dialect whose prefix is the longest that fits; the first where none does."""
    fitting = [(len(prefix), dialect) for dialect in dialects for prefix in dialect.prefixes if path.startswith(prefix)]
    return max(fitting, key=lambda found: found[0], default=(0, dialects[0]))[1]


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(_json(value), status, headers, media_type="application/json")


def error_response(dialect: Dialect, error: ApiError, headers: dict[str, str] | None = None) -> Response:
    """The error in the dialect's shape."""
    headers = headers or {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    return json_response(dialect.error_body(error), error.status, headers)


def _document(dialects: Sequence[Dialect]) -> Callable[[Request], Awaitable[Response]]:
    """The OpenAPI document, made when it is first asked for."""

    @cache
    def encoded() -> bytes:
        return _json(openapi.document(dialects))

    async def answer(request: Request) -> Response:
        request.scope["shown_path"] = "/openapi.json"
        return Response(encoded(), media_type="application/json")

    return answer


def busy_app() -> ASGIApp:
    """What connections are told that are too many."""
    error = ApiError(503, "there are too many connections: try again later", retry_after=5.0)
    return error_response(DIALECTS[0], error, {"connection": "close"})


def _run(server: Server, dialect: Dialect, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """What Starlette calls for an endpoint: body in, answer or error out; given up when the client goes away."""

    async def answer(request: Request) -> Response:
        request.scope["shown_path"] = endpoint.path
        call = Call(server, dialect, endpoint, request, request.scope["user"], request.scope["request_id"])
        try:
            if endpoint.body is not None:
                call.body = await read_body(call)
            result = await _while_connected(request, endpoint.handler(call))
        except ApiError as error:
            return error_response(dialect, server.models.without_paths(error))
        except LocalllmError as error:
            return error_response(dialect, server.models.without_paths(api_error(error)))
        except Exception as error:
            return error_response(dialect, unforeseen(error, call.id))
        return result if isinstance(result, Response) else json_response(result)

    return answer


async def _while_connected(request: Request, work: Awaitable[Any]) -> Any:
    """The result of `work`, which is cancelled when the client hangs up: nobody is left to answer."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            raise ApiError(400, "the client hung up")
        return task.result()
    finally:
        gone.cancel()
        task.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
