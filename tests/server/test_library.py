"""Names of models, from paths, folders and the store."""

from __future__ import annotations

import pytest

from localllm.server.library import Library


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
