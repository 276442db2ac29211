"""Real sockets and signals: clients that go away, are slow, or are too many, and how the server ends."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest

PATIENCE = 20.0


class Running:
    def __init__(self, settings):
        line = [sys.executable, "-m", "tests.server.fake_serve", json.dumps(settings)]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE)

    def control(self, **body):
        return self.client.post("/control", json=body).json()

    def until(self, **wanted):
        """Wait for a state that /control tells of."""
        end = time.monotonic() + PATIENCE
        while (state := self.control()) | wanted != state:
            assert time.monotonic() < end, state
        return state

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def ask(self, path, body, headers=""):
        """A connection on which a request was sent."""
        sock, raw = self.connect(), json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(raw)}\r\n{headers}\r\n"
        sock.sendall(head.encode() + raw)
        return sock

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def is_refused(self):
        """Wait until no more connections are taken."""
        end = time.monotonic() + PATIENCE
        with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):
            while True:
                self.connect().close()
                assert time.monotonic() < end

    def status(self):
        return self.process.wait(PATIENCE)


CHAT = "/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "stream": True}


@pytest.fixture
def start():
    running = []

    def make(**settings):
        running.append(Running(settings))
        return running[-1]

    yield make
    for server in running:
        server.client.close()
        server.process.kill()
        server.process.communicate()


def read_all(sock):
    """What came until the end, or until the connection was reset."""
    came = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := sock.recv(65536):
            came += chunk
    return came


# --- clients that go away


MESSAGES = {"messages": [{"role": "user", "content": "a"}]}
BODIES: dict[str, dict[str, Any]] = {
    "/completion": {"prompt": "a"},
    "/v1/completions": {"prompt": "a"},
    "/v1/chat/completions": MESSAGES,
    "/v1/responses": {"input": "a"},
    "/v1/messages": {"max_tokens": 9, **MESSAGES},
    "/api/chat": {"model": "fake", **MESSAGES},
    "/api/generate": {"model": "fake", "prompt": "a"},
}


@pytest.mark.parametrize("stream", [False, True])
def test_who_hangs_up_frees_the_slot(start, stream):
    server = start()
    server.control(gate=False)
    for n, (path, body) in enumerate(BODIES.items(), 1):
        with server.ask(path, {"stream": stream, **body}):
            server.until(requests=n)
        server.until(cancelled=n, ended=n)


@pytest.mark.slow
def test_who_hangs_up_while_a_model_is_loaded_does_not_stop_the_loading(start):
    server = start(load_waits=True)
    with server.ask("/completion", {"prompt": "a"}):
        assert server.client.get("/health").status_code == 503
    server.control(load=True)
    assert server.client.post("/completion", json={"prompt": "a"}).json()["content"] == "hello"
    assert server.control()["requests"] == 1


@pytest.mark.slow
def test_many_who_hang_up_leave_nothing_behind(start):
    server = start()
    server.control(gate=False)
    for k in range(100):
        sock = server.ask("/completion", {"prompt": "a", "stream": bool(k % 2)})
        server.until(requests=k + 1)
        if k % 3 == 0:  # a reset in place of an orderly end
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
    server.until(cancelled=100, ended=100)


# --- clients that are slow


@pytest.mark.slow
def test_a_reader_who_does_not_read_is_given_up(start):
    server = start(script="a", times=20_000, width=4096)
    with server.ask("/completion", {"prompt": "a", "stream": True}):
        server.until(cancelled=1, ended=1)
        assert server.client.get("/health").status_code == 200


@pytest.mark.slow
def test_a_reader_who_stops_is_cut_off(start):
    server = start(script="a", times=5_000, width=4096, limits={"write_seconds": 0.3})
    with server.ask("/completion", {"prompt": "a", "stream": True}) as sock:
        sock.recv(1)
        while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == _ESTABLISHED:
            server.control()


def test_long_bodies_that_do_not_end_take_no_room_without_end(start):
    """Each is within its own limit; those that are short, and long ones once there is room, are read."""
    server = start(options={"max_body": 400_000})
    head = b"POST /completion HTTP/1.1\r\nhost: localhost\r\ncontent-length: 400000\r\n\r\n"
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(server.connect()) for _ in range(9)]
        for sock in held:
            sock.sendall(head + b" " * 399_000)
        ready, _, _ = select.select(held, [], [], PATIENCE)
        assert ready[0].recv(12) == b"HTTP/1.1 503"
        assert server.client.post("/completion", json={"prompt": "a"}).status_code == 200
    body = b" " * 399_000 + b'{"prompt": "a"}'
    end = time.monotonic() + PATIENCE
    while server.client.post("/completion", content=body).status_code != 200:
        assert time.monotonic() < end


@pytest.mark.slow
def test_a_reader_who_is_slow_gets_all_and_is_not_cut_when_the_connection_has_ended(start):
    """A timer that outlives its connection would find no transport, and write a traceback into the log."""
    server = start(limits={"write_seconds": 0.5})
    with server.ask("/tokenize", {"content": "a" * 500_000, "with_pieces": True}, "connection: close\r\n") as sock:
        n = 0
        while chunk := sock.recv(1 << 20):
            n += len(chunk)
            time.sleep(0.1)  # what makes it slow: all of it takes longer than write_seconds
        assert n > 10_000_000
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        server.control()
    server.end()
    assert server.process.communicate()[1] == ""


_ESTABLISHED = b"\1"
"""tcpi_state of Linux's tcp_info."""


@pytest.mark.parametrize("sent", [b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: "])
def test_heads_that_do_not_come_are_not_waited_for(start, sent):
    server = start(limits={"header_seconds": 0.3})
    with server.connect() as sock:
        sock.sendall(sent)
        assert read_all(sock) == b""


@pytest.mark.slow
def test_a_head_that_drips_is_not_waited_for(start):
    server = start(limits={"header_seconds": 0.5})
    with server.connect() as sock, contextlib.suppress(OSError):
        sock.settimeout(0.1)
        sock.sendall(b"GET /health HTTP/1.1\r\nx: ")
        for _ in range(600):
            with contextlib.suppress(TimeoutError):
                if not sock.recv(1):
                    return
            sock.sendall(b"a")
        pytest.fail("the head was waited for")


@pytest.mark.slow
def test_heads_of_later_requests_are_not_waited_for_either(start):
    server = start(limits={"header_seconds": 0.3})
    with server.connect() as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b"200 OK" in sock.recv(65536)
        sock.sendall(b"GET /hea")
        assert b"HTTP" not in read_all(sock)


@pytest.mark.slow
def test_connections_that_nobody_uses_are_closed(start):
    server = start(limits={"idle_seconds": 1})
    with server.connect() as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b"200 OK" in read_all(sock)


@pytest.mark.slow
def test_bodies_that_do_not_come_are_not_waited_for(start):
    server = start(options={"body_timeout": 0.3})
    with server.connect() as sock:
        sock.sendall(b'POST /completion HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{"prompt": ')
        head = sock.recv(65536)
        assert b"408" in head.splitlines()[0]


def test_what_is_no_http_is_refused(start):
    server = start()
    with server.connect() as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
        assert b"400" in read_all(sock).splitlines()[0]
    with server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nx: " + b"a" * 100_000)
        answer = read_all(sock)  # empty where the system drops it: the server closes before it has read all
        assert not answer or b"400" in answer.splitlines()[0]
    with server.connect() as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        assert b"200 OK" in read_all(sock)


def test_a_body_that_is_too_long_is_refused_by_its_length(start):
    server = start(options={"max_body": 1000})
    with server.connect() as sock:
        sock.sendall(b"POST /completion HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999\r\n\r\n")
        assert b"413" in sock.recv(65536).splitlines()[0]  # nothing of it was sent


@pytest.mark.slow
def test_too_many_connections(start):
    server = start(limits={"connections": 3})
    server.control(gate=False)  # the first connection
    with contextlib.ExitStack() as stack:
        for k in range(2):
            stack.enter_context(server.ask("/completion", {"prompt": "a"}))
            server.until(requests=k + 1)
        sock = stack.enter_context(server.ask("/completion", {"prompt": "a"}))
        answer = read_all(sock)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 5" in answer
        assert json.loads(answer.rpartition(b"\r\n\r\n")[2])["error"]["type"] == "unavailable_error"
    server.until(cancelled=2)
    assert server.client.get("/health").status_code == 200


@pytest.mark.slow
def test_a_stream_that_is_silent_gets_comments(start):
    server = start(options={"ping": 0.05})
    server.control(gate=False)
    with server.ask(*CHAT) as sock:
        data = b""
        while b":\n\n" not in data:
            data += sock.recv(65536)
        server.control(gate=True)
        while b"[DONE]" not in data:
            data += sock.recv(65536)


# --- how it begins and ends


def test_health_answers_while_the_model_is_loaded(start):
    server = start(load_waits=True)
    got = server.client.get("/health")
    assert (got.status_code, got.json()["error"]["message"]) == (503, "Loading model")
    server.control(load=True)
    while server.client.get("/health").status_code != 200:
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_answers_come_to_their_end(start, number):
    server = start()
    server.control(gate=False)
    stream = server.ask(*CHAT)
    whole = server.ask("/completion", {"prompt": "b"})
    server.until(requests=2)
    server.end(number)
    server.is_refused()
    assert server.process.poll() is None
    server.end(signal.SIGUSR1)
    assert b"[DONE]" in read_all(stream)
    assert b'"content":"hello"' in read_all(whole)
    assert server.status() == 0


@pytest.mark.slow
def test_answers_that_take_too_long_are_ended(start):
    server = start(drain=0.2)
    server.control(gate=False)
    stream = server.ask(*CHAT)
    whole = server.ask("/v1/completions", {"prompt": "b"})
    server.until(requests=2)
    server.end()
    told = b"the answer was ended by the server before it was complete"
    said = read_all(stream)
    assert told in said
    assert said.endswith(b"0\r\n\r\n")
    answer = read_all(whole)
    assert answer.startswith(b"HTTP/1.1 503")
    assert told in answer
    assert server.status() == 0


def test_a_second_signal_ends_at_once(start):
    server = start()
    server.control(gate=False)
    with server.ask("/completion", {"prompt": "a"}):
        server.until(requests=1)
        server.end()
        server.is_refused()
        assert server.process.poll() is None
        server.end()
        assert server.status() == 128 + signal.SIGTERM


def test_a_signal_while_a_model_is_loaded(start):
    server = start(load_waits=True, drain=0.2)
    server.client.get("/health")
    server.end()
    assert server.status() == 0
