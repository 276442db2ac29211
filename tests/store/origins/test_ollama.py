"""Ollama's folders: names as it shows them, and manifests that are broken or hostile."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from localllm.store.origins import ollama
from tests.store.origins import layouts

LIBRARY = "registry.ollama.ai/library"


@pytest.fixture
def folder(home: Path) -> Path:
    return home / ".ollama/models"


def found(told: list[str] | None = None) -> dict[str, Path]:
    told = [] if told is None else told
    return {model.name: model.path for model in ollama.OLLAMA.models(told.append)}


def test_names(folder: Path, home: Path) -> None:
    names = {
        f"{LIBRARY}/llama3.2/3b": "llama3.2:3b",
        f"{LIBRARY}/qwen3/latest": "qwen3:latest",
        "registry.ollama.ai/user/model/q4_0": "user/model:q4_0",
        "hf.co/bartowski/Llama-3.2-1B-GGUF/Q4_K_M": "hf.co/bartowski/Llama-3.2-1B-GGUF:Q4_K_M",
        "example.com/library/m/t": "example.com/library/m:t",
    }
    blobs = {shown: layouts.ollama(folder, name, b"GGUF" + name.encode()) for name, shown in names.items()}
    blobs["service:latest"] = layouts.ollama(home / "service", f"{LIBRARY}/service/latest", b"GGUF2")
    assert found() == blobs
    assert ollama.OLLAMA.folders() == [folder, home / "service"]


def test_another_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", f' "{home / "disk"}" ')
    blob = layouts.ollama(home / "disk", f"{LIBRARY}/m/1b", b"GGUF")
    assert found() == {"m:1b": blob}


def test_two_tags_of_one_blob(folder: Path) -> None:
    blob = layouts.ollama(folder, f"{LIBRARY}/m/latest", b"GGUF")
    layouts.ollama(folder, f"{LIBRARY}/m/1b", b"GGUF")
    assert found() == {"m:1b": blob, "m:latest": blob}


def test_version_2(folder: Path) -> None:
    """Manifests that are links to blobs; a list of several: one has tensors for MLX, one is a reference."""
    new = layouts.ollama(folder, f"{LIBRARY}/new/1b", b"GGUF new", root="manifests-v2")
    layouts.ollama(folder, f"{LIBRARY}/new/1b", b"GGUF old")
    tensors = {"runner": "mlx", "layers": [layouts.layer("tensor", layouts.ollama_blob(folder, b"{}"))]}
    both = layouts.ollama_blob(folder, b"GGUF both")
    child = layouts.ollama_blob(folder, json.dumps({"layers": [layouts.layer("model", both)]}).encode())
    reference = {"runner": "ollama", "digest": child.name.replace("-", ":")}
    manifest = {"mediaType": layouts.OLLAMA_LIST, "manifests": [tensors, reference]}
    layouts.ollama_manifest(folder, f"{LIBRARY}/both/1b", manifest, root="manifests-v2")
    inline = {"mediaType": layouts.OLLAMA_LIST, "manifests": [{"layers": [layouts.layer("model", both)]}]}
    layouts.ollama_manifest(folder, f"{LIBRARY}/inline/1b", inline)
    assert found() == {"both:1b": both, "new:1b": new, "inline:1b": both}


def model(digest: object, **more: Any) -> dict[str, Any]:
    return {"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": digest}], **more}


HOSTILE: dict[str, object] = {
    "no JSON": b"{",
    "bytes": b"\xff\xfe\x00",
    "empty": b"",
    "deep": b"[" * 200_000,
    "huge": b'{"layers": [' + b"0," * (1 << 20) + b"0]}",
    "a long number": b'{"schemaVersion": ' + b"9" * 10_000 + b"}",
    "a list": [],
    "no layers": {},
    "layers are a text": {"layers": "application/vnd.ollama.image.model"},
    "layers are numbers": {"layers": [1, None, [], "x"]},
    "no digest": model(None),
    "digest is a list": model(["sha256:" + "0" * 64]),
    "out of the folder": model("sha256:../../../../secret"),
    "out by the form": model("../" * 20 + "secret"),
    "absolute": model("/etc/passwd"),
    "NUL": model("sha256:" + "0" * 63 + "\0"),
    "digits": model("sha256:" + "\u0660" * 64),
    "a line more": model("sha256:" + "0" * 64 + "\n"),
    "not here": model("sha256:" + "0" * 64),
    "children are a text": {"mediaType": layouts.OLLAMA_LIST, "manifests": "x"},
    "children are numbers": {"mediaType": layouts.OLLAMA_LIST, "manifests": [1, None, {"digest": 3}, {}]},
}


@pytest.mark.parametrize("manifest", HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_manifests(manifest: object, folder: Path, home: Path) -> None:
    """One beside a good one: nothing is raised, it is told, the good one is found."""
    (home / "secret").write_bytes(b"GGUF")
    blob = layouts.ollama(folder, f"{LIBRARY}/good/1b", b"GGUF")
    path = layouts.ollama_manifest(folder, f"{LIBRARY}/bad/1b", manifest)
    told: list[str] = []
    assert found(told) == {"good:1b": blob}
    assert told
    assert told[0].startswith(f"{path}: ")


def test_no_models(folder: Path) -> None:
    """Other files than GGUF, models that need an adapter or come in two layers, links in a circle, pipes."""
    layouts.ollama(folder, f"{LIBRARY}/old/ggml", b"lmgg")
    one, two = (layouts.ollama_blob(folder, b"GGUF" + x) for x in (b"1", b"2"))
    layers = [layouts.layer("model", one), layouts.layer("model", two)]
    layouts.ollama_manifest(folder, f"{LIBRARY}/two/1b", {"layers": layers})
    layers = [layouts.layer("model", one), layouts.layer("adapter", two)]
    layouts.ollama_manifest(folder, f"{LIBRARY}/lora/1b", {"layers": layers})
    place = folder / "manifests" / LIBRARY
    (place / "loop").mkdir()
    (place / "loop/1b").symlink_to("1b")
    (place / "round").symlink_to(place)
    os.mkfifo(place / "loop/pipe")
    (place / "loop/folder").mkdir()
    (place / "a file").write_text("")
    (place / "x\x1b[31m").mkdir()
    (place / "x\x1b[31m/1b").write_text("{}")
    pipe = folder / "blobs" / ("sha256-" + "1" * 64)
    os.mkfifo(pipe)
    layouts.ollama_manifest(folder, f"{LIBRARY}/pipe/1b", model("sha256:" + "1" * 64))
    told: list[str] = []
    assert found(told) == {}
    assert any("the folders make no name of Ollama's" in line for line in told)
    assert any("without an adapter" in line for line in told)
