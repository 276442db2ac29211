"""What a MODEL can be."""

import ntpath
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from localllm.errors import StoreError
from localllm.store import names
from localllm.store.hf_cache import is_safe
from localllm.store.hub_address import HubAddress
from localllm.store.names import parse


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hub(repo: str, quant: str = "", file: str = "", revision: str = "main") -> HubAddress:
    return HubAddress(repo, quant, file, revision)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Qwen/Qwen3-0.6B-GGUF", hub("Qwen/Qwen3-0.6B-GGUF")),
        ("Qwen/Qwen3-0.6B-GGUF:Q8_0", hub("Qwen/Qwen3-0.6B-GGUF", "Q8_0")),
        ("unsloth/Qwen3-GGUF:UD-Q4_K_XL", hub("unsloth/Qwen3-GGUF", "UD-Q4_K_XL")),
        ("a/b:latest", hub("a/b")),
        ("a/b:b-Q4_0.gguf", hub("a/b", file="b-Q4_0.gguf")),
        ("hf.co/a/b", hub("a/b")),
        ("HF.co/a/b:q4_k_m", hub("a/b", "q4_k_m")),
        ("huggingface.co/a/b:Q4_0", hub("a/b", "Q4_0")),
        ("hf.co/a/b/sub/c.gguf", hub("a/b", file="sub/c.gguf")),
        ("hf://a/b/c.gguf", hub("a/b", file="c.gguf")),
        ("https://huggingface.co/a/b", hub("a/b")),
        ("https://hf.co/a/b:Q4_0", hub("a/b", "Q4_0")),
        ("https://huggingface.co/a/b/tree/main", hub("a/b")),
        ("https://huggingface.co/a/b/blob/main/c.gguf", hub("a/b", file="c.gguf")),
        (
            "https://huggingface.co/a/b/resolve/v1.0/Q4_K_M/c-00001-of-00002.gguf?download=true",
            hub("a/b", file="Q4_K_M/c-00001-of-00002.gguf", revision="v1.0"),
        ),
        ("https://huggingface.co/a/b/resolve/refs%2Fpr%2F1/c.gguf", hub("a/b", file="c.gguf", revision="refs/pr/1")),
    ],
)
def test_repositories(text: str, expected: HubAddress) -> None:
    assert parse(text).kind == "hub"
    assert parse(text).hub == expected


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("https://example.org/models/a.gguf", "url"),
        ("http://127.0.0.1:8000/a.gguf", "url"),
        ("smollm2-135m-instruct", "catalog"),
        ("SmolLM2-135M-Instruct", "catalog"),
        ("llama3.2:3b", "name"),
        ("my-model", "name"),
        ("my-model.gguf", "path"),
        ("models/my-model.gguf", "path"),
        ("./a/b", "path"),
        ("/a/b", "path"),
        ("../a", "path"),
        ("a/b/c", "path"),
        ("a/b--c", "path"),
        ("a/b..c", "path"),
        ("a/" + "b" * 120, "path"),
        ("", "name"),
    ],
)
def test_other_names(text: str, kind: str) -> None:
    assert parse(text).kind == kind
    assert parse(text).text == text


def test_what_is_on_the_disk_comes_first(folder: Path) -> None:
    (folder / "a").mkdir()
    assert parse("a/b").kind == "hub"
    (folder / "a/b").mkdir()
    assert parse("a/b").kind == "path"
    assert parse("hf.co/a/b").kind == "hub"
    (folder / "llama3.2:3b").write_text("")
    assert parse("llama3.2:3b").kind == "path"


def test_another_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:8000/")
    assert parse("http://127.0.0.1:8000/a/b/resolve/main/c.gguf").hub == hub("a/b", file="c.gguf")
    assert parse("http://127.0.0.1:8001/a/b/resolve/main/c.gguf").kind == "url"


@pytest.mark.parametrize(
    "text",
    [
        "hf.co/a",
        "hf.co/",
        "https://huggingface.co/datasets/a/b",
        "https://huggingface.co/a/b--c",
        "https://huggingface.co/a/b/resolve/main/../../c.gguf",
        "https://huggingface.co/a/b/resolve/main/%2e%2e/c.gguf",
        "https://huggingface.co/a/b/resolve/main/..%5Cc.gguf",
        "hf.co/a/b/c\\d.gguf",
        "hf.co/a/b/%1b[2Jc.gguf",
        "https://huggingface.co/a/b/resolve/ma%0Ain/c.gguf",
        "https://huggingface.co/a/b:Q4_0/c.gguf",
        "ftp://example.org/a.gguf",
        "file:///etc/passwd",
        "https:///a.gguf",
        "https://[::1/a.gguf",
        "https://a:b/c.gguf",
    ],
)
def test_addresses_that_mean_nothing(text: str) -> None:
    with pytest.raises(StoreError) as caught:
        parse(text)
    assert text in str(caught.value)


def test_a_password_is_not_shown() -> None:
    with pytest.raises(StoreError) as caught:
        parse("https://me:secret@example.org/a.gguf")
    assert "secret" not in str(caught.value)


def test_labels() -> None:
    assert parse("https://hf.co/a/b:q4_0").label == "a/b:q4_0"
    assert parse("hf.co/a/b").label == "a/b"
    assert parse("smollm2").label == "smollm2"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (r"C:\models\x.gguf", "path"),
        (r"C:\models\x", "path"),
        ("C:/models/x", "path"),
        ("C:x", "path"),
        (r"\\server\share\x.gguf", "path"),
        (r"models\x", "path"),
        (r"..\x.gguf", "path"),
        ("org/repo", "hub"),
        ("org/repo:Q4_K_M", "hub"),
        ("llama3:8b", "name"),
        ("q:", "path"),
        ("smollm2-135m-instruct", "catalog"),
        ("https://example.org/a.gguf", "url"),
        ("hf.co/a/b", "hub"),
    ],
)
def test_on_windows(monkeypatch: pytest.MonkeyPatch, text: str, kind: str) -> None:
    """By Windows's rules of paths; nothing is there."""
    monkeypatch.setattr(names, "os", SimpleNamespace(sep=ntpath.sep, altsep=ntpath.altsep, path=_NothingThere))
    assert parse(text).kind == kind


class _NothingThere:
    splitdrive = staticmethod(ntpath.splitdrive)
    isfile = exists = staticmethod(lambda path: False)


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("con", False),
        ("sub/NUL.gguf", False),
        ("Aux .gguf", False),
        ("com1.tar.gguf", False),
        ("LPT\u00b9.gguf", False),
        ("a?.gguf", False),
        ('a"b.gguf', False),
        ("sub./a.gguf", False),
        ("a.gguf ", False),
        ("console.gguf", True),
        ("com10.gguf", True),
        ("sub/model-Q4_K_M.gguf", True),
    ],
)
def test_files_that_windows_cannot_have(monkeypatch: pytest.MonkeyPatch, path: str, there: bool) -> None:
    assert is_safe(path)
    monkeypatch.setattr(sys, "platform", "win32")
    assert is_safe(path) == there
