"""Models as the server loads them."""

from __future__ import annotations

from localllm.engine.options import EngineOptions
from localllm.generate import grammar_vocabulary
from localllm.generate.samplers import breakers
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
