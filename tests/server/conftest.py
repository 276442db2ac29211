from __future__ import annotations

from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient

from localllm.server.app import create_app
from localllm.server.library import Library
from localllm.server.models import Models
from localllm.server.options import ServerOptions
from tests.generate.fake import FakeModel
from tests.server.fake_engine import FakeEngine


@pytest.fixture
def serve():
    """serve(script="hello", dialects=None, **options) -> client (Starlette's), model and engine of the model "fake"."""
    clients = []

    def start(script="hello", dialects=None, files=None, **options):
        model = FakeModel(script)
        engine = FakeEngine(model)
        models = Models(Library(files or {"fake": "/home/somebody/fake.gguf"}), lambda path: (model, engine))
        app = create_app(models, ServerOptions(**options), *([] if dialects is None else [dialects]))
        client = TestClient(app, "http://127.0.0.1:8080", raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        return SimpleNamespace(client=client, model=model, engine=engine, models=models)

    yield start
    for client in clients:
        client.__exit__(None, None, None)
