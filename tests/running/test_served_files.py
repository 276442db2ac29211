"""Files that change while a server has them, and weights that are NaN: an error of one answer; the server goes on."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from localllm.engine.options import EngineOptions
from localllm.gguf.reader import open_gguf
from localllm.server.app import create_app
from localllm.server.library import Library
from localllm.server.loading import ModelSettings, load
from localllm.server.models import Models
from tests.server import tiny

pytestmark = pytest.mark.slow
SAID: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": SAID | {"max_tokens": 6, "temperature": 0},
    "/v1/completions": {"prompt": "hi", "max_tokens": 6, "temperature": 0},
    "/v1/responses": {"input": "hi", "max_output_tokens": 16, "temperature": 0},
    "/v1/messages": SAID | {"max_tokens": 6, "temperature": 0},
    "/api/chat": SAID | {"stream": False, "options": {"num_predict": 6, "temperature": 0}},
    "/api/generate": {"prompt": "hi", "stream": False, "options": {"num_predict": 6, "temperature": 0}},
    "/completion": {"prompt": "hi", "n_predict": 6, "temperature": 0},
    "/v1/embeddings": {"input": "hi"},
    "/api/embed": {"input": "hi"},
    "/api/embeddings": {"prompt": "hi"},
    "/embedding": {"content": "hi"},
}


class Shelf:
    """A server of the models m and other, which embeds, too."""

    def __init__(self, folder):
        self.folder = folder
        self.paths = {"m": tiny.write(folder / "m.gguf", seed=1), "other": tiny.write(folder / "other.gguf", seed=2)}
        self.loads = []
        library = Library({name: str(path) for name, path in self.paths.items()})
        self.models = Models(library, self._load, pooling="mean")

    def _load(self, path):
        self.loads.append(os.path.basename(path))
        return load(path, ModelSettings(EngineOptions(n_ctx=64), n_threads=1))

    def write_another(self, name, seed):
        return tiny.write(self.folder / name, seed=seed)


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


@pytest.fixture
def client(shelf):
    with TestClient(create_app(shelf.models), "http://127.0.0.1:8080", raise_server_exceptions=False) as client:
        yield client


def ask(client, path="/v1/chat/completions", model="m", **more):
    return client.post(path, json=ASKED[path] | {"model": model} | more)


def text(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def damage(path, token):
    """A NaN in the embedding of a token: a model that loads well."""
    with open_gguf(path) as file:
        embedding = file.tensors["token_embd.weight"]
    with open(path, "r+b") as file:
        file.seek(embedding.offset + embedding.n_bytes // len(tiny.TOKENS) * token)
        file.write(np.float32(np.nan).tobytes())


def overwrite(shelf):
    shutil.copyfile(shelf.write_another("new", 3), shelf.paths["m"])
    os.utime(shelf.paths["m"], ns=(1, 1))


def rename(shelf):
    os.replace(shelf.write_another("new", 3), shelf.paths["m"])


@pytest.mark.parametrize("change", [overwrite, rename])
def test_the_next_request_gets_the_new_file(client, shelf, change):
    """As with Ollama, whose models are made anew and pulled while they are served."""
    old = text(ask(client))
    change(shelf)
    new = text(ask(client))
    assert new != old
    assert text(ask(client)) == new
    assert shelf.loads == ["m.gguf", "m.gguf"]
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
def test_a_file_that_is_cut_is_an_error_until_it_is_whole(client, shelf, path):
    good = shutil.copyfile(shelf.paths["m"], shelf.folder / "good")
    before = ask(client, path).json()
    os.truncate(shelf.paths["m"], 100_000)
    for _ in range(2):
        told = ask(client, path)
        assert told.status_code == 500
        message = told.json()["error"]["message"]
        assert message.startswith("m: ")
        assert "\n" not in message
        assert str(shelf.folder) not in message
    assert ask(client, path, "other").status_code == 200
    shutil.copyfile(good, shelf.paths["m"])
    after = ask(client, path).json()
    for key in ("choices", "data"):
        assert after.get(key) == before.get(key)


def test_a_file_that_is_removed_goes_on(client, shelf):
    before = text(ask(client))
    os.unlink(shelf.paths["m"])
    assert text(ask(client)) == before
    assert shelf.loads == ["m.gguf"]
    shutil.copyfile(shelf.paths["other"], shelf.paths["m"])
    assert text(ask(client)) == text(ask(client, model="other"))


@pytest.mark.parametrize("stream", [False, True])
def test_a_file_that_changes_within_an_answer(client, shelf, stream):
    """The answer under way is an error that says to ask again; the next one is of the new file."""
    old = text(ask(client))
    served = shelf.models.loaded()[0].served
    inner = served.engine._context._run

    def change_and_run(*args):
        del served.engine._context._run
        overwrite(shelf)
        inner(*args)

    served.engine._context._run = change_and_run
    told = ask(client, stream=stream, cache_prompt=False)
    if not stream:
        assert (told.status_code, told.headers["retry-after"]) == (503, "1")
    (message,) = messages(told)
    assert message.startswith("m: changed while in use")
    assert text(ask(client)) != old


def messages(told):
    """Those of all errors in an answer, or in the events of a stream."""
    lines = [line.removeprefix("data: ") for line in told.text.splitlines()]
    found = []
    for value in (json.loads(line) for line in lines if line.startswith("{")):
        value = value.get("response", value) if isinstance(value.get("response"), dict) else value
        if error := value.get("error"):
            found.append(error if isinstance(error, str) else error["message"])
        elif value.get("type") == "error":
            found.append(value["message"])
    return found


@pytest.mark.parametrize(
    ("path", "stream"),
    [(path, stream) for path in ASKED for stream in (False, True) if not (stream and "embed" in path)],
)
def test_weights_that_are_nan(client, shelf, path, stream):
    damage(shelf.paths["m"], tiny.TOKENS.index("h"))
    for _ in range(2):
        told = ask(client, path, stream=stream)
        assert told.status_code == 500 or (stream and told.status_code == 200)
        (message,) = messages(told)
        assert message.startswith("m: token_embd: 1 of 256 results are NaN; first at token position ")
        assert "tensor token_embd.weight holds 1 values" in message
        assert str(shelf.folder) not in told.text
    assert ask(client, path, "other").status_code == 200
    assert client.post("/completion", json={"prompt": "x", "n_predict": 1, "model": "m"}).status_code == 200
    assert shelf.loads == ["m.gguf", "other.gguf"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat"])
def test_weights_that_are_nan_in_the_middle_of_an_answer(client, shelf, path, stream):
    asked = {"prompt": "u:hi a:", "n_predict": 6, "temperature": 0, "return_tokens": True, "model": "m"}
    tokens = client.post("/completion", json=asked).json()["tokens"]
    damage(shelf.paths["m"], next(token for token in tokens if tiny.TOKENS[token] not in "u:hia"))
    told = ask(client, path, stream=stream)
    assert told.status_code == (200 if stream else 500)
    (message,) = messages(told)
    assert message.startswith("m: token_embd: ")
    if stream:
        assert "delta" in told.text or '"content"' in told.text
    assert ask(client, path, "other").status_code == 200
