"""One request to the server, as handlers see it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import ClientDisconnect, Request

from localllm.server.endpoint import ApiError, Dialect, Endpoint
from localllm.server.options import ServerOptions

if TYPE_CHECKING:
    from localllm.server.metrics import Metrics
    from localllm.server.models import Models, Served

log = logging.getLogger("localllm.server")
_OPENERS, _CLOSERS = b"[{", b"]}"
_MAX_TOLD = 1000
_BYTES_A_SECOND = 10_000
"""A body that comes more slowly is given up."""
_MAX_NAME = 64
_SHORT = 1 << 18
"""Bytes of a body that is read on the spot; a longer one is in a thread, and the server goes on."""
_BODIES = 8
"""All bodies that are being read have at most so many times --max-body together."""


@dataclass
class Server:
    """What all calls share."""

    models: Models
    options: ServerOptions
    metrics: Metrics
    told: set[tuple[str, str]] = field(default_factory=set)
    """Unknown fields that were logged: (path, name)."""
    reading: int = 0
    """Bytes of bodies that are being read."""
    kept: dict[str, Any] = field(default_factory=dict)
    """What dialects keep between calls, by a name of theirs."""


@dataclass
class Call:
    """`body`: the decoded Struct (None where the endpoint takes none); `user`: who asks, by key or address."""

    server: Server
    dialect: Dialect
    endpoint: Endpoint
    request: Request
    user: str
    id: str
    body: Any = None

    def model(self, name: str | None = None, keep_alive: float | None = None) -> AbstractAsyncContextManager[Served]:
        """`async with call.model(name) as served`: the model stays loaded within the block. See Models.open."""
        return self.server.models.open(name, keep_alive)

    def behind(self, person: str | None) -> str:
        """Whose request it is, where a client says which of its people it asks for: all of them take turns."""
        return f"{self.user} {person}" if person else self.user

    def path(self, name: str) -> str:
        """A parameter of the path."""
        return str(self.request.path_params[name])


async def read_body(call: Call) -> Any:
    """The body as the endpoint's Struct. ApiError: 413 for one too long (before it is read), 400 for bad JSON."""
    assert call.endpoint.body
    with _room(call.server) as take:
        raw = await _raw(call.request, call.server.options, take)
        if len(raw) <= _SHORT:
            return _decoded(call, raw)
        return await asyncio.to_thread(_decoded, call, raw)


@contextmanager
def _room(server: Server) -> Iterator[Callable[[int], int]]:
    """Room for a body: `take(n)` tells how many bytes it has with n more. ApiError (503) where all bodies together have
    too many; a short one is let in nevertheless."""
    size = 0

    def take(n: int) -> int:
        nonlocal size
        size += n
        server.reading += n
        if size > _SHORT and server.reading > _BODIES * server.options.max_body:
            raise ApiError(503, "too many long bodies at once: try again", retry_after=1.0)
        return size

    try:
        yield take
    finally:
        server.reading -= size


def _decoded(call: Call, raw: bytes) -> Any:
    _check_depth(raw, call.server.options.max_depth)
    kind = call.endpoint.body
    assert kind
    try:
        body = msgspec.json.decode(raw or b"{}", type=kind)
        _tell_unknown(call, raw, kind)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        param = place.strip("`").removeprefix("$.") or None
        raise ApiError(400, f"{param or 'body'}: {message[:1].lower()}{message[1:]}", param=param) from None
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the body is not UTF-8 text: {error.reason}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None
    return body


async def _raw(request: Request, options: ServerOptions, take: Callable[[int], int]) -> bytes:
    too_long = ApiError(413, f"the body is longer than {options.max_body} bytes (--max-body)")
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > options.max_body:
        raise too_long
    chunks = []
    begun = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(options.body_timeout) as limit:
            async for chunk in request.stream():
                size = take(len(chunk))
                if size > options.max_body:
                    raise too_long
                limit.reschedule(begun + options.body_timeout + size / _BYTES_A_SECOND)
                chunks.append(chunk)
    except TimeoutError:
        raise ApiError(408, "the body comes too slowly") from None
    except ClientDisconnect:
        raise ApiError(400, "the body ended early") from None
    return b"".join(chunks)


def _check_depth(raw: bytes, limit: int) -> None:
    """ApiError for JSON of too many levels; brackets within texts do not count."""
    if raw.count(b"[") + raw.count(b"{") <= limit:
        return
    depth = 0
    for part in raw.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]:
        for byte in part.translate(None, _NO_BRACKETS):
            if byte in _OPENERS:
                depth += 1
                if depth > limit:
                    raise ApiError(400, f"the body has more than {limit} levels of arrays and objects")
            else:
                depth -= 1


_NO_BRACKETS = bytes(set(range(256)) - set(_OPENERS + _CLOSERS))


def _tell_unknown(call: Call, raw: bytes, kind: type[msgspec.Struct]) -> None:
    """Log names of fields that this server does not know, once each."""
    known = {f.encode_name for f in msgspec.structs.fields(kind)}
    told = call.server.told
    for name in msgspec.json.decode(raw or b"{}", type=dict[str, msgspec.Raw]).keys() - known:
        if len(told) < _MAX_TOLD and (call.endpoint.path, name[:_MAX_NAME]) not in told:
            told.add((call.endpoint.path, name[:_MAX_NAME]))
            log.info("%s: the field %r is not known; it is ignored", call.endpoint.path, name[:_MAX_NAME])
