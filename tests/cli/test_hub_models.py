"""A model of a hub from `show` before it is here to `rm`, as a user types it."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from localllm.store import catalog, found
from localllm.store.entry import UrlSource
from tests import tiny_models
from tests.gguf.parts import split
from tests.store.conftest import cache, hub  # noqa: F401
from tests.store.hub_stub import Hub, Repo


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_models.write(tmp_path / "tiny-Q8_0.gguf", "llama", "Q8_0")


def listed(call) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads(call("list", "-o", "json").out)["models"] if row["here"]}


def shown(call, name: str) -> dict:
    done = call("show", name, "-o", "json")
    assert done.status == 0, done.err
    return json.loads(done.out)


def test_a_model(hub: Hub, model: Path, call) -> None:  # noqa: F811
    hub.repos["org/repo"] = Repo({"tiny-Q8_0.gguf": model.read_bytes(), "mmproj-F16.gguf": b"x"})
    before = shown(call, "org/repo")
    assert (before["here"], before["size"], before["architecture"]) == (False, model.stat().st_size, "llama")
    assert [asked.range for asked in hub.contents()] == ["bytes=0-1048575"]
    assert listed(call) == {}
    path = call("pull", "org/repo").out.strip()
    row = listed(call)["org/repo:Q8_0"]
    assert (row["path"], row["owned"], row["origin"], row["quantization"]) == (path, True, "huggingface", "Q8_0")
    after = shown(call, "org/repo")
    assert after["here"]
    for key in ("metadata", "support", "n_params", "formats", "size"):
        assert after[key] == before[key]
    assert call("rm", "-y", "org/repo").status == 0
    assert listed(call) == {}


def test_a_split_model(hub: Hub, model: Path, tmp_path: Path, call) -> None:  # noqa: F811
    """Of one that is not here, too, the size is that of all parts; rm takes all."""
    parts = split(model, tmp_path / "big-Q8_0", 12)
    hub.repos["org/big"] = Repo({path.name: path.read_bytes() for path in parts})
    size = sum(path.stat().st_size for path in parts)
    before = shown(call, "hf.co/org/big:Q8_0")
    assert (before["size"], len(before["parts"])) == (size, len(parts))
    assert f"MB in {len(parts)} parts, GGUF version 3)" in call("show", "org/big").out
    assert call("pull", "org/big").status == 0
    assert listed(call)["org/big:Q8_0"]["size"] == size
    assert shown(call, "org/big")["n_params"] == before["n_params"]
    assert call("rm", "-y", "org/big").out == f"removed org/big:Q8_0, {size / 1e6:.0f} MB\n"
    assert listed(call) == {}


def test_a_model_of_the_catalog(hub: Hub, model: Path, call, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    hub.repos["org/repo"] = Repo({"tiny-Q8_0.gguf": model.read_bytes()})
    source = UrlSource(f"{hub.url}/org/repo/resolve/main/tiny-Q8_0.gguf")
    size, digest = model.stat().st_size, hub.repos["org/repo"].etag("tiny-Q8_0.gguf")
    entry = replace(
        catalog.catalog().default, name="tiny", size=size, sha256=digest, sources=(source,), use="code", fetched=False
    )
    some = catalog.Catalog(entry, {"tiny": entry})
    monkeypatch.setattr(catalog, "catalog", lambda: some)
    for module in (found, import_module("localllm.cli.list")):
        monkeypatch.setattr(module, "catalog", lambda: some)
    text = call("show").out
    assert f"Good for      code: {entry.about}\n" in text
    assert "Licence       Apache-2.0\n" in text
    assert call("pull", "tiny").status == 0
    row = listed(call)["tiny"]
    assert (row["default"], row["owned"], row["origin"]) == (True, True, "huggingface")
    assert call("rm", "-y", "tiny").status == 0
    assert listed(call) == {}
