"""Ray: `localllm batch --ray` loses nothing and does nothing twice while a worker is killed, and replicas of Ray Serve
keep conversations. It runs localllm itself, on clusters of its own, and needs no server."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.clients.script import Given, main

N_REQUESTS = 60
N_JUNK = 5
"""Lines at the beginning that are no requests: more than are asked at once."""


def _request(i: int) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": f"Tell of the number {i}."}], "max_tokens": 24, "temperature": 0}
    return {"custom_id": f"r{i}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def _batch(given: Given, out: Path, *more: str) -> list[str]:
    source = Path(given.folder, "in.jsonl")
    source.write_text("junk\n" * N_JUNK + "".join(json.dumps(_request(i)) + "\n" for i in range(N_REQUESTS)))
    options = ["-c", "512", "--no-cache", "-np", "2", "-t", "1"]
    return [sys.executable, "-m", "localllm.cli.main", "batch", str(source), str(out), given.path, *options, *more]


def _contents(out: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    told = {row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"] for row in rows[N_JUNK:]}
    assert sorted(row["error"]["line"] for row in rows[:N_JUNK]) == [*range(1, N_JUNK + 1)]
    assert len(told) == len(rows) - N_JUNK
    return told


def batch(given: Given) -> None:
    out, alone = Path(given.folder, "out.jsonl"), Path(given.folder, "alone.jsonl")
    process = subprocess.Popen(_batch(given, out, "--workers", "2", "--ray"), stderr=subprocess.PIPE, text=True)
    while not out.exists() or len(out.read_text().splitlines()) < N_REQUESTS // 4:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    workers = _children("ray::Replica", psutil.Process(process.pid))
    assert len(workers) == 2, workers
    assert len(out.read_text().splitlines()) < N_REQUESTS
    workers[0].kill()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert err.splitlines()[-1].endswith(f"{N_REQUESTS} answered, {N_JUNK} no requests"), err
    subprocess.run(_batch(given, alone), check=True, capture_output=True)
    assert _contents(out) == _contents(alone)  # none is lost, none is there twice, and all are what one process says
    assert len(_contents(out)) == N_REQUESTS


def _children(name: str, process: psutil.Process) -> list[psutil.Process]:
    """Processes of Ray's below one, whose title begins so."""
    found = []
    for child in process.children(recursive=True):
        with suppress(psutil.Error):
            if " ".join(child.cmdline()).startswith(name):
                found.append(child)
    return found


def stopped_batch(given: Given) -> None:
    out = Path(given.folder, "stopped.jsonl")
    process = subprocess.Popen(_batch(given, out, "--workers", "1", "--ray"), stderr=subprocess.PIPE, text=True)
    while not out.exists() or len(out.read_text().splitlines()) <= N_JUNK:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "goes on" in err.splitlines()[-1], err
    n_done = len(_contents(out))
    assert 0 < n_done < N_REQUESTS
    subprocess.run(_batch(given, out), check=True, capture_output=True)
    assert len(_contents(out)) == N_REQUESTS


@contextmanager
def _served(given: Given) -> Iterator[str]:
    """The URL of two replicas."""
    import ray
    from ray import serve

    from localllm.server.ray_serve import build

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        arguments = {"model": given.path, "replicas": 2, "threads": 1, "n_ctx": "1024", "api_key": given.key}
        serve.run(build(arguments), route_prefix="/")
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()


def serve(given: Given) -> None:
    with _served(given) as url, httpx.Client(
        base_url=url, headers={"authorization": f"Bearer {given.key}"}, timeout=120.0
    ) as client:  # fmt: skip
        assert client.get("/v1/models", headers={"authorization": ""}).status_code == 401
        sessions = []
        for i in range(8):
            session = {"x-session-id": f"conversation {i}"}
            messages = [{"role": "user", "content": f"Conversation {i}: " + "what is a river? " * (10 + i)}]
            for turn in range(3):
                body = {"messages": messages, "max_tokens": 8, "temperature": 0}
                got = client.post("/v1/chat/completions", json=body, headers=session).json()
                if turn:
                    assert got["usage"]["prompt_tokens_details"]["cached_tokens"] > 60, (i, turn, got["usage"])
                messages += [got["choices"][0]["message"], {"role": "user", "content": "Go on."}]
            sessions.append(session)
        assert len({_n_read(client, session) for session in sessions}) == 2  # each has read its own conversations
        asked = {"messages": messages, "max_tokens": 8, "temperature": 0, "stream": True}
        with client.stream("POST", "/v1/chat/completions", json=asked) as stream:
            lines = [line for line in stream.iter_lines() if line.startswith("data: ")]
        assert lines[-1] == "data: [DONE]"
        assert len(lines) > 3
        _children("ray::ServeReplica", psutil.Process())[0].kill()
        answers = [client.post("/v1/chat/completions", json=asked | {"stream": False}) for _ in range(6)]
        assert [answer.status_code for answer in answers].count(200) >= 5  # what it was answering is lost with it


def _n_read(client: httpx.Client, session: dict[str, str]) -> str:
    """Tokens that the replica of a session has read."""
    told = client.get("/metrics", headers=session).text
    (line,) = [line for line in told.splitlines() if line.startswith("llamacpp:prompt_tokens_total")]
    return line


if __name__ == "__main__":
    main("ray", batch, stopped_batch, serve)
