"""Models as the server loads them."""

from __future__ import annotations

import pytest

from localllm.engine.options import EngineOptions
from localllm.errors import NotEnoughMemoryError
from localllm.generate import grammar_vocabulary
from localllm.generate.samplers import breakers
from localllm.gguf.reader import open_gguf
from localllm.model import memory
from localllm.model.memory import estimate
from localllm.runtime.system import Free
from localllm.server import loading
from localllm.server.loading import ModelSettings, load
from tests.server import tiny


def test_what_is_looked_up_in_the_vocabulary_is_there_before_the_first_request(tmp_path):
    model, engine = load(str(tiny.write(tmp_path / "m.gguf")), ModelSettings(EngineOptions(n_ctx=32)))
    assert engine
    try:
        assert model.tokenizer in grammar_vocabulary._WORDS
        assert model.tokenizer in breakers._known
    finally:
        engine.close()
        model.close()


def test_all_slots_and_the_prompt_cache_are_counted_before_weights_are_read(tmp_path, monkeypatch):
    path = tiny.write(tmp_path / "m.gguf")
    with open_gguf(path) as file:
        one, four = (estimate(file, n_seq, n_threads=1).need(1024).total for n_seq in (1, 4))
    cache = 10**6

    def settings(n_seq):
        return ModelSettings(EngineOptions(n_ctx=1024, n_seq=n_seq, cache_bytes=cache), n_threads=1)

    def free(n_bytes):
        monkeypatch.setattr(memory, "free_memory", lambda mapped=0: Free(n_bytes + memory._SPARE, "the machine"))

    def warm(model):
        raise AssertionError("weights are read")

    with monkeypatch.context() as patched:
        patched.setattr(loading, "_warm", warm)
        free(four + cache - 1)
        words = r"each of 4 sequences.*for the prompt cache.*the largest context that fits is 768 "
        with pytest.raises(NotEnoughMemoryError, match=words):
            load(str(path), settings(4))
    for n_seq, n_bytes in ((1, one), (4, four)):
        free(n_bytes + cache)
        model, engine = load(str(path), settings(n_seq))
        assert engine
        engine.close()
        model.close()


def test_a_context_of_0_is_the_models_own(tmp_path):
    path = tiny.write(tmp_path / "m.gguf")
    with open_gguf(path) as file:
        trained = file.get(f"{file.get('general.architecture', str)}.context_length", int)
    model, engine = load(str(path), ModelSettings(EngineOptions(n_ctx=0)))
    assert engine
    assert engine.n_ctx == trained
    engine.close()
    model.close()
