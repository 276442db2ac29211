"""A hub on this machine: what huggingface_hub asks of one, and files, which it may serve badly.

python -m tests.store.hub_stub org/repo FILE...        # prints its address for HF_ENDPOINT, serves until Ctrl-C
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

CHUNK = 1 << 16


class Asked(NamedTuple):
    method: str
    path: str
    range: str | None
    token: str | None
    if_range: str | None


class Repo:
    """A repository: contents by path, under one commit. `small`: paths that are kept in git itself, not by LFS."""

    def __init__(self, files: dict[str, bytes], small: tuple[str, ...] = ("README.md",)) -> None:
        self.files, self.small = files, small
        self.commit = hashlib.sha1(repr(sorted(files)).encode() + b"".join(files.values())).hexdigest()
        self.gated = False
        self.private = False
        self.listed: list[dict[str, object]] = []
        """What the list of files tells instead of the truth."""

    def etag(self, path: str) -> str:
        data = self.files[path]
        if path in self.small:
            return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        return hashlib.sha256(data).hexdigest()

    def siblings(self) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = []
        for path, data in self.files.items():
            row: dict[str, object] = {"rfilename": path, "size": len(data), "blobId": self.etag(path)}
            if path not in self.small:
                row["lfs"] = {"sha256": self.etag(path), "size": len(data), "pointerSize": 134}
            rows.append(row)
        return self.listed or rows


class Hub(ThreadingHTTPServer):
    """`faults`: what each request for content in turn does wrong (see Handler.FAULTS; a number is a status), `asked`:
    all requests; `elsewhere`: the address of another host that contents are redirected to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.plain: dict[str, bytes] = {}
        """Contents at addresses that are no hub's."""
        self.faults: list[str] = []
        self.api_faults: list[int] = []
        self.asked: list[Asked] = []
        self.elsewhere = ""
        self.token = ""
        """What private and gated repositories want."""
        self.redirects: dict[str, str] = {}
        self.proxied = False
        """Whether requests are for a proxy: `plain` has whole addresses."""
        self.head = True
        """Whether plain addresses know HEAD."""
        self.etags: dict[str, str] = {}
        """ETags of plain addresses, without quotes; else the hash of the content."""
        self.slowness = 0.0
        """Seconds before each piece of a content."""
        self.sent = 0
        """Bytes of contents."""
        self.date = ""
        """Last-Modified of contents."""
        self.pause: threading.Event | None = None
        """Contents stop in the middle until it is set."""
        self.halfway = threading.Event()
        """Set when the middle of a content was reached."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def contents(self, method: str = "GET") -> list[Asked]:
        """The requests for files."""
        return [a for a in self.asked if a.method == method and not a.path.startswith("/api/")]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up early is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    FAULTS = (
        "break",  # hangs up after half of what it should send
        "no ranges",  # sends all from the beginning
        "wrong range",  # says that it sends from elsewhere
        "wrong",  # sends other bytes
        "longer",  # says and sends more
        "shorter",  # says and sends less
        "no length",
        "page",  # sends a page of text
    )

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        headers = self.headers
        token = (headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.server.asked.append(Asked(self.command, self.path, headers.get("Range"), token, headers.get("If-Range")))
        path = self.path if self.server.proxied else unquote(urlsplit(self.path).path)
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+|refs/pr/\d+)/(.+)", path)
        if api:
            self._api(api[1], api[2] or "main", token)
        elif path in self.server.redirects:
            self._refuse(302, Location=self.server.redirects[path])
        elif path in self.server.plain:
            self._plain(path)
        elif file:
            self._file(file[1], file[2], file[3], token)
        else:
            self._refuse(404, "RepoNotFound")

    def _refuse(self, status: int, code: str = "", **headers: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _repo(self, name: str, revision: str, token: str | None) -> Repo | None:
        repo = self.server.repos.get(name)
        may = token is not None and token == self.server.token
        if repo is None or (repo.private and not may):
            self._refuse(404 if token else 401, "RepoNotFound")
        elif repo.gated and not may:
            self._refuse(403 if token else 401, "GatedRepo")
        elif revision not in ("main", repo.commit):
            self._refuse(404, "RevisionNotFound")
        else:
            return repo
        return None

    def _api(self, name: str, revision: str, token: str | None) -> None:
        if self.server.api_faults:
            self._refuse(self.server.api_faults.pop(0))
            return
        repo = self.server.repos.get(name)
        gated = repo is not None and repo.gated
        if repo is not None and gated:
            repo.gated = False  # the list is for all to see
        found = self._repo(name, revision, token)
        if repo is not None:
            repo.gated = gated
        if found is None:
            return
        body = json.dumps({"id": name, "modelId": name, "sha": found.commit, "siblings": found.siblings()}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _file(self, name: str, revision: str, path: str, token: str | None) -> None:
        repo = self._repo(name, revision, token)
        if repo is None:
            return
        if path not in repo.files:
            self._refuse(404, "EntryNotFound")
            return
        etag, data = repo.etag(path), repo.files[path]
        linked = {"X-Repo-Commit": repo.commit, "X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data))}
        if self.server.elsewhere:
            self.send_response(302)
            for header, value in linked.items():
                self.send_header(header, value)
            self.send_header("Location", f"{self.server.elsewhere}/{name}/resolve/{revision}/{path}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._content(data, f'"{etag}"', linked)

    def _plain(self, path: str) -> None:
        if self.command == "HEAD" and not self.server.head:
            self._refuse(405)
            return
        data = self.server.plain[path]
        etag = self.server.etags.get(path, hashlib.md5(data).hexdigest())
        self._content(data, f'"{etag}"' if etag else "", {})

    def _content(self, data: bytes, etag: str, headers: dict[str, str]) -> None:
        fault = self.server.faults.pop(0) if self.command == "GET" and self.server.faults else ""
        if fault.isdigit():
            self._refuse(int(fault), Retry_After="0")
            return
        wanted = self._range(data, etag, fault)
        start, end = wanted or (0, len(data))
        body = self._body(data, fault)[start:] if end == len(data) else data[start:end]
        self.send_response(206 if wanted else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        if etag:
            self.send_header("ETag", etag)
        if self.server.date:
            self.send_header("Last-Modified", self.server.date)
        if wanted:
            shown = 7 if fault == "wrong range" else start
            self.send_header("Content-Range", f"bytes {shown}-{end - 1}/{len(data)}")
        if fault != "no length":
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "GET":
            self._send(body[: len(body) // 2] if fault == "break" else body)

    def _range(self, data: bytes, etag: str, fault: str) -> tuple[int, int] | None:
        """First byte and the one after the last, where a part is asked for and may be sent."""
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not wanted or fault == "no ranges" or int(wanted[1]) >= len(data):
            return None
        if self.headers.get("If-Range") not in (None, etag, self.server.date or None):
            return None
        return int(wanted[1]), min(int(wanted[2]) + 1, len(data)) if wanted[2] else len(data)

    def _body(self, data: bytes, fault: str) -> bytes:
        return {
            "wrong": data[:4] + bytes(max(0, len(data) - 4)),
            "longer": data + b"more",
            "shorter": data[:-4],
            "page": b"<!doctype html>".ljust(len(data)),
        }.get(fault, data)

    def _send(self, body: bytes) -> None:
        for i in range(0, len(body), CHUNK):
            if i >= len(body) // 2:
                self.server.halfway.set()
                if self.server.pause is not None:
                    self.server.pause.wait(60)
            time.sleep(self.server.slowness)
            self.wfile.write(body[i : i + CHUNK])
            self.server.sent += len(body[i : i + CHUNK])

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def running() -> Iterator[Hub]:
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


def main() -> None:
    repo, *paths = sys.argv[1:]
    with running() as hub:
        hub.repos[repo] = Repo({Path(path).name: Path(path).read_bytes() for path in paths})
        print(hub.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
