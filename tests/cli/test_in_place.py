"""Models of other programs are listed, shown and run where they lie; nothing there is changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from localllm.store.origins import ollama
from localllm.store.paths import store_dir
from tests.generate.test_chat_states import VOCABULARY
from tests.gguf.parts import split
from tests.recorded import models
from tests.store.origins import layouts

LLAMA = "registry.ollama.ai/library/tiny/1m"
NAMES = {
    "own-Q8_0": "localllm",
    "org/repo-GGUF:F32": "huggingface",
    "org/split": "huggingface",
    "ggml-org/tiny:F32": "llama.cpp",
    "publisher/model:F32": "lmstudio",
    "tiny:1m": "ollama",
    "hf.co/org/other:F32": "ollama",
}
"""As `list` shows them -> whose they are."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.write(tmp_path_factory.mktemp("model") / "m.gguf", models.cases()["lfm2"], **VOCABULARY)


@pytest.fixture
def home(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user of all programs."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "localllm"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(ollama, "SERVICE", tmp_path / "service")
    for name in ("LOCALLLM_ORIGINS", "OLLAMA_MODELS", "XDG_CACHE_HOME", "LLAMA_CACHE"):
        monkeypatch.delenv(name, raising=False)
    content, cache = model.read_bytes(), tmp_path / "hf/hub"
    store_dir().mkdir(parents=True)
    (store_dir() / "own-Q8_0.gguf").write_bytes(content)
    layouts.hub(cache, "org/repo-GGUF", "sub/m-F32.gguf", content)
    for part in split(model, tmp_path / "part", 12):
        layouts.hub(cache, "org/split", part.name, part.read_bytes())
        part.unlink()
    layouts.llama_cpp(tmp_path / ".cache/llama.cpp", "ggml-org/tiny", "latest", "m-F32.gguf", content)
    layouts.lm_studio(tmp_path / ".lmstudio", "publisher/model", "m-F32.gguf", content)
    layouts.ollama(tmp_path / ".ollama/models", LLAMA, content)
    layouts.ollama(tmp_path / ".ollama/models", "hf.co/org/other/F32", content + bytes(32), root="manifests-v2")
    return tmp_path


def foreign(home: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder of other programs: its size and when it was changed."""
    places = [home / name for name in ("hf", ".cache/llama.cpp", ".lmstudio", ".ollama")]
    paths = [path for place in places for path in (place, *place.rglob("*"))]
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in paths}


def listed(call) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads(call("list", "-o", "json").out)["models"] if row["here"]}


def test_list_and_show(home: Path, call) -> None:
    before = foreign(home)
    rows = listed(call)
    assert {name: row["origin"] for name, row in rows.items()} == NAMES
    assert {row["architecture"] for row in rows.values()} == {"lfm2"}
    assert rows["org/split"]["parts"] > 1
    for name in NAMES:
        facts = json.loads(call("show", name, "-o", "json").out)
        assert (facts["architecture"], facts["here"], facts["origin"]) == ("lfm2", True, NAMES[name])
        assert facts["size"] == rows[name]["size"]
    assert "From          Ollama\n" in call("show", "tiny").out
    assert foreign(home) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_run(name: str, home: Path, model: Path, call) -> None:
    """The same answer as the file's own, and it is written down that the model was used."""
    before = foreign(home)
    options = ("-p", "abc", "-n", "1", "--temp", "0", "--no-cache")
    said, wanted = call("run", "-m", name, *options), call("run", "-m", model, *options)
    assert (said.status, said.out) == (0, wanted.out), said.err
    assert said.out
    assert foreign(home) == before
    assert [row for row, facts in listed(call).items() if facts["last_used"]] == [name]


@pytest.mark.slow
def test_run_in_a_process_of_its_own(home: Path, command) -> None:
    environment = os.environ | {"HOME": str(home)}
    done = command("run", "-m", "tiny:1m", "-p", "abc", "-n", "1", "--temp", "0", "--no-cache", env=environment)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) == 1
