"""The template that a user chooses for a model, by every door: localllm.load, and the server's settings."""

from __future__ import annotations

import pytest

import localllm
from localllm.engine.options import EngineOptions
from localllm.errors import UsageError
from localllm.generate.session import Model
from localllm.server.loading import ModelSettings, load
from tests.server import tiny

USER = [{"role": "user", "content": "hi"}]
GEMMA = "<start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n"


@pytest.fixture
def path(tmp_path):
    return str(tiny.write(tmp_path / "m.gguf"))


def test_a_model_is_loaded_with_a_template(path):
    with localllm.load(path, chat_template="gemma") as model:
        assert model.template.render(USER) == GEMMA
        assert model.template.description == "named: gemma"
        assert model.tool_template is model.template
        assert model.with_template(None) is model
        assert model.template.description == "named: gemma"
    with localllm.load(path) as model:
        assert model.template.render(USER) != GEMMA


def test_a_wrong_name_closes_the_model(path):
    model = Model.load(path)
    with pytest.raises(UsageError, match="near it are gemma"):
        model.with_template("gema")
    with pytest.raises(localllm.errors.LocalllmError, match="is closed"):
        model.context()


def test_the_server_has_it_too(path):
    model, engine = load(path, ModelSettings(EngineOptions(n_ctx=32), chat_template="gemma"))
    assert engine
    try:
        assert model.template.render(USER) == GEMMA
    finally:
        engine.close()
        model.close()
