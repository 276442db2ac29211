"""A file from an address, resumed where it broke off. Whether it is the right file is for the caller to check."""

from __future__ import annotations

import http.client
import re
import ssl
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from localllm.errors import StoreError
from localllm.store.entry import Progress

ATTEMPTS = 4
PAUSE = 1.0
"""Seconds before the second attempt; doubled before each further one."""
TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""
CHUNK = 1 << 18
_WORTH_A_RETRY = (408, 416, 425, 429, 500, 502, 503, 504)


def download(url: str, size: int, part: Path, text: str, report: Progress) -> None:
    """Makes `part` the `size` bytes of `url`; what `part` holds already is kept and gone on from.

    Raises StoreError with the reason; `part` stays for another try. Proxies are those of the environment.
    """
    host = urlsplit(url).hostname
    for attempt in range(ATTEMPTS):
        try:
            _continue(url, size, part, text, report)
            return
        except HTTPError as error:
            problem = f"HTTP status {error.code} ({error.reason})"
            if error.code == 416:  # what we have is not the start of what is there now
                part.unlink(missing_ok=True)
            if error.code not in _WORTH_A_RETRY:
                raise StoreError(f"{host}: {problem}") from None
        except URLError as error:
            problem = str(error.reason)
        except (ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException) as error:
            problem = str(error) or type(error).__name__
        if attempt + 1 < ATTEMPTS:
            time.sleep(PAUSE * 2**attempt)
    raise StoreError(f"{host}: {problem}")


def _continue(url: str, size: int, part: Path, text: str, report: Progress) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have > size:
        part.unlink()
        have = 0
    if have == size:
        return
    # identity: a range of a compressed answer would be another range
    headers = {"User-Agent": "localllm", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with urlopen(Request(url, headers=headers), timeout=TIMEOUT) as answer:
        start = _start(answer, have)
        _require_size(answer, size, start, url)
        with part.open("r+b" if start else "wb") as out:
            out.seek(start)
            out.truncate()
            while start < size and (chunk := answer.read(min(CHUNK, size - start))):
                out.write(chunk)
                start += len(chunk)
                report(text, start, size)
    if start < size:
        raise ConnectionError(f"the connection broke after {start} of {size} bytes")


def _start(answer: http.client.HTTPResponse, have: int) -> int:
    """The offset of the answer's first byte: `have` only where the server says so."""
    if answer.status != 206:
        return 0
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != have:
        raise ConnectionError(f"asked for bytes from {have}, the answer is {answer.headers.get('Content-Range')}")
    return have


def _require_size(answer: http.client.HTTPResponse, size: int, start: int, url: str) -> None:
    """A wrong size is known before a gigabyte is fetched: a login page, another version of the file."""
    length = answer.headers.get("Content-Length", "")
    if length.isdigit() and int(length) != size - start:
        raise StoreError(f"{urlsplit(url).hostname}: the file has {int(length) + start} bytes, expected {size}")
