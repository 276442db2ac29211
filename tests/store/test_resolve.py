"""How a MODEL becomes a path."""

import dataclasses
from pathlib import Path

import pytest

from localllm.errors import FileError, StoreError
from localllm.store import catalog as c
from localllm.store import records
from localllm.store.entry import Entry
from localllm.store.resolve import looks_like_model, resolve

pytestmark = pytest.mark.usefixtures("home")


def catalog_of(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    made = c.Catalog(entry, {entry.name: entry})
    monkeypatch.setattr(c, "catalog", lambda: made)


def test_a_path_comes_first(home: Path) -> None:
    Path("smollm2-135m-instruct").write_text("mine")
    assert resolve("smollm2-135m-instruct") == "smollm2-135m-instruct"


def test_names(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = dataclasses.replace(c.catalog().default, size=3)
    catalog_of(small, monkeypatch)
    with pytest.raises(StoreError, match="smollm2-135m-instruct is not here yet; fetch it with `localllm pull smollm2"):
        resolve()
    small.path.write_text("half of it")
    with pytest.raises(StoreError, match="not here yet"):
        resolve("SmolLM2-135M-Instruct")
    small.path.write_text("abc")
    assert resolve() == resolve("SmolLM2-135M-Instruct") == str(small.path)
    (home / "My-Own.gguf").write_text("x")
    assert resolve("my-own") == resolve("my-own.gguf") == str(home / "My-Own.gguf")


def test_unknown_names() -> None:
    with pytest.raises(StoreError, match=r"near it: smollm2-135m-instruct.*`localllm list`"):
        resolve("smollm2-135m")
    with pytest.raises(
        StoreError, match="models/none: no such file, and no model that is here; fetch it with `localllm"
    ):
        resolve("models/none")
    with pytest.raises(FileError, match="a/b/none: no such file"):
        resolve("a/b/none")
    with pytest.raises(FileError, match=r"none\.gguf: no such file"):
        resolve("none.gguf")
    assert resolve("/") == "/"


def test_links_that_lead_nowhere(tmp_path) -> None:
    loop = tmp_path / "loop.gguf"
    loop.symlink_to(loop)
    (tmp_path / "lost.gguf").symlink_to(tmp_path / "gone.gguf")
    for path in (loop, tmp_path / "lost.gguf"):
        with pytest.raises(FileError, match=rf"{path.name}: a link that leads nowhere"):
            resolve(str(path))


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
    assert looks_like_model(text) is expected


def test_the_time_of_use_is_written_down(home: Path) -> None:
    (home / "mine.gguf").write_text("x")
    resolve("mine")
    assert records.last_used(home / "mine.gguf") is None
    resolve("mine", fetch=True)
    assert records.last_used(home / "mine.gguf")
