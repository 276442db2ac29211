from __future__ import annotations

import pytest

from localllm.engine.engine import Engine
from localllm.engine.options import EngineOptions
from tests.generate.fake import FakeModel


@pytest.fixture
def make():
    engines = []

    def made(model=None, **options):
        model = model or FakeModel()
        engines.append((model, Engine(model, EngineOptions(**options))))
        return engines[-1][1]

    yield made
    for model, engine in engines:
        engine.close()
        assert all(context.closed for context in model.contexts)
