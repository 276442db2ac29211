"""The catalog's rows."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from localllm.errors import StoreError
from localllm.gguf.file_types import FILE_TYPES
from localllm.model.spec import architectures
from localllm.store import catalog as c
from localllm.store.entry import Entry, PipSource, UrlSource
from localllm.store.paths import store_dir

pytestmark = pytest.mark.usefixtures("home")
ENTRIES = list(c.catalog().entries.values())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_row_is_whole(entry: Entry) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", entry.name)
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*\.gguf", entry.file)
    assert entry.size > 1 << 20
    assert entry.use in ("chat", "code", "embedding")
    assert entry.architecture in architectures()
    assert entry.quantization in FILE_TYPES.values()
    assert entry.sources
    for text in (entry.title, entry.about, entry.architecture, entry.quantization, entry.licence):
        assert text
    for url in [entry.homepage] + [s.url for s in entry.sources if isinstance(s, UrlSource)]:
        assert urlsplit(url).scheme == "https"
    for source in entry.sources:
        if isinstance(source, PipSource):
            assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+", source.requirement)


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if not entry.fetched], ids=lambda entry: entry.name)
def test_what_was_never_fetched_is_pinned(entry: Entry) -> None:
    """A file of a branch may change, and then nobody could fetch it any more."""
    (source,) = entry.sources
    assert isinstance(source, UrlSource)
    assert entry.name in PINNED_BY_NAME or re.search(r"/resolve/[0-9a-f]{40}/", source.url)


PINNED_BY_NAME = ("qwen2.5-coder-7b-instruct", "embeddinggemma-300m")
"""Whose commits nobody has published."""


def test_the_catalog() -> None:
    assert c.catalog().default.name == "smollm2-135m-instruct"
    assert len({entry.file for entry in ENTRIES}) == len({entry.sha256 for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize(
    "text", ["x = [", "default = 'a'\nmodel = []", "default = 'a'\n[[model]]\nname = 'a'\nsource = []", "model = 3"]
)
def test_a_broken_catalog(text: str) -> None:
    with pytest.raises(StoreError, match=r"catalog\.toml"):
        c.parse(text)


ROW = """
default = "a"
[[model]]
name = "a"
title = "A"
about = "-"
architecture = "llama"
quantization = "Q4_0"
file = "a.gguf"
licence = "MIT"
homepage = "https://example.org"
[[model.source]]
"""


def test_a_row_of_which_size_and_hash_are_not_known() -> None:
    entry = c.parse(ROW + 'kind = "url"\nurl = "https://example.org/a.gguf"').default
    assert (entry.size, entry.sha256) == (0, "")
    with pytest.raises(StoreError, match="a: a file out of a wheel needs size and sha256"):
        c.parse(ROW + 'kind = "pip"\nrequirement = "a==1"\nmember = "a.gguf"\nsize = 1')


def test_store_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LOCALLLM_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store_dir().is_relative_to(tmp_path)
    assert store_dir().name == "models"
