"""The sockets: uvicorn as this server wants it. Clients that are slow, silent or too many cost little and end in time;
a first signal lets answers come to their end, a second one ends the process at once."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from localllm.errors import LocalllmError, UsageError
from localllm.signals import heard, status_of

_BACKLOG = 2048
_LAST_SECONDS = 5.0
"""What answers that were ended have for their last words."""


class Life(Protocol):
    """What happens around the serving. `begin(stop)`: the socket is about to answer; calling `stop` ends the server.
    `draining()`: nothing more is accepted. `end_answers()`: their time is over. `is_stuck()`: a thread still works
    when all is over, and is not to be waited for."""

    def begin(self, stop: Callable[[], None]) -> None: ...
    def draining(self) -> None: ...
    async def end_answers(self) -> None: ...
    def is_stuck(self) -> bool: ...


@dataclass(frozen=True)
class Limits:
    """Seconds, bytes and numbers that one client may take."""

    header_seconds: float = 15.0
    """Until the head of a request is complete."""
    idle_seconds: float = 75.0
    """Between two requests of a connection."""
    write_seconds: float = 60.0
    """That a client reads nothing of what is sent, while more waits than a buffer holds."""
    header_bytes: int = 32 << 10
    connections: int = 512


_OPTION = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
"""Of a port that is ours: at once after a restart, and alone. On Windows, which gives it at once anyway, SO_REUSEADDR
would share it with a server that is there already (Microsoft: "Using SO_REUSEADDR and SO_EXCLUSIVEADDRUSE")."""


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0: any that is free. LocalllmError in one line where it cannot be had."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError):
        raise UsageError(f"--host {host}: there is no such address on this machine") from None
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _OPTION, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise LocalllmError(
                f"port {port} of {host} is in use: end what listens there, or choose another --port"
            ) from None
        raise LocalllmError(f"cannot listen on port {port} of {host}: {error.strerror}") from None
    return sock


def address(sock: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _protocol(limits: Limits, busy: ASGIApp) -> type[H11Protocol]:
    """Uvicorn's protocol with times for what it has none: heads of requests, and readers that do not read."""

    class Watched(H11Protocol):
        _head: asyncio.TimerHandle | None = None
        _reader: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > 2 * limits.connections:
                _cut(transport)
            elif len(self.connections) > limits.connections:
                self.app = cast(Any, busy)
            self._watch_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._unwatch_head()
            self._unwatch_reader()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if not self._is_busy():
                self._watch_head()
            super().data_received(data)
            if self._is_busy():
                self._unwatch_head()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch_reader()

        def resume_writing(self) -> None:
            if not self.transport.is_closing():
                self._unwatch_reader()
            super().resume_writing()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.transport.is_closing():
                self._watch_reader()

        def timeout_keep_alive_handler(self) -> None:
            super().timeout_keep_alive_handler()
            self._watch_reader()

        def _is_busy(self) -> bool:
            """A request is being read or answered."""
            return self.cycle is not None and not self.cycle.response_complete

        def _watch_head(self) -> None:
            self._head = self._head or self.loop.call_later(limits.header_seconds, _cut, self.transport)

        def _watch_reader(self) -> None:
            self._reader = self._reader or self._look_later()

        def _look_later(self) -> asyncio.TimerHandle:
            return self.loop.call_later(limits.write_seconds, self._look, self.transport.get_write_buffer_size())

        def _look(self, before: int) -> None:
            if self.transport.get_write_buffer_size() < before:
                self._reader = self._look_later()
            else:
                _cut(self.transport)

        def _unwatch_head(self) -> None:
            if self._head is not None:
                self._head.cancel()
                self._head = None

        def _unwatch_reader(self) -> None:
            if self._reader is not None:
                self._reader.cancel()
                self._reader = None

    return Watched


def _cut(transport: asyncio.Transport) -> None:
    """Close without waiting for anything: the system forgets what was not sent."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class _Server(uvicorn.Server):
    """Signals as this program wants them."""

    def __init__(self, config: uvicorn.Config, drain: float, life: Life) -> None:
        super().__init__(config)
        self._drain, self._life = drain, life
        self._signals = 0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in heard()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            os._exit(status_of(sig))
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        async def end_late() -> None:
            await asyncio.sleep(self._drain)
            await self._life.end_answers()

        self._life.draining()
        late = asyncio.ensure_future(end_late())
        try:
            await super().shutdown(sockets)
        finally:
            late.cancel()


def run(app: ASGIApp, sock: socket.socket, limits: Limits, drain: float, life: Life, busy: ASGIApp) -> None:
    """Serve an application until a signal comes, and then let what runs come to its end.

    drain: seconds that answers have for it, before they are ended. busy: what connections beyond the limit are told.
    """
    config = uvicorn.Config(
        app,
        http=_protocol(limits, busy),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=int(limits.idle_seconds),
        timeout_graceful_shutdown=int(drain + _LAST_SECONDS),
        h11_max_incomplete_event_size=limits.header_bytes,
        backlog=_BACKLOG,
    )
    server = _Server(config, drain, life)

    def stop() -> None:
        server.should_exit = True

    async def serve() -> None:
        life.begin(stop)
        await server.serve(sockets=[sock])
        if life.is_stuck():
            os._exit(0)  # asyncio would wait for the thread

    with asyncio.Runner() as runner:
        runner.get_loop()  # where it cannot be made, nothing has begun
        runner.run(serve())
