"""`localllm serve` over a real model: clients that go away leave slots free, whatever the engine was at."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import httpx
import pytest

from tests.cli.test_serve import Served

SMOLLM2 = Path.home() / ".cache/localllm-test-models/smollm2-135m-instruct-q4_1.gguf"
PATIENCE = 60.0
pytestmark = [
    pytest.mark.slow,
    pytest.mark.real,
    pytest.mark.skipif(not SMOLLM2.exists(), reason="needs the models of ~/.cache/localllm-test-models"),
]


@pytest.fixture(scope="module")
def server():
    with Served(SMOLLM2, "-c", 4096, "-np", 2, "--no-cache") as served:
        url = served.url()
        with httpx.Client(base_url=url, timeout=PATIENCE) as client:
            client.port = int(url.rpartition(":")[2])  # type: ignore[attr-defined]
            yield client


def send(server, body):
    raw = json.dumps(body).encode()
    sock = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
    sock.sendall(b"POST /completion HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(raw) + raw)
    return sock


def until(server, wanted):
    """Wait until the states of slots are such; the slots."""
    end = time.monotonic() + PATIENCE
    while not wanted(slots := server.get("/slots").json()):
        assert time.monotonic() < end, slots
    return slots


def busy(slots):
    return [slot for slot in slots if slot["is_processing"]]


def is_idle(slots):
    return not busy(slots)


LONG = {"prompt": list(range(100, 4000)), "n_predict": 1}
ENDLESS = {"prompt": [100, 200], "ignore_eos": True, "n_predict": 4000}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("body", "state"),
    [
        (LONG, lambda slots: any(slot["n_past"] and not slot["next_token"][0]["n_decoded"] for slot in busy(slots))),
        (ENDLESS, lambda slots: any(slot["next_token"][0]["n_decoded"] > 2 for slot in busy(slots))),
    ],
    ids=["reading", "answering"],
)
def test_who_hangs_up_frees_the_slot(server, body, state, stream):
    with send(server, body | {"stream": stream}):
        until(server, state)
    until(server, is_idle)


def test_who_hangs_up_in_the_queue_leaves_it(server):
    with send(server, ENDLESS), send(server, ENDLESS):
        until(server, lambda slots: len(busy(slots)) == 2)
        with send(server, ENDLESS):
            while "llamacpp:requests_deferred 1\n" not in server.get("/metrics").text:
                pass
        while "llamacpp:requests_deferred 0\n" not in server.get("/metrics").text:
            pass
        assert len(busy(server.get("/slots").json())) == 2
    until(server, is_idle)


def test_answers_are_the_same_alone_and_beside_others(server):
    body = {"prompt": "The capital of France is", "n_predict": 12, "seed": 3, "temperature": 1.0, "return_tokens": True}
    alone = server.post("/completion", json=body).json()["tokens"]
    with send(server, ENDLESS):
        until(server, busy)
        assert server.post("/completion", json=body).json()["tokens"] == alone
        assert server.post("/completion", json=body | {"cache_prompt": False}).json()["tokens"] == alone
    until(server, is_idle)


def test_a_prompt_of_one_character_a_million_times(server):
    got = server.post("/completion", json={"prompt": "a" * (1 << 20)})
    assert (got.status_code, got.json()["error"]["type"]) == (400, "exceed_context_size_error")
    assert server.get("/health").status_code == 200
