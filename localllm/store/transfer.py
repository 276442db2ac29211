"""A file over HTTP: resumed where it broke off, in this run or an earlier one, and checked by its hash.

Range requests and If-Range: RFC 9110, section 14 and 13.1.5. What stands at `part` is never more than was said.
"""

from __future__ import annotations

import errno
import hashlib
import io
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from localllm.errors import StoreError
from localllm.store import retry, web
from localllm.store.entry import Progress

CHUNK = 1 << 18
_MAGIC = b"GGUF"
_PROGRESS = 1 << 16
"""Bytes that make an attempt one that was worth it."""


@dataclass(frozen=True)
class Remote:
    """A file to fetch. `size`: bytes. `etag`: 64 hexadecimal digits are its SHA-256, 40 git's SHA-1 of it as a blob
    (both are checked), others are not understood. `validator`: what If-Range may carry to `url`, or "". `name`:
    what people call it. `explain`: says in words what a failed request means."""

    url: str
    size: int
    etag: str = ""
    token: str | None = None
    validator: str = ""
    name: str = ""
    explain: Callable[[Exception], str] = web.reason

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


class Transfer:
    """One file on its way to `part`; what `part` holds already is kept and gone on from.

    `report(text, done, total)` is called with the bytes that are here; a total of 0 is a message alone.
    """

    def __init__(self, remote: Remote, part: Path, report: Progress) -> None:
        self._remote, self._part, self._report = remote, part, report
        self._validator = remote.validator
        self._digest: Any = None
        self._done = 0
        """Bytes of `part` that `_digest` has seen."""

    def run(self) -> None:
        """Makes `part` the whole file, checked. Raises StoreError; `part` then holds what can be gone on from, if
        anything. Raises OSError for what the disk refuses."""
        resumed = self._resume()
        self._fill()
        if self._is_right():
            return
        if resumed:  # what an earlier run left may be to blame: once more, from the beginning
            self._report(f"{self._remote.name}: what an earlier run left is damaged; beginning again", 0, 0)
            self._restart()
            self._fill()
            if self._is_right():
                return
        found = self._digest.hexdigest()
        self._restart()
        raise StoreError(
            f"{self._remote.host}: {self._remote.name}: what came is not the file: "
            f"its hash is {found}, expected {self._remote.etag}"
        )

    def _resume(self) -> bool:
        """Reads what an earlier run left; whether there was anything."""
        self._restart(keep=True)
        have = self._part.stat().st_size if self._part.exists() else 0
        if not 0 < have <= self._remote.size:
            self._restart()
            return False
        with self._part.open("rb") as file:
            while chunk := file.read(CHUNK):
                self._take(chunk)
                self._report(f"reading what is here of {self._remote.name}", self._done, have)
        return True

    def _restart(self, keep: bool = False) -> None:
        if not keep:
            self._part.unlink(missing_ok=True)
        self._digest, self._done = hasher(self._remote.etag, self._remote.size), 0

    def _take(self, chunk: bytes) -> None:
        self._done += len(chunk)
        if self._digest is not None:
            self._digest.update(chunk)

    def _is_right(self) -> bool:
        return self._digest is None or self._digest.hexdigest() == self._remote.etag

    def _fill(self) -> None:
        """Fetches until all bytes are here. Gives up after some attempts in a row that brought next to nothing."""
        failed = 0
        while self._done < self._remote.size:
            before = self._done
            try:
                self._continue()
            except (web.StatusError, *web.BROKEN) as error:
                if getattr(error, "status", 0) == 416:  # what we have is not the start of what is there now
                    self._restart()
                elif not retry.may_pass(error):
                    raise self._failure(error) from None
                failed = 1 if self._done - before > _PROGRESS else failed + 1
                if failed >= retry.ATTEMPTS:
                    raise self._failure(error) from None
                self._wait(failed, error)

    def _failure(self, error: Exception) -> StoreError:
        return StoreError(f"{self._remote.host}: {self._remote.name}: {self._remote.explain(error)}")

    def _wait(self, failed: int, error: Exception) -> None:
        seconds = retry.pause(failed, error)
        self._report(f"{self._remote.name}: {web.reason(error)}; trying again in {seconds:.0f} s", 0, 0)
        time.sleep(seconds)

    def _continue(self) -> None:
        headers = {}
        if self._done:
            headers["Range"] = f"bytes={self._done}-"
            if self._validator:
                headers["If-Range"] = self._validator
        with web.request(self._remote.url, self._remote.token, headers) as answer:
            if not self._begins_here(answer):
                self._restart()
            self._require_size(answer)
            self._validator = validator(answer.headers)
            self._write(answer)
        if self._done < self._remote.size:
            raise ConnectionError(f"the connection broke after {self._done} of {self._remote.size} bytes")

    def _begins_here(self, answer: web.Answer) -> bool:
        """Whether the answer goes on from what is here: only where the server says so."""
        if answer.status != 206:
            return self._done == 0
        told = answer.content_range()
        if told is None or (told[0], told[2]) != (self._done, self._remote.size):
            self._restart()
            raise ConnectionError(web.other_range(answer))
        return True

    def _require_size(self, answer: web.Answer) -> None:
        """A wrong size is known before a gigabyte is fetched: a login page, another version of the file. The size of a
        range was looked at with its place."""
        length = answer.headers.get("Content-Length", "") if answer.status != 206 else ""
        if re.fullmatch(r"\d{1,18}", length) and int(length) != self._remote.size:
            raise StoreError(
                f"{self._remote.host}: {self._remote.name}: the file has {int(length)} bytes there, "
                f"expected {self._remote.size}"
            )

    def _write(self, answer: web.Answer) -> None:
        with self._part.open("r+b" if self._done else "wb", buffering=0) as out:
            out.truncate(self._done)
            out.seek(self._done)
            while self._done < self._remote.size:
                chunk = answer.read(min(CHUNK, self._remote.size - self._done))
                if not chunk:
                    return
                if self._done == 0:
                    self._require_gguf(chunk)
                self._save(out, chunk)
                self._take(chunk)
                self._report(f"fetching {self._remote.name}", self._done, self._remote.size)

    def _require_gguf(self, chunk: bytes) -> None:
        if not chunk.startswith(_MAGIC[: len(chunk)]):
            raise StoreError(
                f"{self._remote.host}: {self._remote.name}: what comes is no GGUF file, it begins with {chunk[:16]!r}"
            )

    def _save(self, out: io.FileIO, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:  # a nearly full disk takes a part of what it is given
            rest = rest[out.write(rest) :]


def hasher(etag: str, size: int) -> Any:
    """What computes the hash that an ETag of a hub is; None where it is none that we know."""
    if re.fullmatch(r"[0-9a-f]{64}", etag):
        return hashlib.sha256()
    if re.fullmatch(r"[0-9a-f]{40}", etag):
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    return None


def validator(headers: Message) -> str:
    """What If-Range may carry to mean the file of an answer: its ETag, but no weak one; else its date; else ""."""
    etag = headers.get("ETag", "")
    return etag if re.fullmatch(r'"[\x21\x23-\x7e]*"', etag) else headers.get("Last-Modified", "")


def is_full(error: OSError) -> bool:
    """Whether the disk, or the user's share of it, is full."""
    return error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
