"""Requests over HTTP for files: redirects are followed a few times, and a token goes to its own host alone.

Proxies are those of the environment (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY). Nothing is decoded.
"""

from __future__ import annotations

import email.message
import http.client
import re
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit

from localllm.errors import StoreError
from localllm.gguf.split import part_names

BROKEN = (URLError, ConnectionError, http.client.HTTPException)
"""What a connection raises that could not be made, or broke."""
TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""
MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)


class StatusError(Exception):
    """An answer that is no success. `status`: the HTTP status; `headers`: of the answer, without regard to case."""

    def __init__(self, status: int, reason: str, headers: email.message.Message, url: str) -> None:
        shown = f" ({reason:.60})" if reason and reason.isprintable() else ""
        super().__init__(f"HTTP status {status}{shown}")
        self.status, self.headers, self.url = status, headers, url


class Answer:
    """A success, or a redirect that was not followed. `url`: where it came from in the end."""

    def __init__(self, status: int, headers: email.message.Message, url: str, stream: Any) -> None:
        self.status, self.headers, self.url, self._stream = status, headers, url, stream

    def content_range(self) -> tuple[int, int, int] | None:
        """First and last byte that the body holds, and the size of the whole file (RFC 9110, section 14.4); None where
        the answer is no part of a file."""
        told = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", self.headers.get("Content-Range", "").strip())
        return (int(told[1]), int(told[2]), int(told[3])) if told and self.status == 206 else None

    def read(self, n_bytes: int) -> bytes:
        """What has come of the body, at most so many bytes; b"" at its end. Raises ConnectionError, HTTPException."""
        try:
            data: bytes = self._stream.read1(n_bytes)
        except OSError as error:
            raise ConnectionError(reason(error)) from error
        return data


class _Unfollowed(urllib.request.HTTPRedirectHandler):
    """Redirects arrive as HTTPError: the library would send every header to the other host."""

    def redirect_request(self, *_: object) -> None:
        return None


@contextmanager
def request(
    url: str,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
    other_hosts: bool = True,
    timeout: float = TIMEOUT,
) -> Iterator[Answer]:
    """Asks for `url`. `token` is sent to that scheme, host and port alone, wherever redirects lead. `other_hosts`: a
    redirect to another host is followed; else it is the answer.

    Raises StatusError (any other status), StoreError (a redirect that is not followed: to another scheme, from https
    to http, too many), and what a connection raises: URLError, ConnectionError, http.client.HTTPException.
    """
    origin = _origin(url)
    for _ in range(MOST_REDIRECTS + 1):
        sent = {"User-Agent": "localllm", "Accept-Encoding": "identity"} | dict(headers or {})
        if token and _origin(url) == origin:
            sent["Authorization"] = f"Bearer {token}"
        with _once(urllib.request.Request(url, headers=sent, method=method), timeout) as answer:
            target = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or target is None:
                yield answer
                return
            following = _redirected(url, target)
            if not other_hosts and _origin(following) != _origin(url):
                yield answer
                return
            url = following
    raise StoreError(f"{origin[1]}: more than {MOST_REDIRECTS} redirects")


@contextmanager
def _once(asked: urllib.request.Request, timeout: float) -> Iterator[Answer]:
    opener = urllib.request.build_opener(_Unfollowed, urllib.request.ProxyHandler(_proxies()))
    try:
        response = opener.open(asked, timeout=timeout)
    except HTTPError as error:
        with error:
            if error.code not in _REDIRECTS:
                raise StatusError(error.code, str(error.reason), error.headers, asked.full_url) from None
            yield Answer(error.code, error.headers, asked.full_url, error)
        return
    except (ValueError, http.client.InvalidURL) as error:
        raise StoreError(f"{asked.full_url}: {error}") from None
    except URLError:
        raise
    except OSError as error:
        raise ConnectionError(reason(error)) from error
    with response:
        yield Answer(response.status, response.headers, asked.full_url, response)


def _proxies() -> dict[str, str]:
    """Scheme -> proxy. The library knows no ALL_PROXY, nor any proxy but those of HTTP."""
    proxies = urllib.request.getproxies()
    if proxies.get("all", "").startswith("http"):
        proxies = {"http": proxies["all"], "https": proxies["all"]} | proxies
    return proxies


def _redirected(url: str, target: str) -> str:
    try:
        following = urljoin(url, target)
        scheme = urlsplit(following).scheme
    except ValueError as error:
        raise StoreError(f"{urlsplit(url).hostname}: a redirect to {target!r:.100}: {error}") from None
    if scheme not in ("http", "https") or (scheme == "http" and urlsplit(url).scheme == "https"):
        raise StoreError(f"{urlsplit(url).hostname}: a redirect to {target!r:.100} is not followed")
    return following


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise StoreError(f"{url}: {error}") from None
    return parts.scheme, parts.hostname or "", port or (443 if parts.scheme == "https" else 80)


def other_range(answer: Answer) -> str:
    """What is wrong with an answer whose range is not the one that was asked for."""
    return f"the server answers another range than it was asked for: {answer.headers.get('Content-Range', '')!r:.60}"


def part_urls(url: str) -> list[str]:
    """The addresses of all parts of a split model, in order, by that of one of them; of another file, its own."""
    parts = urlsplit(url)
    return [parts._replace(path=path).geturl() for path in part_names(parts.path)]


def reason(error: Exception) -> str:
    """Why a connection failed, in words."""
    inner = error.reason if isinstance(error, URLError) else error
    text = str(getattr(inner, "strerror", None) or inner)
    return re.sub(r"^\[Errno -?\d+\] ", "", text) or type(error).__name__
