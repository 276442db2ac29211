"""The catalog's rows, and how names become paths."""

import dataclasses
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from localllm.errors import FileError, StoreError
from localllm.store import catalog as c
from localllm.store.entry import Entry, PipSource, UrlSource
from localllm.store.paths import store_dir

ENTRIES = list(c.catalog().entries.values())


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))
    models = tmp_path / "home/models"
    models.mkdir(parents=True)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return models


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_row_is_whole(entry: Entry) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", entry.name)
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*\.gguf", entry.file)
    assert entry.size > 1 << 20
    assert entry.sources
    for text in (entry.title, entry.about, entry.architecture, entry.quantization, entry.licence):
        assert text
    for url in [entry.homepage] + [s.url for s in entry.sources if isinstance(s, UrlSource)]:
        assert urlsplit(url).scheme == "https"
    for source in entry.sources:
        if isinstance(source, PipSource):
            assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+", source.requirement)


def test_the_catalog() -> None:
    assert c.catalog().default.name == "smollm2-135m-instruct"
    assert len({entry.file for entry in ENTRIES}) == len({entry.sha256 for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize(
    "text", ["x = [", "default = 'a'\nmodel = []", "default = 'a'\n[[model]]\nname = 'a'\nsource = []", "model = 3"]
)
def test_a_broken_catalog(text: str) -> None:
    with pytest.raises(StoreError, match=r"catalog\.toml"):
        c.parse(text)


def test_a_path_comes_first(home: Path) -> None:
    Path("smollm2-135m-instruct").write_text("mine")
    assert c.resolve("smollm2-135m-instruct") == "smollm2-135m-instruct"


def test_names(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = dataclasses.replace(c.catalog().default, size=3)
    monkeypatch.setattr(c, "catalog", lambda: c.Catalog(small, {small.name: small}))
    with pytest.raises(StoreError, match="smollm2-135m-instruct is not here yet; fetch it with `localllm pull smollm2"):
        c.resolve()
    small.path.write_text("half of it")
    with pytest.raises(StoreError, match="not here yet"):
        c.resolve("SmolLM2-135M-Instruct")
    small.path.write_text("abc")
    assert c.resolve() == c.resolve("SmolLM2-135M-Instruct") == str(small.path)
    (home / "My-Own.gguf").write_text("x")
    assert c.resolve("my-own") == c.resolve("my-own.gguf") == str(home / "My-Own.gguf")
    assert c.files_here() == [home / "My-Own.gguf", small.path]


def test_unknown_names() -> None:
    with pytest.raises(StoreError, match=r"near it: smollm2-135m-instruct.*`localllm list`"):
        c.resolve("smollm2-135m")
    with pytest.raises(FileError, match="models/none: no such file"):
        c.resolve("models/none")
    with pytest.raises(FileError, match=r"none\.gguf: no such file"):
        c.resolve("none.gguf")
    assert c.resolve("/") == "/"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smollm2-135m-instruct", True),
        ("SmolLM2", True),
        ("smolm2-135m-instruct", True),
        ("llama-3.2-1b", True),
        ("a/b", True),
        ("x.gguf", True),
        ("X.GGUF", True),
        ("file here", True),
        ("hi", False),
        ("", False),
        ("What is 2-3?", False),
        ("Hello there, models/x.gguf", False),
        ("a\0b", False),
        ("x" * 5000, False),
    ],
)
def test_what_looks_like_a_model(text: str, expected: bool) -> None:
    Path("file here").write_text("")
    assert c.looks_like_model(text) is expected


def test_store_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LOCALLLM_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store_dir().is_relative_to(tmp_path)
    assert store_dir().name == "models"
    assert c.files_here() == []
