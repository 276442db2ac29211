"""`localllm serve`: what is refused before anything is loaded, and a real model from its start to its end."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import httpx
import pytest

from localllm.cli.serve import _Life, _Seconds
from tests.server import tiny


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a file that is named like a model; the store is empty."""
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))
    (tmp_path / "some.gguf").touch()
    return tmp_path


def one_line(result, status, *parts):
    assert result.status == status, result.err
    assert result.out == ""
    assert result.err.count("\n") == 1, result.err
    assert all(part in result.err for part in parts), result.err


def test_a_port_that_is_taken(call, folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        one_line(call("serve", "--models-dir", folder, "--port", port), 1, f"port {port}", "in use", "--port")


def test_an_address_that_is_not_here(call, folder):
    one_line(call("serve", "--models-dir", folder, "--host", "192.0.2.1", "--without-key"), 1, "192.0.2.1")
    one_line(call("serve", "--models-dir", folder, "--host", "no such", "--without-key"), 2, "no such")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--host", "0.0.0.0"], ["--api-key", "--without-key"]),
        (["--host", "::"], ["--api-key"]),
        ([], ["no model", "localllm pull"]),
        (["--models-dir", "/none"], ["/none"]),
        (["--only"], ["MODEL"]),
        (["--alias", "x"], ["MODEL"]),
        (["--models-dir", ".", "--chat-template", "gemma"], ["--chat-template", "MODEL"]),
        (["--keep-alive", "5 minutes"], ["5 minutes", "5m"]),
        (["--port", "70000"], ["70000"]),
        (["none.gguf"], ["none.gguf", "no such file"]),
        (["a.gguf", "-m", "b.gguf"], ["twice"]),
    ],
)
def test_what_is_refused(call, folder, arguments, parts):
    result = call("serve", *arguments)
    one_line(result, 1 if "/none" in arguments or "none.gguf" in arguments else 2, *parts)


def test_files_of_keys(call, folder):
    host = ["serve", "--models-dir", folder, "--host", "192.0.2.1"]
    keys = folder / "keys"
    one_line(call(*host, "--api-key-file", keys), 1, str(keys), "No such file")
    keys.write_text("# none\n\n")
    one_line(call(*host, "--api-key-file", keys), 2, "no key")
    keys.write_text("# mine\nabc\n")
    one_line(call(*host, "--api-key-file", keys), 1, "cannot listen")  # others may come now, but not to this address


def test_keys_of_the_environment(call, folder, monkeypatch):
    monkeypatch.setenv("LOCALLLM_API_KEY", "abc")
    monkeypatch.setenv("LOCALLLM_HOST", "192.0.2.1")
    one_line(call("serve", "--models-dir", folder), 1, "cannot listen")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("30s", 30), ("5m", 300), ("1.5h", 5400), ("250ms", 0.25), ("-1", -1), ("0", 0)]
)
def test_times(text, seconds):
    assert _Seconds().convert(text, None, None) == seconds


@pytest.mark.parametrize(("n", "told"), [(0, ""), (1, "1 answer comes"), (2, "2 answers come")])
def test_who_ends_it_is_told_what_it_waits_for(capsys, n, told):
    ended = []
    models = SimpleNamespace(draining=lambda: ended.append(True), n_calls=n)
    _Life(models, None, "http://127.0.0.1:1").draining()  # type: ignore[arg-type]
    assert ended
    assert capsys.readouterr().err.startswith(told)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("of a test")])
def test_a_model_that_fails_in_an_unforeseen_way_ends_the_server(error):
    async def preload(name):
        raise error

    async def begin():
        stopped = asyncio.Event()
        life = _Life(SimpleNamespace(preload=preload), "a", "http://127.0.0.1:1")  # type: ignore[arg-type]
        life.begin(stopped.set)
        await asyncio.wait_for(stopped.wait(), 10)
        return life.failed

    assert asyncio.run(begin()) is error


class Served:
    """`localllm serve` in a process of its own."""

    def __init__(self, *arguments):
        line = [sys.executable, "-m", "localllm.cli.main", "serve", "--port", "0", *map(str, arguments)]
        self.process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.communicate()

    def url(self):
        """Once the model is there."""
        assert self.process.stderr
        for line in self.process.stderr:
            if found := re.match(r"(http://127.0.0.1:\d+) serves (.*)", line):
                self.told = found[2]
                return found[1]
        raise AssertionError("it has ended")


def test_a_file_that_is_no_model(folder):
    with Served(folder / "some.gguf") as served:
        out, err = served.process.communicate(timeout=60)
    assert (served.process.returncode, out) == (1, "")
    assert "some.gguf" in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_model_from_its_start_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))
    path = tiny.write(tmp_path / "tiny.gguf", "llama")
    (tmp_path / "more").mkdir()
    tiny.write(tmp_path / "more" / "other.gguf", "qwen2")
    with Served(path, "-c", 256, "-np", 2, "--no-cache", "--models-dir", tmp_path, "--api-key", "abc") as served:
        with httpx.Client(base_url=served.url(), timeout=60, headers={"authorization": "Bearer abc"}) as client:
            assert served.told.startswith("tiny: 5 MB, 2 × 256 tokens of context")
            assert client.get("/health").json() == {"status": "ok"}
            names = [model["id"] for model in client.get("/v1/models").json()["data"]]
            assert names == ["tiny", "other"]
            body = {"prompt": [1, 2, 3], "n_predict": 8, "temperature": 0, "return_tokens": True, "ignore_eos": True}
            first = client.post("/completion", json=body).json()
            other = client.post("/completion", json=body | {"model": "other"}).json()
            assert (first["model"], other["model"]) == ("tiny", "other")
            assert len(first["tokens"]) == len(other["tokens"]) == 8
            assert first["tokens"] != other["tokens"]
            assert client.post("/completion", json=body | {"prompt": "é"}).status_code == 400
            assert len(client.get("/slots").json()) == 2
            assert str(tmp_path) not in client.get("/props").text + client.get("/metrics").text
            assert httpx.get(client.base_url.join("/props")).status_code == 401
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) == 0
