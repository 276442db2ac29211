"""Models of our store and of other programs: what is found, by which names, and what is passed over."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from localllm.errors import StoreError
from localllm.store import catalog, found
from localllm.store.entry import UrlSource
from localllm.store.found import find, found_models
from localllm.store.origins import ORIGINS, ollama, own
from localllm.store.paths import store_dir
from localllm.store.resolve import resolve
from tests.store.origins import layouts


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "localllm"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("LOCALLLM_ORIGINS")
    for name in ("OLLAMA_MODELS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ollama, "SERVICE", tmp_path / "service")
    store_dir().mkdir(parents=True)
    return tmp_path


def names() -> list[str]:
    return [model.name for model in found_models()]


def test_nothing_is_here() -> None:
    assert found_models() == []
    assert find("llama") is None


def test_own_files(home: Path) -> None:
    (store_dir() / "My-Own-Q8_0.gguf").write_bytes(b"12345")
    (store_dir() / "smollm2-135m-instruct-q4_1.gguf").write_bytes(b"not whole")
    (store_dir() / "note.txt").write_bytes(b"")
    told: list[str] = []
    (model,) = found_models(told.append)
    assert (model.name, model.origin, model.size, model.owned) == ("My-Own-Q8_0", "localllm", 5, True)
    assert model.path == store_dir() / "My-Own-Q8_0.gguf"
    assert "is not whole: smollm2-135m-instruct has 98362432 bytes" in told[0]
    assert find("my-own-q8_0") == find("MY-OWN-Q8_0.gguf") == model


def test_hub_names(home: Path) -> None:
    cache = home / "hf/hub"
    for name in ("m-Q8_0.gguf", "m-Q4_K_M.gguf", "mmproj-F16.gguf", "README.md", "sub/m-IQ2_M.gguf"):
        layouts.hub(cache, "org/Repo-GGUF", name, name.encode())
    layouts.hub(cache, "other/r", "weights.gguf", b"w")
    for part in (1, 2):
        layouts.hub(cache, "big/split", f"x-Q6_K-0000{part}-of-00002.gguf", b"p" * part)
    for name in ("a-F16.gguf", "b-F16.gguf"):
        layouts.hub(cache, "two/same", name, name.encode())
    assert names() == [
        "big/split:Q6_K", "org/Repo-GGUF:Q4_K_M", "org/Repo-GGUF:Q8_0", "org/Repo-GGUF:IQ2_M", "other/r",
        "two/same:a-F16", "two/same:b-F16",
    ]  # fmt: skip
    split = find("big/split")
    assert split is not None
    assert (split.size, len(split.parts), split.path.name) == (3, 2, "x-Q6_K-00001-of-00002.gguf")
    assert (split.owned, split.last_used, split.origin) == (False, None, "huggingface")
    for name, file in {
        "org/repo-gguf": "m-Q4_K_M.gguf",  # preferred
        "org/repo-gguf:iq2_m": "m-IQ2_M.gguf",
        "hf.co/org/Repo-GGUF:Q8_0": "m-Q8_0.gguf",
        "https": None,
        "two/same": "a-F16.gguf",
        "weights": "weights.gguf",
        "x-Q6_K": "x-Q6_K-00001-of-00002.gguf",
        "org/none": None,
    }.items():
        model = find(name)
        assert (model and model.path.name) == file, name


def test_quantizations_of_makers(home: Path) -> None:
    for name in ("m-UD-Q4_K_XL.gguf", "m-Q2_K.gguf", "BF16/m.gguf"):
        layouts.hub(home / "hf/hub", "unsloth/m-GGUF", name, name.encode())
    assert names() == ["unsloth/m-GGUF:BF16", "unsloth/m-GGUF:Q2_K", "unsloth/m-GGUF:UD-Q4_K_XL"]
    for name in ("UD-Q4_K_XL", "q4_k_xl"):
        model = find(f"unsloth/m-gguf:{name}")
        assert model is not None
        assert model.path.name == "m-UD-Q4_K_XL.gguf"
    assert find("unsloth/m-GGUF:K_XL") is None
    assert find("unsloth/m-GGUF:") is None


def test_hub_revisions(home: Path) -> None:
    """The revision of `main` comes first; an older one's file is named only where it is another."""
    cache = home / "hf/hub"
    old, new = "a" * 40, "b" * 40
    for revision, ref, content in ((old, "v1", b"old"), (new, "main", b"new!")):
        layouts.hub(cache, "o/r", "m-Q8_0.gguf", content, revision, ref)
        layouts.hub(cache, "o/r", "same-Q4_0.gguf", b"same one", revision, ref)
    models = [(m.name, m.size, m.path.parent.name) for m in found_models()]
    assert models == [("o/r:Q8_0", 4, new), ("o/r:Q4_0", 8, new), ("o/r:Q8_0@aaaaaaa", 3, old)]


def test_hub_damage(home: Path) -> None:
    """Links to nothing or in a circle, other folders, files in the place of folders: no model, no harm."""
    cache = home / "hf/hub"
    good = layouts.hub(cache, "o/r", "m-Q8_0.gguf", b"x")
    snapshot = good.parent
    (snapshot / "gone-Q4_0.gguf").symlink_to("../../blobs/gone")
    (snapshot / "loop-Q4_0.gguf").symlink_to("loop-Q4_0.gguf")
    (snapshot / "round").symlink_to(snapshot)
    (snapshot / "folder.gguf").mkdir()
    (cache / "models--a--b").write_text("a file")
    (cache / "models--a--c/snapshots").mkdir(parents=True)
    (cache / "models--a--c/snapshots" / ("c" * 40)).write_text("a file")
    (cache / "models--nothing").mkdir()
    (cache / "models--o--r/refs/deep").mkdir()
    (cache / "models--o--r/refs/bytes").write_bytes(b"\xff" * 1000)
    assert names() == ["o/r:Q8_0"]


def test_a_folder_that_cannot_be_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, scandir = home / "hf/hub", os.scandir
    layouts.hub(cache, "o/r", "m-Q8_0.gguf", b"x")
    layouts.hub(cache, "o/s", "m-Q8_0.gguf", b"y")

    def refuse(folder: str | Path) -> object:
        if folder == cache / "models--o--r/snapshots":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    told: list[str] = []
    assert [model.name for model in found_models(told.append)] == ["o/s:Q8_0"]
    assert told == [f"{cache / 'models--o--r/snapshots'}: Permission denied"]


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"HF_HUB_CACHE": "a", "HUGGINGFACE_HUB_CACHE": "b", "HF_HOME": "c"}, "a"),
        ({"HUGGINGFACE_HUB_CACHE": "b", "HF_HOME": "c"}, "b"),
        ({"HF_HOME": "c", "XDG_CACHE_HOME": "d"}, "c/hub"),
        ({"HF_HOME": "", "XDG_CACHE_HOME": "d"}, "d/huggingface/hub"),
        ({"HF_HOME": ""}, ".cache/huggingface/hub"),
        ({"LLAMA_CACHE": "e", "HF_HOME": "c"}, "e"),
    ],
)
def test_which_hub_cache(variables: dict[str, str], folder: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, str(home / value) if value else "")
    assert ORIGINS["huggingface"].folders()[0] == home / folder


def test_one_name_of_two_programs(home: Path) -> None:
    """The first program's keeps the name; every name is another, and finds its model."""
    layouts.hub(home / "hf/hub", "o/r", "m-Q8_0.gguf", b"x")
    layouts.lm_studio(home / ".lmstudio", "o/r", "m-Q8_0.gguf", b"y")
    (store_dir() / "o.gguf").write_bytes(b"z")
    for folder in ("a", "b", "c"):
        layouts.lm_studio(home / ".lmstudio", f"{folder}/deep/er", "o.gguf", folder.encode())
    assert names() == ["o", "o/r:Q8_0", "lmstudio:o", "lmstudio:o#2", "lmstudio:o#3", "lmstudio:o/r:Q8_0"]
    for model in found_models():
        assert find(model.name) == model


def test_a_catalog_model_in_the_hub_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its name in the catalog, and is still found by that of the hub."""
    default = catalog.catalog().default
    source = UrlSource("https://huggingface.co/o/r/resolve/main/m-Q8_0.gguf")
    entry = replace(default, name="tiny-model", file="t.gguf", size=3, sources=(source,))
    monkeypatch.setattr(catalog, "catalog", lambda: catalog.Catalog(default, {entry.name: entry}))
    for module in (found, own):
        monkeypatch.setattr(module, "catalog", catalog.catalog)
    link = layouts.hub(home / "hf/hub", "o/r", "m-Q8_0.gguf", b"abc")
    (store_dir() / "t.gguf").write_bytes(b"ab")
    assert names() == ["tiny-model"]
    assert resolve("tiny-model") == resolve("o/r:Q8_0") == resolve("o/r") == str(link)


def test_a_user_without_a_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs whose folders cannot be told are passed over; ours is where it was put."""

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    (store_dir() / "mine.gguf").write_bytes(b"y")
    told: list[str] = []
    assert [model.name for model in found_models(told.append)] == ["mine"]
    assert told == [f"{title}: Could not determine home directory." for title in ("LM Studio", "Ollama")]


def test_limited_origins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layouts.hub(home / "hf/hub", "o/r", "m-Q8_0.gguf", b"x")
    (store_dir() / "mine.gguf").write_bytes(b"y")
    for value, known in {"localllm": ["mine"], " huggingface , ": ["o/r:Q8_0"], "": []}.items():
        monkeypatch.setenv("LOCALLLM_ORIGINS", value)
        assert names() == known
    monkeypatch.setenv("LOCALLLM_ORIGINS", "localllm,lm-studio")
    with pytest.raises(StoreError, match=r"LOCALLLM_ORIGINS: 'lm-studio' is none; those that are: localllm, hugging"):
        found_models()


def test_a_part_that_goes_while_it_is_looked_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the folder's being read and the file's being asked for its size."""
    path = store_dir() / "mine.gguf"
    path.write_bytes(b"y")
    told: list[str] = []

    def gone(folder: Path, note: object, depth: int = 0) -> list[Path]:
        return [path, path.with_name("gone.gguf")]

    monkeypatch.setattr(own, "model_files", gone)
    assert [model.name for model in found_models(told.append)] == ["mine"]
    assert told == [f"{path.with_name('gone.gguf')}: No such file or directory"]
