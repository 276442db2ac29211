"""Who may ask, and what those are told that may not."""

from __future__ import annotations

import pytest

from localllm.errors import UsageError
from localllm.server.guard import check_exposure, host_name

KEYS = {"keys": ("first", "sécond")}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer first"}, 200),
        ({"authorization": "bearer  first "}, 200),
        ({"authorization": "Basic first"}, 401),
        ({"authorization": "Bearer firs"}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"x-api-key": "first"}, 200),
        ({"x-api-key": "FIRST"}, 401),
        ({"x-api-key": "first", "authorization": "Bearer other"}, 200),
        ({"x-api-key": "other", "authorization": "Bearer first"}, 200),
        ({"x-api-key": ""}, 401),
    ],
)
def test_keys(serve, headers, status):
    got = serve(**KEYS).client.get("/none", headers=headers)
    assert got.status_code == (404 if status == 200 else 401)  # nothing is known without a key, not even what is there
    if status == 401:
        assert got.json()["error"]["type"] == "authentication_error"
        assert got.headers["www-authenticate"] == "Bearer"


def test_health_needs_no_key(serve):
    client = serve(**KEYS).client
    assert client.get("/health").status_code == 200
    assert client.post("/health").status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", 200),
        ("127.0.0.1", 200),
        ("[::1]:8080", 200),
        ("192.168.1.7:8080", 200),
        ("LOCALHOST.", 200),
        ("box.local", 200),
        ("named.example:80", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:8080", 403),
        ("notlocalhost", 403),
        ("[::1", 403),
        ("", 403),
    ],
)
def test_names_of_the_server(serve, host, status):
    client = serve(allowed_hosts=("named.example",)).client
    got = client.get("/health", headers={"host": host})
    assert got.status_code == status
    if status == 403:
        assert "--allowed-host" in got.json()["error"]["message"]


def test_any_name_where_that_is_asked_for(serve):
    assert serve(allowed_hosts=("*",)).client.get("/health", headers={"host": "evil.example"}).status_code == 200


PAGE = {"host": "127.0.0.1:8080", "origin": "https://page.example"}


def test_pages_of_others_are_refused(serve):
    client = serve().client
    got = client.get("/health", headers=PAGE)
    assert got.status_code == 403
    assert "--allowed-origin" in got.json()["error"]["message"]
    assert "access-control-allow-origin" not in got.headers
    preflight = PAGE | {"access-control-request-method": "POST"}
    assert client.options("/health", headers=preflight).status_code == 403
    for other in ("null", "http://[", "//", "http://127.0.0.1:8080@page.example"):
        assert client.get("/health", headers=PAGE | {"origin": other}).status_code == 403


def test_pages_of_its_own_are_served(serve):
    got = serve().client.get("/health", headers=PAGE | {"origin": "http://127.0.0.1:8080"})
    assert got.status_code == 200
    assert "access-control-allow-origin" not in got.headers


@pytest.mark.parametrize("allowed", ["https://page.example", "https://Page.Example/", "*"])
def test_named_pages_are_served(serve, allowed):
    client = serve(allowed_origins=(allowed,), **KEYS).client
    got = client.get("/health", headers=PAGE)
    assert (got.status_code, got.headers["access-control-allow-origin"]) == (200, "https://page.example")
    assert got.headers["vary"] == "Origin"
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization, content-type"}
    got = client.options("/completion", headers=PAGE | asked)  # a browser asks this without a key
    assert got.status_code == 204
    assert got.headers["access-control-allow-headers"] == "authorization, content-type"
    assert "POST" in got.headers["access-control-allow-methods"]
    assert client.get("/none", headers=PAGE).headers["access-control-allow-origin"]  # errors can be read, too


def test_ids_of_requests(serve):
    client = serve().client
    assert client.get("/health", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = client.get("/health", headers={"x-request-id": "a b\n" * 99}).headers["x-request-id"]
    assert made != client.get("/health").headers["x-request-id"]
    assert len(made) == 16


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "box.example"])
def test_others_are_not_let_in_without_a_key(host):
    with pytest.raises(UsageError, match="--api-key"):
        check_exposure(host, has_keys=False, is_meant=False)
    check_exposure(host, has_keys=True, is_meant=False)
    check_exposure(host, has_keys=False, is_meant=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_the_machine_itself_needs_no_key(host):
    check_exposure(host, has_keys=False, is_meant=False)


def test_names_in_host_headers():
    assert host_name("A.b:80") == "a.b"
    assert host_name("[fe80::1%25eth0]:1") == "fe80::1%25eth0"
