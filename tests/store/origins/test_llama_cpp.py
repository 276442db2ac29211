"""llama.cpp's cache of 2025."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from localllm.store.origins.llama_cpp import LLAMA_CPP
from tests.store.origins import layouts


def names() -> list[str]:
    return [model.name for model in LLAMA_CPP.models(print)]


def test_names(home: Path) -> None:
    """A manifest tells where the organization ends; without one a file has its own name."""
    cache = home / ".cache/llama.cpp"
    layouts.llama_cpp(cache, "ggml-org/gemma-3-4b-it-GGUF", "latest", "gemma-3-4b-it-Q4_K_M.gguf", b"1")
    layouts.llama_cpp(cache, "a_b/c", "Q8_0", "c_d-Q8_0.gguf", b"2")
    for name in (
        "org_repo_file.gguf",
        "ggml-org_gemma-3-4b-it-GGUF_mmproj-model-f16.gguf",
        "x.gguf.json",
        "x.gguf.etag",
    ):
        (cache / name).write_bytes(b"3")
    (cache / "y.gguf.downloadInProgress").write_bytes(b"4")
    for part in (1, 2):
        (cache / f"a_b_c_m-F16-0000{part}-of-00002.gguf").write_bytes(b"5")
    (cache / "manifest=bad.json").write_text("")
    (cache / "deep").mkdir()
    (cache / "deep/m.gguf").write_bytes(b"6")
    assert names() == ["a_b/c:Q8_0", "a_b/c:F16", "ggml-org/gemma-3-4b-it-GGUF:Q4_K_M", "org_repo_file"]


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {}, ".cache/llama.cpp"),
        ("linux", {"XDG_CACHE_HOME": "x"}, "x/llama.cpp"),
        ("darwin", {"XDG_CACHE_HOME": "x"}, "Library/Caches/llama.cpp"),
        ("win32", {"LOCALAPPDATA": "l"}, "l/llama.cpp"),
        ("darwin", {"LLAMA_CACHE": "c"}, "c"),
    ],
)
def test_folders(
    platform: str, variables: dict[str, str], folder: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    for name, value in variables.items():
        monkeypatch.setenv(name, str(home / value))
    assert LLAMA_CPP.folders() == [home / folder]
