from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.store import retry
from tests.store import hub_stub
from tests.store.hub_stub import Hub, Repo
from tests.store.pulling import DATA, FILE


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[hub_stub.Hub]:
    """A hub, which HF_ENDPOINT names; retries come at once."""
    monkeypatch.setattr(retry, "PAUSE", 0.001)
    with hub_stub.running() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hugging Face cache, which is not there yet; nobody is logged in."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf/hub"))
    return tmp_path / "hf/hub"


@pytest.fixture
def repo(hub: Hub) -> Repo:
    """org/repo, with one model."""
    hub.repos["org/repo"] = Repo({FILE: DATA, "README.md": b"# m"})
    return hub.repos["org/repo"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of models of a store of its own; the current folder is an empty one."""
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))
    models = tmp_path / "home/models"
    models.mkdir(parents=True)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return models
