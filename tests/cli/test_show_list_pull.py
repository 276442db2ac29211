"""The verbs that look and fetch: what they print, and that they stay light."""

import dataclasses
import hashlib
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from localllm.cli import list as list_verb
from localllm.cli import show
from localllm.errors import FileError, StoreError, UsageError
from localllm.model import memory as counting
from localllm.model.model import LoadedModel
from localllm.runtime.system import Free
from localllm.store import catalog as c
from localllm.store.entry import UrlSource
from tests import tiny_models
from tests.gguf import build as b
from tests.recorded import models as recorded
from tests.store.range_server import serving

CONTEXT, LAYERS = 64, 2


def model_bytes(architecture: str = "llama", *extra: bytes, type_id: int = 2) -> bytes:
    a = architecture
    kvs = [
        b.kv("general.architecture", b.STR, a),
        b.kv("general.name", b.STR, "Tiny \x1b[31mred"),
        b.kv(f"{a}.context_length", b.U32, CONTEXT),
        b.kv(f"{a}.embedding_length", b.U32, 64),
        b.kv(f"{a}.block_count", b.U32, LAYERS),
        b.kv(f"{a}.feed_forward_length", b.U32, 128),
        b.kv(f"{a}.attention.layer_norm_rms_epsilon", b.F32, 1e-5),
        b.kv(f"{a}.attention.head_count", b.U32, 4),
        b.kv(f"{a}.attention.head_count_kv", b.U32, 2),
        b.kv("tokenizer.ggml.model", b.STR, "llama"),
        b.array("tokenizer.ggml.tokens", b.STR, [f"token{i}" for i in range(100)]),
        b.kv("tokenizer.chat_template", b.STR, "{{ x }}\n" * 100),
        *extra,
    ]
    shape = (256, 2) if type_id == 2 else (288, 1)  # of 288 bytes, as Q4_0 or I8
    tensors = [b.tensor("token_embd.weight", shape, type_id), b.tensor("output_norm.weight", (32,), 0, 288)]
    return b.gguf(kvs, tensors, bytes(288 + 128))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store, and a catalog of one small model."""
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home/models"
    folder.mkdir(parents=True)
    content = model_bytes()
    digest = hashlib.sha256(content).hexdigest()
    tiny = dataclasses.replace(
        c.catalog().default, name="tiny", file="tiny.gguf", size=len(content), sha256=digest, sources=()
    )
    for module in (c, list_verb):
        monkeypatch.setattr(module, "catalog", lambda: c.Catalog(tiny, {"tiny": tiny}))
    return folder


def invoke(verb: ModuleType, *args: str) -> Result:
    result = CliRunner().invoke(verb.command, args)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def shown(home: Path, content: bytes, *args: str) -> str:
    (home / "x.gguf").write_bytes(content)
    return invoke(show, str(home / "x.gguf"), *args).stdout


def facts(home: Path, content: bytes, *args: str) -> dict[str, Any]:
    return json.loads(shown(home, content, "-o", "json", *args))


def test_show(home: Path) -> None:
    text = shown(home, model_bytes())
    for words in (
        "Architecture  llama: supported\n",
        "Formats       Q4_0, F32: supported",
        "Tokenizer     llama: supported",
        "a context cannot be counted: tensor token_embd.weight: has shape",
        "  100 × str",
        "(800 characters)",
        "Q4_0          1  0.0 MB            4.5",
    ):
        assert words in text
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) < 200


def test_show_tells_bits_a_weight(home: Path) -> None:
    """Of each tensor, of each format, and of all together: 512 weights in 288 bytes and 32 in 128."""
    found = facts(home, model_bytes(), "--tensors")
    assert [t["bits_per_weight"] for t in found["tensors"]] == [4.5, 32.0]
    assert {f["format"]: f["bits_per_weight"] for f in found["formats"]} == {"Q4_0": 4.5, "F32": 32.0}
    assert found["bits_per_weight"] == 8 * (288 + 128) / (512 + 32)
    assert "0.0 M, 6.12 bits each\n" in shown(home, model_bytes())
    assert facts(home, b.gguf())["bits_per_weight"] is None


def test_show_counts_memory(tmp_path: Path) -> None:
    """What a context counts that is made: cells of keys and values, recurrent states, and their checkpoints."""
    path = str(tiny_models.write(tmp_path / "llama.gguf", "llama"))
    memory = json.loads(invoke(show, path, "-c", "512", "-o", "json").stdout)["memory"]
    with LoadedModel.load(path) as model:
        context = model.context(n_ctx=512)
        assert memory["cache"] == context.n_bytes
        context.close()
    assert memory["total"] == memory["cache"] + memory["weights"] + memory["scratch"]
    assert memory["fits"] is True
    assert memory["recurrent"] == memory["checkpoints"] == 0
    assert "for a context of 512 tokens in F16 (-c, the model allows 4096)" in invoke(show, path, "-c", "512").stdout


def test_show_tells_what_is_left_out(tmp_path: Path) -> None:
    path = str(recorded.write(tmp_path / "m.gguf", recorded.cases()["deepseek2-nextn"]))
    left_out = "Left out      1 layer for multi-token prediction (MTP); --draft mtp guesses by it\n"
    assert left_out in invoke(show, path).stdout
    assert json.loads(invoke(show, path, "-o", "json").stdout)["mtp_layers"] == 1
    assert "Left out" not in invoke(show, str(tiny_models.write(tmp_path / "llama.gguf", "llama"))).stdout


def test_show_counts_recurrent_states(tmp_path: Path) -> None:
    path = str(recorded.write(tmp_path / "lfm2.gguf", recorded.cases()["lfm2"]))
    memory = json.loads(invoke(show, path, "-o", "json").stdout)["memory"]
    n_embd, width, n_layer = 128, 3, 2
    assert memory["recurrent"] == 4 * n_embd * (width - 1) * n_layer
    with LoadedModel.load(path) as model:
        context = model.context(n_ctx=memory["n_ctx"])
        assert memory["cache"] + memory["recurrent"] + memory["checkpoints"] == context.n_bytes
        context.close()
    assert "for recurrent states, whatever the context" in invoke(show, path).stdout


def test_show_caps_the_context(home: Path) -> None:
    from localllm.model.model import DEFAULT_N_CTX

    assert show.CTX_CAP == DEFAULT_N_CTX
    content = model_bytes().replace(
        b.kv("llama.context_length", b.U32, CONTEXT), b.kv("llama.context_length", b.U32, 1 << 20)
    )
    assert facts(home, content)["memory"]["n_ctx"] == show.CTX_CAP


def test_show_lists_tensors(home: Path) -> None:
    text = shown(home, model_bytes(), "--tensors")
    assert "token_embd.weight   Q4_0    256 × 2" in text
    tensors = facts(home, model_bytes(), "--tensors")["tensors"]
    assert [t["shape"] for t in tensors] == [[256, 2], [32]]
    assert tensors[1]["offset"] == tensors[0]["offset"] + 288


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (model_bytes(type_id=24), "Formats       I8, F32: not supported: I8"),
        (model_bytes("rwkv9"), "rwkv9: not supported; supported are afmoe,"),
        (
            model_bytes().replace(
                b.string("llama") + b.string("tokenizer.ggml.tokens"),
                b.string("t5xyz") + b.string("tokenizer.ggml.tokens"),
            ),
            "t5xyz: not supported: 't5xyz'",
        ),
        (model_bytes("llama", b.kv("odd", b.F32, math.nan)), "nan"),
        (b.gguf(), "Metadata\n  (none)"),
        (b.gguf([b.kv("general.architecture", b.U8, 3)]), "counted: metadata key general.architecture"),
        (
            model_bytes().replace(
                b.kv("llama.attention.head_count", b.U32, 4), b.kv("llama.attention.head_count", b.U32, 0)
            ),
            "a context cannot be counted: ",
        ),
        (
            model_bytes().replace(b.kv("llama.block_count", b.U32, 2), b.kv("llama.block_count", b.U32, 2**32 - 1)),
            "a context cannot be counted: ",
        ),
        (
            model_bytes().replace(b.kv("llama.block_count", b.U32, 2), b.kv("llama.block_count", b.F32, 0.5)),
            "a context cannot be counted: ",
        ),
    ],
    ids=[
        "format",
        "architecture",
        "tokenizer",
        "nan",
        "empty",
        "wrong type",
        "no heads",
        "many layers",
        "half a layer",
    ],
)
def test_show_what_cannot_be_run(home: Path, content: bytes, words: str) -> None:
    assert words in shown(home, content)
    facts(home, content)


def test_show_by_name(home: Path) -> None:
    with pytest.raises(StoreError, match="tiny is not here, and no address of it is known; `localllm pull tiny`"):
        invoke(show)
    (home / "tiny.gguf").write_bytes(model_bytes())
    for args in ([], ["tiny"], ["-m", "Tiny"]):
        assert "Architecture  llama" in invoke(show, *args).stdout
    with pytest.raises(UsageError, match="the model is given twice"):
        invoke(show, "tiny", "-m", "tiny")
    with pytest.raises(FileError, match="no such file"):
        invoke(show, "none.gguf")


def test_show_before_a_pull(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metadata, memory and room of a model that is not here; nothing of it is kept."""
    content = tiny_models.write(tmp_path / "llama.gguf", "llama").read_bytes()
    monkeypatch.setattr(counting, "free_memory", lambda mapped=0: Free(10**9 + counting._SPARE, "the machine"))
    monkeypatch.setattr(show, "_disk_free", lambda: 10**6)
    with serving({"/m.gguf": content}) as server:
        url = server.url + "/m.gguf"
        entry = dataclasses.replace(c.catalog().default, sources=(UrlSource(url),), fetched=False)
        monkeypatch.setattr(c, "catalog", lambda: c.Catalog(entry, {"tiny": entry}))
        text = invoke(show, "tiny").stdout
        found = json.loads(invoke(show, url, "-c", "512", "-o", "json").stdout)
    host = server.url.removeprefix("http://")
    assert f"File          {url} ({len(content) / 1e6:.1f} MB, GGUF version 3)\n" in text
    assert f"Here          no: the first 1.0 MB were read from {host}; we have never downloaded it ourselves\n" in text
    assert "Architecture  llama: supported\n" in text
    assert "Fits here     no, too little disk: 1.0 GB of memory and 1 MB of disk are free; the largest" in text
    path = tmp_path / "here.gguf"
    path.write_bytes(content)
    here = json.loads(invoke(show, str(path), "-c", "512", "-o", "json").stdout)
    assert {key: here[key] for key in ("here", "host", "read", "disk_free")} == {
        "here": True, "host": None, "read": None, "disk_free": None,
    }  # fmt: skip
    assert (found["host"], found["parts"], found["read"]) == (host, [len(content)], 1 << 20)
    same = ("memory", "support", "formats", "metadata", "n_params", "parts")
    assert {key: found[key] for key in same} == {key: here[key] for key in same}
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("free", "words"),
    [
        (10**5, "no, too little memory: 100 kB of memory are free\n"),
        (11 * 10**6, "no, too little memory: 11 MB of memory are free; the largest context that fits has "),
        (10**12, "yes: 1000.0 GB of memory are free; the largest context that fits has 4096 tokens (-c 4096)\n"),
    ],
)
def test_show_tells_whether_it_fits(free: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "free_memory", lambda mapped=0: Free(free + counting._SPARE, "the machine"))
    path = tiny_models.write(tmp_path / "llama.gguf", "llama")
    assert f"Fits here     {words}" in invoke(show, str(path)).stdout


def test_show_offline(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(StoreError, match="org/repo is not here, and HF_HUB_OFFLINE is set"):
        invoke(show, "org/repo")
    with pytest.raises(StoreError, match="'nothing' is neither a file nor"):
        invoke(show, "nothing")
