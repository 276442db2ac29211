"""Names of models, from paths, folders and the store."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from localllm.server import library as library_room
from localllm.server.library import Library
from localllm.store.origins import ollama
from tests.store.origins import layouts


@pytest.fixture
def folder(tmp_path):
    names = (
        "a.gguf", "b/c.gguf", "b/d.gguf", "e/d.gguf", "big-00001-of-00002.gguf", "big-00002-of-00002.gguf",
        "mmproj-a.gguf", "a.imatrix.gguf", "notes.txt",
    )  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_folder_and_those_in_it(folder):
    files = Library({}, str(folder)).files()
    assert sorted(files) == ["a", "b/d", "big", "c", "e/d"]
    assert files["big"].endswith("-00001-of-00002.gguf")
    assert files["e/d"] == str(folder / "e" / "d.gguf")


def test_what_is_named_comes_first_and_once(folder):
    given = {"mine": str(folder / "b" / "c.gguf")}
    assert list(Library(given, str(folder)).files()) == ["mine", "a", "b/d", "big", "e/d"]


def test_names_are_found_in_any_case_and_with_ollamas_tag(folder):
    library = Library({}, str(folder))
    assert library.find("A") == "a"
    assert library.find("c:latest") == "c"
    assert library.find("none") is None
    assert library.find("/etc/passwd") is None
    assert library.near("bigg") == ["big"]
    assert library.near("B") == ["b/d", "big"]
    assert library.near("") == []


def test_any_name_means_the_only_model():
    library = Library({"a": "/x/a.gguf", "b": "/x/b.gguf"}, any_name=True)
    assert (library.find("gpt-4o"), library.find("B")) == ("a", "b")


def test_models_that_come_later_are_found(folder):
    library = Library({}, str(folder))
    library.files()
    (folder / "new.gguf").touch()
    library.refresh()
    assert library.find("new") == "new"


def test_the_store(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine.gguf").touch()
    from localllm.store.catalog import catalog

    part = catalog().default.path  # a file of the catalog that is not whole
    part.touch()
    assert list(Library({}, store=True).files()) == ["mine"]
    assert list(Library({}, store=False).files()) == []


def test_what_a_hub_gave(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    commit = tmp_path / "hub/models--org--repo/snapshots" / ("a" * 40)
    commit.mkdir(parents=True)
    (commit / "m-Q4_K_M.gguf").touch()
    assert Library({}, store=True).files() == {"org/repo:Q4_K_M": str(commit / "m-Q4_K_M.gguf")}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A user who has models of Ollama's and of LM Studio's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALLLM_ORIGINS", "lmstudio,ollama")
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    monkeypatch.setattr(ollama, "SERVICE", tmp_path / "service")
    layouts.lm_studio(tmp_path / ".lmstudio", "pub/model", "m-Q6_K.gguf", b"1")
    for tag in ("4b", "latest"):
        layouts.ollama(tmp_path / ".ollama/models", f"registry.ollama.ai/library/qwen3/{tag}", b"GGUF")
    return tmp_path


def test_models_of_other_programs(machine):
    """By the names that `localllm list` shows, and shorter ones; one file of two names is loaded once."""
    library = Library({}, store=True)
    assert list(library.files()) == ["pub/model:Q6_K", "qwen3:4b", "qwen3:latest"]
    assert library.files()["qwen3:4b"] == library.files()["qwen3:latest"]
    assert library.first("qwen3:latest") == "qwen3:4b"
    names = {"qwen3": "qwen3:latest", "QWEN3:4B": "qwen3:4b", "pub/model": "pub/model:Q6_K", "m-q6_k": "pub/model:Q6_K"}
    for asked, name in names.items():
        assert library.find(asked) == name
    assert library.find("qwen3:8b") is None


def test_what_is_given_or_in_the_folder_goes_before(machine):
    path = str(machine / ".lmstudio/models/pub/model/m-Q6_K.gguf")
    assert list(Library({"mine": path}, store=True).files()) == ["mine", "qwen3:4b", "qwen3:latest"]
    assert list(Library({}, str(machine / ".lmstudio"), store=True).files()) == ["m-Q6_K", "qwen3:4b", "qwen3:latest"]


def test_the_machine_is_looked_at_again_for_a_name_that_is_unknown(machine, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(library_room, "time", SimpleNamespace(monotonic=lambda: now))
    library = Library({}, store=True)
    assert len(library.files()) == 3
    layouts.lm_studio(machine / ".lmstudio", "pub/new", "n-Q6_K.gguf", b"2")
    now += 5
    assert len(library.files()) == 3
    assert library.find("pub/new") == "pub/new:Q6_K"
    layouts.lm_studio(machine / ".lmstudio", "pub/newer", "n-Q6_K.gguf", b"3")
    now += 1
    assert library.find("pub/newer") is None
    now += 31
    assert len(library.files()) == 5
