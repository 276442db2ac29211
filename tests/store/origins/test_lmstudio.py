"""LM Studio's folders, wherever its home is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from localllm.store.origins.lmstudio import LM_STUDIO
from tests.store.origins import layouts


def names() -> list[str]:
    return [model.name for model in LM_STUDIO.models(print)]


def test_names(home: Path) -> None:
    studio = home / ".lmstudio"
    layouts.lm_studio(studio, "lmstudio-community/Qwen3-4B-GGUF", "Qwen3-4B-Q4_K_M.gguf", b"1")
    layouts.lm_studio(studio, "lmstudio-community/Qwen3-4B-GGUF", "mmproj-Qwen3-4B-F16.gguf", b"2")
    for part in (1, 2):
        layouts.lm_studio(studio, "big/model", f"m-Q8_0-0000{part}-of-00002.gguf", b"3")
    layouts.lm_studio(studio, "", "loose-Q4_0.gguf", b"4")
    layouts.lm_studio(studio, "mine", "own.gguf", b"5")
    layouts.lm_studio(home / ".cache/lm-studio", "old/model", "m.gguf", b"6")
    assert names() == [
        "big/model:Q8_0", "lmstudio-community/Qwen3-4B-GGUF:Q4_K_M", "loose-Q4_0", "own", "old/model",
    ]  # fmt: skip


def test_home_pointer(home: Path) -> None:
    (home / ".lmstudio-home-pointer").write_text(f"{home / 'disk'}\n")
    layouts.lm_studio(home / "disk", "a/b", "m-Q4_0.gguf", b"1")
    assert LM_STUDIO.folders()[0] == home / "disk/models"
    assert names() == ["a/b:Q4_0"]


def test_a_folder_of_the_users_choice(home: Path) -> None:
    (home / ".lmstudio").mkdir()
    (home / ".lmstudio/settings.json").write_text(json.dumps({"downloadsFolder": str(home / "large/models")}))
    layouts.lm_studio(home / "large", "a/b", "m-Q4_0.gguf", b"1")
    assert names() == ["a/b:Q4_0"]


@pytest.mark.parametrize(
    ("pointer", "settings"),
    [
        (b"\xff", b"\xff"),
        (b"", b"[]"),
        (b"a\0b", b'{"downloadsFolder": "a\\u0000b"}'),
        (b"x" * 100_000, b'{"downloadsFolder": "' + b"x" * 100_000 + b'"}'),
        (b"\n\n", b'{"downloadsFolder": 3}'),
    ],
)
def test_hostile_settings(pointer: bytes, settings: bytes, home: Path) -> None:
    (home / ".lmstudio-home-pointer").write_bytes(pointer)
    (home / ".lmstudio").mkdir()
    (home / ".lmstudio/settings.json").write_bytes(settings)
    layouts.lm_studio(home / ".cache/lm-studio", "old/model", "m.gguf", b"6")
    assert names() == ["old/model"]
