from __future__ import annotations

import pytest

from localllm.model.model import LoadedModel
from tests.generate.test_prompt_cache import KINDS
from tests.recorded import models


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: models.write(folder / f"{name}.gguf", models.cases()[name]) for name in KINDS}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "prompts"


@pytest.fixture
def load(files):
    opened = []

    def load(name, **options):
        path = files.get(name, name)
        opened.append(LoadedModel.load(path, **({"n_ctx": 2048} | options)))
        return opened[-1]

    yield load
    for model in opened:
        model.close()
