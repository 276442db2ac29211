"""`localllm list`: models of every origin, in columns that fit, and as JSON."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from localllm.cli import tables
from localllm.store import records
from localllm.store.origins import ollama
from localllm.store.paths import store_dir
from tests.gguf import build as b
from tests.store.origins import layouts

QWEN3 = b.gguf([b.kv("general.architecture", b.STR, "qwen3"), b.kv("general.file_type", b.U32, 15)])
ODD = b.gguf([b.kv("general.architecture", b.STR, "rwkv9")])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with one model from each program."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "localllm"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(ollama, "SERVICE", tmp_path / "service")
    for name in ("LOCALLLM_ORIGINS", "OLLAMA_MODELS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    store_dir().mkdir(parents=True)
    (store_dir() / "own-Q8_0.gguf").write_bytes(ODD)
    layouts.hub(tmp_path / "hf/hub", "org/Repo-GGUF", "m-Q4_K_M.gguf", QWEN3)
    layouts.llama_cpp(tmp_path / ".cache/llama.cpp", "ggml-org/tiny", "latest", "t-Q4_0.gguf", b"<!DOCTYPE html>" * 3)
    layouts.lm_studio(tmp_path / ".lmstudio", "pub/model", "m-Q6_K.gguf", QWEN3[:-1])
    layouts.ollama(tmp_path / ".ollama/models", "registry.ollama.ai/library/qwen3/4b", QWEN3 + b"more")
    return tmp_path


def test_rows(home: Path, call) -> None:
    records.used(home / ".ollama/models/blobs" / layouts.ollama_blob(home / "x", QWEN3 + b"more").name)
    out = call("list").out
    lines = [line.split("  ") for line in out.splitlines()]
    cells = {line[0]: [cell.strip() for cell in line[1:] if cell.strip()] for line in lines if len(line) > 3}
    assert cells["own-Q8_0"] == ["localllm", "rwkv9", "Q8_0", "1 kB"]
    assert cells["org/Repo-GGUF:Q4_K_M"] == ["Hugging Face", "qwen3", "Q4_K_M", "1 kB"]
    assert cells["qwen3:4b"] == ["Ollama", "qwen3", "Q4_K_M", "1 kB", "just now"]
    assert cells["pub/model:Q6_K"][0] == "LM Studio"
    assert cells["ggml-org/tiny:Q4_0"] == ["llama.cpp", "1 kB"]
    problems = out[out.index("Cannot be run:") :]
    assert "  own-Q8_0: the architecture is not supported" in problems
    assert "  ggml-org/tiny:Q4_0: not a GGUF file" in problems
    assert "this looks like a web page" in problems
    assert "\n* is the default.\n? is one that we have never downloaded" in out
    assert out.endswith(f"The store is {store_dir()}\n")
    assert "smollm2-135m-instruct *" in out[out.index("To download with `localllm pull NAME`:") :]


def test_json(home: Path, call) -> None:
    now = time.time()
    records.used(home / "localllm/models/own-Q8_0.gguf")
    found = json.loads(call("ls", "-o", "json").out)
    assert found["store"] == str(store_dir())
    rows = {row["name"]: row for row in found["models"]}
    assert rows["own-Q8_0"]["last_used"] >= now
    assert {key: rows["org/Repo-GGUF:Q4_K_M"][key] for key in ("here", "origin", "architecture", "owned", "parts")} == {
        "here": True, "origin": "huggingface", "architecture": "qwen3", "owned": False, "parts": 1,
    }  # fmt: skip
    assert rows["own-Q8_0"]["owned"]
    assert rows["org/Repo-GGUF:Q4_K_M"]["path"].endswith("m-Q4_K_M.gguf")
    default = rows["smollm2-135m-instruct"]
    assert (default["here"], default["default"], default["path"], default["origin"]) == (False, True, None, None)
    assert len({frozenset(row) for row in found["models"]}) == 1


def test_a_catalog_model_that_is_here(home: Path, call) -> None:
    """It stands in one table only; a half of it does not count, and -v tells so."""
    from localllm.store.catalog import catalog

    path = catalog().default.path
    path.write_bytes(QWEN3)
    assert "is not whole" in call("list", "-v").err
    with path.open("r+b") as file:
        file.truncate(catalog().default.size)
    rows = [row for row in json.loads(call("list", "-o", "json").out)["models"] if row["default"]]
    assert [(row["here"], row["licence"]) for row in rows] == [(True, "Apache-2.0")]


def test_names_cannot_control_the_terminal(home: Path, call) -> None:
    (store_dir() / "red\x1b[31m\n\x9b0m.gguf").write_bytes(QWEN3)
    out = call("list").out
    assert "\x1b" not in out
    assert "\x9b" not in out
    assert "red␛[31m" in out
    (store_dir() / "bad\x1b[31m.gguf").write_bytes(b"\x1b[0m")
    assert "  bad␛[31m: " in call("list").out
    assert call("rm", "-y", "bad\x1b[31m").out == "removed bad␛[31m, 1 kB\n"
    assert call("rm", "-y", "bad\x1b[31m").err.count("␛") == 1
    assert "red\x1b[31m\n\x9b0m" in [row["name"] for row in json.loads(call("list", "-o", "json").out)["models"]]


class Terminal:
    is_terminal = unicode = True

    def __init__(self, width: int) -> None:
        self.width = width


def test_columns_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """ABOUT is cut, then left out; then SIZE goes, and the name is cut in the end, to 12 columns."""
    rows = [["NAME", "SIZE", "ABOUT"], ["n" * 40, "1 GB", "about " * 5 + "!"], ["m", "10 MB", ""]]
    for width in range(12, 100):
        monkeypatch.setattr(tables, "Screen", lambda width=width: Terminal(width))
        lines = tables.table(rows, right=(1,), narrow={2: 10, 1: 5}).splitlines()
        assert max(map(len, lines)) <= width
        assert ("ABOUT" in lines[0], "SIZE" in lines[0]) == (width >= 40 + 2 + 5 + 2 + 10, width >= 40 + 2 + 5)
        assert ("n" * 40 in lines[1]) == (width >= 40)
        assert lines[1].endswith("!") == (width >= 40 + 2 + 5 + 2 + 31)
        assert lines[1].endswith("…") == (width < 40 or 59 <= width < 80)


def test_wide_and_combined_characters_are_counted_by_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "Screen", lambda: Terminal(30))
    rows = [["模型", "1"], ["e\u0301e\u0301", "2"], ["ab", "3"]]
    assert tables.table(rows).splitlines() == ["模型  1", "e\u0301e\u0301    2", "ab    3"]
    assert tables.table([["模" * 20, "1 GB"]], narrow={}) == "模" * 11 + "… " + "  1 GB"


def test_nothing_is_cut_without_a_terminal(call, home: Path) -> None:
    name = "n" * 200
    (store_dir() / f"{name}.gguf").write_bytes(QWEN3)
    assert name in call("list").out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "just now"), (-5, "just now"), (61, "1 minute ago"), (7200, "2 hours ago"), (86400 * 400, "1 year ago")],
)
def test_ago(seconds: float, text: str) -> None:
    assert tables.ago(seconds) == text
