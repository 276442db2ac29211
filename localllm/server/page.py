"""The web page: a chat with the models of this server, in files that the browser takes as they are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from starlette.responses import Response

from localllm.server.call import Call
from localllm.server.dialects import llamacpp
from localllm.server.endpoint import Dialect, Endpoint

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""Ending of a name -> media type. Only files of these are served."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "cache-control": "no-cache",  # asked for each time, and answered with 304: a new version is there at once
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


@dataclass(frozen=True)
class _File:
    content: bytes
    media_type: str
    etag: str


def _page() -> dict[str, _File]:
    """The files by name, sorted."""
    found = {}
    for path in sorted(files(__package__).joinpath("page").iterdir(), key=lambda path: path.name):
        if media_type := _TYPES.get(path.name.rpartition(".")[2]):
            content = path.read_bytes()
            found[path.name] = _File(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found


def _endpoint(path: str, file: _File) -> Endpoint:
    async def answer(call: Call) -> Response:
        headers = _HEADERS | {"etag": file.etag}
        known = call.request.headers.get("if-none-match", "")
        if file.etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers, media_type=file.media_type)

    return Endpoint("GET", path, answer, summary="A chat for people", open=True)


_FILES = _page()  # read once: a running server keeps the version that it was started with
DIALECT = Dialect(
    "page",
    tuple(_endpoint("/" if name == "index.html" else f"/page/{name}", file) for name, file in _FILES.items()),
    llamacpp.error_body,
    prefixes=("/page/",),
)
"""No dialect of clients, but served in the same way: errors, the check of the host, what is open without a key."""
