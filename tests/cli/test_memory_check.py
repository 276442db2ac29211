"""Commands refuse what does not fit before they load it, in one line, unless they are told not to."""

import os

import pytest

from localllm.gguf.reader import open_gguf
from localllm.model import memory
from localllm.model.memory import estimate
from localllm.runtime.system import Free
from tests.generate.test_chat_states import VOCABULARY
from tests.recorded import models


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return models.write(tmp_path_factory.mktemp("m") / "m.gguf", models.cases()["llama"], **VOCABULARY)


@pytest.fixture
def room(path, monkeypatch):
    """room(n_ctx): so much memory is free that a context of this length just fits."""
    monkeypatch.setitem(os.environ, memory.VARIABLE, "on")  # whatever a command sets goes at the end

    def room(n_ctx):
        with open_gguf(path) as file:
            n_bytes = estimate(file, n_threads=1).need(n_ctx).total + memory._SPARE
        monkeypatch.setattr(memory, "free_memory", lambda mapped=0: Free(n_bytes, "the machine"))

    return room


VERBS = {
    "run": ["-p", "abc", "-n", "2", "-t", "1"],
    "embed": ["abc", "--pooling", "mean", "-t", "1"],
    "bench": ["-p", "8", "-n", "0", "-r", "1", "-t", "1"],
}


def test_a_context_that_does_not_fit(call, room, path):
    room(512)
    done = call("run", path, *VERBS["run"], "-c", "1000")
    assert (done.status, done.out) == (1, "")
    assert done.err.count("\n") == 1
    assert f"{path}: takes " in done.err
    assert "the largest context that fits is 512 (-c 512, n_ctx=512)" in done.err
    done = call("run", path, *VERBS["run"], "-c", "512")
    assert done.status == 0, done.err


def test_the_models_own_length(call, room, path):
    room(1 << 20)
    assert call("run", path, *VERBS["run"], "-c", "0").status == 0


@pytest.mark.parametrize("verb", VERBS)
def test_the_check_can_be_left_out(call, room, path, verb, monkeypatch):
    model = ["-m", path] if verb == "bench" else [path]
    monkeypatch.setattr(memory, "free_memory", lambda mapped=0: Free(0, "the machine"))
    done = call(verb, *model, *VERBS[verb])
    assert done.status == 1
    assert "no context fits" in done.err
    done = call(verb, *model, *VERBS[verb], "--no-memory-check")
    assert done.status == 0, done.err


def test_a_context_longer_than_that_of_the_training(call, room, path):
    room(1 << 20)
    with open_gguf(path) as file:
        trained = file.get("llama.context_length", int)
    done = call("run", path, *VERBS["run"], "-c", trained + 1)
    assert done.status == 0
    assert f"this model was trained for {trained}" in done.err
