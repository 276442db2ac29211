"""Who may ask: keys, the names by which the server is reached, the pages that may use it, and how much at a time.

It stands before everything else. A page of the web could otherwise use a server on the reader's own machine: by its
address (the browser then tells the page's Origin), or by a name of its own that it lets point there (DNS rebinding: the
Host is then that name).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from localllm.errors import UsageError
from localllm.server.endpoint import ApiError
from localllm.server.metrics import Metrics
from localllm.server.options import ServerOptions

log = logging.getLogger("localllm.server.access")
_ID_HEADERS = ("x-request-id", "request-id")
"""OpenAI's clients read the first, Anthropic's the second."""
_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_LOCAL = (".localhost", ".local", ".internal")
"""Ends of names that no one can register."""
_METHODS = "GET, HEAD, POST, DELETE, OPTIONS"
_PREFLIGHT_SECONDS = "600"
ErrorResponse = Callable[[str, ApiError, Mapping[str, str]], Response]
"""(path, error, headers) -> the answer in the shape of the path's dialect."""


class Guard:
    """ASGI middleware. `open_paths` are answered without a key; `counted` counts all answers."""

    def __init__(
        self, app: ASGIApp, options: ServerOptions, open_paths: Sequence[str], tell: ErrorResponse, counted: Metrics
    ) -> None:
        self._app, self._tell, self._counted = app, tell, counted
        self._keys = [_digest(key) for key in options.keys]
        self._hosts = {host.lower() for host in options.allowed_hosts} | {"localhost", socket.gethostname().lower()}
        self._origins = {origin.lower().rstrip("/") for origin in options.allowed_origins}
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        asked = headers.get("x-request-id", "")
        request_id: str = asked if _ID.fullmatch(asked) else os.urandom(8).hex()
        scope["request_id"] = request_id
        added = dict.fromkeys(_ID_HEADERS, request_id)
        started, status = time.monotonic(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(added)
            await send(message)

        try:
            app = self._answering(scope, headers, added)
            await app(scope, receive, send_with_headers)
        finally:
            seconds, shown = time.monotonic() - started, scope.get("shown_path", "(unknown)")
            self._counted.answered(shown, status, seconds)
            log.info("%s %s %s %d %.3f s", scope["request_id"], scope["method"], shown, status, seconds)

    def _answering(self, scope: Scope, headers: Headers, added: dict[str, str]) -> ASGIApp:
        """The application, or what refuses the request. `added`: headers of the answer, for more."""
        try:
            self._check_host(headers.get("host", ""))
            origin = headers.get("origin")
            if origin is not None and not self._is_own(origin, scope, headers):
                self._check_origin(origin)
                added |= _cors(origin)
                if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                    return Response(status_code=204, headers=_preflight(headers))
            scope["user"] = self._user(scope, headers)
        except ApiError as error:
            extra = {"www-authenticate": "Bearer"} if error.status == 401 else {}
            return self._tell(scope["path"], error, extra)
        return self._app

    def _check_host(self, host: str) -> None:
        name = host_name(host)
        if "*" in self._hosts or name in self._hosts or name.endswith(_LOCAL) or is_address(name):
            return
        raise ApiError(403, f"the name {name[:100]!r} is not among those of this server (--allowed-host)")

    def _is_own(self, origin: str, scope: Scope, headers: Headers) -> bool:
        """Whether a page of this server itself asks."""
        try:
            return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
        except ValueError:  # "http://["
            return False

    def _check_origin(self, origin: str) -> None:
        if "*" not in self._origins and origin.lower() not in self._origins:
            raise ApiError(403, f"pages of {origin[:100]!r} may not use this server (--allowed-origin)")

    def _user(self, scope: Scope, headers: Headers) -> str:
        """Who asks: a key's number, or an address. ApiError (401) without a key, where there are some."""
        if not self._keys:
            client = scope.get("client")
            return str(client[0]) if client else ""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        bearer = _digest(token.strip() if scheme.lower() == "bearer" else "")
        named = _digest(headers.get("x-api-key", ""))
        found = [  # all of them, whichever fits
            hmac.compare_digest(key, bearer) | hmac.compare_digest(key, named) for key in self._keys
        ]
        if any(found):
            return f"key {found.index(True)}"
        if scope["path"] in self._open and scope["method"] in ("GET", "HEAD"):
            return ""
        raise ApiError(
            401, "an API key is needed: Authorization: Bearer KEY, or x-api-key: KEY", code="invalid_api_key"
        )


def _digest(key: str) -> bytes:
    """Of one length for all keys: comparing tells nothing of it."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def host_name(host: str) -> str:
    """The name or address in a Host header, without the port and brackets, in lower case."""
    try:
        return (urlsplit("//" + host).hostname or "").lower().rstrip(".")
    except ValueError:
        return host.lower()


def is_address(name: str) -> bool:
    """Whether it is an IP address: nobody can let one point elsewhere."""
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _cors(origin: str) -> dict[str, str]:
    return {
        "access-control-allow-origin": origin,
        "access-control-expose-headers": "x-request-id, request-id, retry-after",
        "vary": "Origin",
    }


def _preflight(headers: Headers) -> dict[str, str]:
    asked = headers.get("access-control-request-headers", "")
    named = {"access-control-allow-headers": asked} if re.fullmatch(r"[\w\-, ]*", asked, re.ASCII) and asked else {}
    return {
        "access-control-allow-methods": _METHODS,
        "access-control-max-age": _PREFLIGHT_SECONDS,
        **({"access-control-allow-private-network": "true"} if _is_private(headers) else {}),
        **named,
    }


def _is_private(headers: Headers) -> bool:
    return headers.get("access-control-request-private-network") == "true"


def check_exposure(host: str, has_keys: bool, is_meant: bool) -> None:
    """UsageError for an address that others can reach, where nobody is asked for a key."""
    if not has_keys and not is_meant and not is_loopback(host):
        raise UsageError(
            f"--host {host} lets everyone on the network in: set --api-key (or LOCALLLM_API_KEY), "
            "or say --without-key if that is meant"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost"
