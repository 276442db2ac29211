"""A small HTTP client for load: one request, its server-sent events as they come. It takes little of the processor
that the server under test needs, and can leave in the middle."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any


class HttpError(Exception):
    """An answer that is no 200."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body[:200]}")
        self.status = status


async def get_json(host: str, port: int, path: str) -> Any:
    """The JSON body of a GET."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        status, body = await _status_and_body(reader)
        if status != 200:
            raise HttpError(status, body)
        return json.loads(body)
    finally:
        await _close(writer)


async def events(host: str, port: int, path: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    """The JSON of each `data:` line of a POST's answer; closing the iterator closes the connection."""
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 22)
    try:
        content = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + content)
        await writer.drain()
        status = int((await reader.readline()).split()[1])
        while (await reader.readline()).strip():
            pass
        if status != 200:
            raise HttpError(status, (await reader.read()).decode("utf-8", "replace"))
        while line := await reader.readline():  # lengths of chunks are lines of their own, and begin with no `data:`
            if line.startswith(b"data: {"):
                yield json.loads(line[6:])
    finally:
        await _close(writer)


async def _status_and_body(reader: asyncio.StreamReader) -> tuple[int, str]:
    whole = (await reader.read()).decode("utf-8", "replace")
    head, _, body = whole.partition("\r\n\r\n")
    if "transfer-encoding: chunked" in head.lower():
        body = "".join(body.split("\r\n")[1::2])
    return int(head.split()[1]), body


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        return
