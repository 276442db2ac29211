"""`rm`: what we downloaded goes, whatever else there is stays."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from localllm.errors import StoreError
from localllm.store import records, removal
from localllm.store.found import found_models
from localllm.store.lock import locked
from localllm.store.names import parse
from localllm.store.origins import ollama
from localllm.store.paths import store_dir
from tests.gguf import build as b
from tests.store.hub_stub import Hub, Repo
from tests.store.origins import layouts

MODEL = b.gguf([b.kv("general.architecture", b.STR, "llama")])
OTHER = "d" * 40


@pytest.fixture(autouse=True)
def home(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(ollama, "SERVICE", tmp_path / "service")
    for name in ("LOCALLLM_ORIGINS", "OLLAMA_MODELS", "XDG_CACHE_HOME", "LLAMA_CACHE"):
        monkeypatch.delenv(name, raising=False)
    store_dir().mkdir(parents=True)
    return tmp_path


def everything(folder: Path) -> set[str]:
    """All files and folders but locks."""
    paths = {str(path.relative_to(folder)) for path in folder.rglob("*")} if folder.exists() else set()
    return {path for path in paths if ".locks" not in path}


def test_a_file_of_the_store() -> None:
    path = store_dir() / "m-Q8_0.gguf"
    path.write_bytes(MODEL)
    records.used(path)
    planned = removal.plan("m-q8_0")
    assert (planned.files, planned.freed, planned.kept) == ((path,), len(MODEL), "")
    assert path.exists()
    removal.remove(planned)
    assert found_models() == []
    assert records.last_used(path) is None


def test_all_parts() -> None:
    paths = [store_dir() / f"m-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    for path in paths:
        path.write_bytes(MODEL)
    planned = removal.plan(str(paths[1]))
    assert planned.freed == 3 * len(MODEL)
    removal.remove(planned)
    assert everything(store_dir()) == set()


@pytest.fixture
def pulled(hub: Hub, cache: Path) -> Path:
    """A model of a hub that was fetched as users do; the cache."""
    from localllm.store.fetch import fetch

    hub.repos["org/repo"] = Repo({"m-Q8_0.gguf": MODEL, "README.md": b"text"})
    fetch(parse("org/repo:Q8_0"), lambda *_: None)
    return cache


def test_a_model_of_a_hub_leaves_nothing(pulled: Path) -> None:
    planned = removal.plan("org/repo")
    assert (planned.freed, len(planned.files), planned.kept) == (len(MODEL), 2, "")
    removal.remove(planned)
    assert everything(pulled) == set()
    with pytest.raises(StoreError, match="org/repo: is not here; `localllm list` shows what is"):
        removal.plan("org/repo")


def test_other_files_of_the_repository_stay(pulled: Path) -> None:
    """Another program has fetched another file of the same commit."""
    (snapshot,) = (pulled / "models--org--repo/snapshots").iterdir()
    layouts.hub(pulled, "org/repo", "config.json", b"{}", snapshot.name, "")
    before = everything(pulled)
    planned = removal.plan("org/repo:Q8_0")
    removal.remove(planned)
    assert before - everything(pulled) == {str(path.relative_to(pulled)) for path in planned.files}
    assert (snapshot / "config.json").read_bytes() == b"{}"


def test_another_revision_keeps_the_blob(pulled: Path) -> None:
    (link,) = (pulled / "models--org--repo/snapshots").glob("*/*.gguf")
    layouts.hub(pulled, "org/repo", "m-Q8_0.gguf", MODEL, OTHER, "old")
    planned = removal.plan("org/repo:Q8_0")
    assert (planned.files, planned.freed) == ((link,), 0)
    assert "another revision" in planned.kept
    removal.remove(planned)
    assert not link.parent.exists()
    (left,) = found_models()
    assert left.path.read_bytes() == MODEL
    assert left.owned
    assert not (pulled / "models--org--repo/refs/main").exists()
    assert (pulled / "models--org--repo/refs/old").read_text() == OTHER


def test_what_others_downloaded_stays(home: Path, cache: Path) -> None:
    layouts.hub(cache, "o/r", "m-Q8_0.gguf", MODEL)
    layouts.lm_studio(home / ".lmstudio", "pub/model", "m-Q6_K.gguf", MODEL)
    layouts.llama_cpp(home / ".cache/llama.cpp", "ggml-org/tiny", "latest", "t-Q4_0.gguf", MODEL)
    layouts.ollama(home / ".ollama/models", "registry.ollama.ai/library/qwen3/4b", MODEL)
    (store_dir() / "mine.gguf").symlink_to(home / ".lmstudio/models/pub/model/m-Q6_K.gguf")
    (home / "file.gguf").write_bytes(MODEL)
    before = everything(home)
    for name, words in {
        "o/r": r"o/r:Q8_0: Hugging Face downloaded it; we do not touch .*m-Q8_0\.gguf",
        "pub/model:Q6_K": "LM Studio downloaded it",
        "ggml-org/tiny": r"llama\.cpp downloaded it",
        "qwen3:4b": "Ollama downloaded it; we do not touch .*sha256-.*; remove it there",
        "mine": r"mine: is a link to .*m-Q6_K\.gguf; we do not touch",
        str(home / "file.gguf"): r"file\.gguf: is no model that we downloaded: delete the file itself",
        "qwen3-8b": "qwen3-8b: is not here",
        "nothing": "'nothing' is neither a file nor a model",
    }.items():
        with pytest.raises(StoreError, match=words):
            removal.plan(name)
    assert everything(home) == before


def test_half_of_it_is_ours(cache: Path) -> None:
    """One part of a split model was there before."""
    links = [layouts.hub(cache, "o/r", f"m-0000{i}-of-00002.gguf", MODEL + bytes([i])) for i in (1, 2)]
    records.pulled(links[0], "o/r")
    with pytest.raises(StoreError, match="Hugging Face downloaded it"):
        removal.plan("o/r")


def test_a_cache_without_links(cache: Path) -> None:
    """As on Windows: the file itself stands in the snapshot."""
    path = cache / "models--o--r/snapshots" / OTHER / "m-Q8_0.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(MODEL)
    records.pulled(path, "o/r")
    removal.remove(removal.plan("o/r"))
    assert everything(cache) == set()


def test_a_file_in_use_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    path = store_dir() / "m.gguf"
    path.write_bytes(MODEL)
    planned = removal.plan("m")

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(StoreError, match=r"m: .*m\.gguf: is in use: end the program that has the model loaded"):
        removal.remove(planned)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(StoreError, match=r"m: .*m\.gguf: Permission denied"):
        removal.remove(planned)
    assert records.owns(path)


@pytest.mark.skipif(sys.platform == "win32", reason="the file stays there")
def test_a_file_in_use(home: Path) -> None:
    """Who has it open reads on."""
    path = store_dir() / "m.gguf"
    path.write_bytes(MODEL)
    with path.open("rb") as file:
        removal.remove(removal.plan("m"))
        assert file.read() == MODEL


def test_a_removal_waits_for_downloads(pulled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the lock that changes of the repository take."""
    seen = []

    def watched(path: Path, waiting: object) -> object:
        seen.append(path)
        return locked(path, lambda: None)

    monkeypatch.setattr(removal, "locked", watched)
    removal.remove(removal.plan("org/repo"))
    assert seen == [pulled / ".locks/models--org--repo/snapshots.lock"]
    assert os.path.exists(seen[0])
