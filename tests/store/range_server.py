"""A server of files by Range requests, which may answer badly."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Files(ThreadingHTTPServer):
    """`contents`: by path; `faults`: what each request in turn does wrong, a status or a name; `asked`: path, range and
    token of all requests."""

    daemon_threads = True

    def __init__(self, contents: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.contents = contents
        self.faults: list[str] = []
        self.asked: list[tuple[str, str | None, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def n_sent(self) -> int:
        """Bytes that were asked for."""
        ends = [re.fullmatch(r"bytes=(\d+)-(\d+)", asked or "") for _, asked, _ in self.asked]
        return sum(int(found[2]) + 1 - int(found[1]) for found in ends if found)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: Files
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted, self.headers.get("Authorization")))
        fault = self.server.faults.pop(0) if self.server.faults else ""
        content = self.server.contents.get(self.path)
        if fault.isdecimal() or content is None:
            code = {"X-Error-Code": "GatedRepo"} if fault == "403" else {}
            self._send(int(fault or 404), b"", code)
            return
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted or "")
        assert found
        first, last = int(found[1]), min(int(found[2]), len(content) - 1)
        told = {"": f"bytes {first}-{last}/{len(content)}", "other": f"bytes 7-{last}/{len(content)}"}
        told |= {"size": f"bytes {first}-{last}/{len(content) + 1}", "huge": f"bytes {first}-{last}/{10**30}"}
        told |= {"more": f"bytes {first}-{len(content)}/{len(content) + 1}", "nonsense": "bytes */*"}
        if fault == "whole":
            self._send(200, content)
        else:
            body = content[first : last + 1]
            self._send(206, body, {"Content-Range": told.get(fault, told[""])}, hang_up=fault == "break")

    def _send(self, status: int, body: bytes, more: dict[str, str] | None = None, hang_up: bool = False) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if hang_up else body)
        if hang_up:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def serving(contents: dict[str, bytes]) -> Iterator[Files]:
    server = Files(contents)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
