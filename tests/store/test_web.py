"""Requests: redirects, who is sent a token, what is worth another try."""

import email.message
import http.client
import ssl
from collections.abc import Iterator
from urllib.error import URLError

import pytest

from localllm.errors import StoreError
from localllm.store import retry, web
from localllm.store.web import StatusError
from tests.store import hub_stub
from tests.store.hub_stub import Hub


@pytest.fixture
def other() -> Iterator[Hub]:
    with hub_stub.running() as running:
        yield running


def test_a_token_comes_back_to_its_host(hub: Hub, other: Hub) -> None:
    hub.redirects["/a"] = "/b"
    hub.redirects["/b"] = f"{other.url}/c"
    other.redirects["/c"] = f"{hub.url}/d"
    hub.plain["/d"] = b"end"
    with web.request(f"{hub.url}/a", "secret") as answer:
        assert answer.read(9) == b"end"
        assert answer.url == f"{hub.url}/d"
    assert [(a.path, a.token) for a in hub.asked] == [("/a", "secret"), ("/b", "secret"), ("/d", "secret")]
    assert [(a.path, a.token) for a in other.asked] == [("/c", None)]


def test_another_host_is_the_answer(hub: Hub, other: Hub) -> None:
    hub.redirects["/a"] = "/b"
    hub.redirects["/b"] = f"{other.url}/c"
    with web.request(f"{hub.url}/a", method="HEAD", other_hosts=False) as answer:
        assert answer.status == 302
        assert answer.headers["Location"] == f"{other.url}/c"
    assert other.asked == []


def test_never_from_https_to_http() -> None:
    with pytest.raises(StoreError, match=r"a\.example: a redirect to 'http://a\.example/' is not followed"):
        web._redirected("https://a.example/x", "http://a.example/")
    assert web._redirected("http://a.example/x", "https://a.example/y") == "https://a.example/y"


def test_the_same_host_by_another_scheme_or_port_is_another() -> None:
    assert web._origin("https://a.example/") == web._origin("https://A.example:443/x")
    assert web._origin("https://a.example/") != web._origin("http://a.example/")
    assert web._origin("https://a.example/") != web._origin("https://a.example:444/")


@pytest.mark.parametrize("url", ["http://a b/", "http://a.example:x/", "http://a.example/\x00"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(StoreError), web.request(url):
        pass


def status(code: int, **headers: str) -> StatusError:
    message = email.message.Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return StatusError(code, "", message, "http://a.example/")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (status(503), True),
        (status(429), True),
        (status(404), False),
        (status(401), False),
        (ConnectionResetError(), True),
        (http.client.IncompleteRead(b""), True),
        (URLError(ConnectionRefusedError()), True),
        (URLError(ssl.SSLCertVerificationError()), False),
        (ValueError(), False),
        (OSError(28, "full"), False),
    ],
)
def test_what_may_pass(error: Exception, expected: bool) -> None:
    assert retry.may_pass(error) is expected


def test_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "PAUSE", 1.0)
    assert [retry.pause(i, ConnectionError()) for i in (1, 2, 3, 20)] == [1, 2, 4, 60]
    assert retry.pause(1, status(429, Retry_After="7")) == 7
    assert retry.pause(1, status(429, Retry_After="100000")) == 60
    assert retry.pause(1, status(503, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT")) == 1
    assert retry.pause(1, status(503, Retry_After="\xb2")) == 1
    assert retry.pause(1, status(503, Retry_After="9" * 5000)) == 60
