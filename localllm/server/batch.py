"""Requests of a batch, many at a time, through the application itself: what a server would answer, without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp

from localllm.errors import LocalllmError
from localllm.server.app import create_app
from localllm.server.batch_file import Answer, Task
from localllm.server.models import Models
from localllm.server.options import ServerOptions

MAX_BODY = 1 << 30
"""A line was read into memory already."""


@asynccontextmanager
async def running_app(models: Models) -> AsyncIterator[Starlette]:
    """The application, started; `models` are closed at the end."""
    app = create_app(models, ServerOptions(max_body=MAX_BODY))
    async with app.router.lifespan_context(app):
        yield app


async def ask(app: ASGIApp, url: str, body: bytes) -> Answer:
    """Post `body` (JSON) to a path of an ASGI application (specification 3.0)."""
    headers = ((b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)))
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": url, "raw_path": url.encode(), "query_string": b"", "root_path": "", "headers": headers,
        "client": None, "server": None,
    }  # fmt: skip
    to_read = [{"type": "http.request", "body": body, "more_body": False}]
    said: list[Any] = []

    async def receive() -> Any:
        return to_read.pop() if to_read else await asyncio.get_running_loop().create_future()  # nobody hangs up

    async def send(message: Any) -> None:
        said.append(message)

    await app(scope, receive, send)
    request_id = dict(said[0]["headers"]).get(b"x-request-id", b"").decode()
    return Answer(said[0]["status"], request_id, b"".join(message.get("body", b"") for message in said[1:]))


OnAnswer = Callable[[Task, Answer | None], None]


class Batch:
    """Answers tasks through an application, `parallel` at a time."""

    def __init__(self, app: ASGIApp, tasks: Iterator[Task], parallel: int, on_answer: OnAnswer) -> None:
        """on_answer gets each task as it ends, with None for one that is no request; what it raises ends all."""
        self._app, self._tasks, self._parallel, self._on_answer = app, tasks, parallel, on_answer
        self._asking = 0

    async def run(self) -> None:
        """Tasks begin in their order, and end in any."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._parallel):
                    group.create_task(self._work())
        except* LocalllmError as failed:
            raise failed.exceptions[0] from None

    async def _work(self) -> None:
        for task in self._tasks:
            self._on_answer(task, None if task.error else await self._answer(task))
            await asyncio.sleep(0)

    async def _answer(self, task: Task) -> Answer:
        while True:
            self._asking += 1
            try:
                answer = await ask(self._app, task.url, task.body)
            finally:
                self._asking -= 1
            if answer.status not in _LATER or not self._asking:
                return answer
            await asyncio.sleep(_PAUSE)  # another one has the memory


_LATER = (429, 503)
_PAUSE = 0.5
"""Seconds."""
