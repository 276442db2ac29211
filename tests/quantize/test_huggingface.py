"""Hugging Face folders as sources: what llama.cpp's own conversion makes of them, and transformers' logits."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tokenizers

from localllm.kernels.formats.table import FORMATS
from localllm.model.model import LoadedModel
from localllm.quantize.source import Source, Typed
from localllm.quantize.sources import open_source
from localllm.text.tokenizer import load_tokenizer
from tests.quantize.folder_tokenizers import write_json
from tests.quantize.folders import CASES, IDS, weights_of, write_folder
from tests.quantize.gguf_file import write_gguf
from tests.quantize.record_conversions import RECORDED
from tests.tiny_models import nmse

EXPECTED = json.loads(RECORDED.read_text(encoding="utf-8"))
WITH_LOGITS = [name for name in CASES if "logits" in EXPECTED[name]]


@pytest.fixture
def source(request, tmp_path):
    """The source of a case, by its name."""
    # The folder's name is that of the recording: general.name comes from it.
    return open_source(str(write_folder(tmp_path / request.param, CASES[request.param])))


def described(source: Source) -> dict[str, Any]:
    """Keys and tensors in the form of conversion.py: long lists and data as hashes."""
    tensors = {
        name: [list(tensor.shape), tensor.format, short(stored(source, name))]
        for name, tensor in source.tensors.items()
    }
    return {"keys": {key: described_value(value) for key, value in source.metadata.items()}, "tensors": tensors}


def stored(source: Source, name: str) -> np.ndarray:
    """A tensor's bytes: as the source has them, or the nearest BF16 of what it computes."""
    tensor = source.tensors[name]
    raw = source.encoded(name, FORMATS[tensor.format])
    if raw is not None:
        return raw
    assert tensor.format == "BF16"
    bits = source.rows(name, 0, tensor.n_rows).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def described_value(value: Typed) -> list[Any]:
    kind = value.element or value.type
    items = value.value if value.type == "arr" else [value.value]
    if kind == "f32":
        items = [float(np.float32(x)) for x in items]
    if len(items) > 8:
        items = hashlib.sha256(json.dumps(items, ensure_ascii=False).encode()).hexdigest()[:16]
    return [f"{value.type} {value.element}".strip(), items if value.type == "arr" else items[0]]


def short(data: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("source", CASES, indirect=True)
def test_as_llamacpp_converts_it(source, request):
    """Every key with its type, every tensor with its shape, format and bytes."""
    found, expected = described(source), EXPECTED[request.node.callspec.params["source"]]
    assert found["keys"] == expected["keys"]
    assert found["tensors"] == expected["tensors"]


@pytest.mark.slow
@pytest.mark.parametrize("source", WITH_LOGITS, indirect=True)
def test_logits_are_those_of_transformers(source, request, tmp_path):
    expected = EXPECTED[request.node.callspec.params["source"]]["logits"]
    path = write_gguf(tmp_path / "m.gguf", source)
    with LoadedModel.load(path, n_ctx=64, n_threads=2, kv_type="f32") as model:
        logits = model.logits(IDS)[-1, : len(expected)]
    assert nmse(np.array(expected), logits) < 1e-6


@pytest.mark.parametrize("source", ["llama3", "mixtral", "gemma2"], indirect=True)
def test_reads_what_it_encodes(source):
    """`read`, `rows` and `encoded` agree; a row range reads the same numbers."""
    for name, tensor in source.tensors.items():
        x = source.read(name)
        assert x.dtype == np.float32
        assert x.shape == tensor.shape[::-1]
        rows = x.reshape(tensor.n_rows, tensor.k)
        cut = tensor.n_rows // 2
        parts = [source.rows(name, 0, cut), source.rows(name, cut, tensor.n_rows)]
        np.testing.assert_array_equal(np.concatenate(parts), rows)
        raw = source.encoded(name, FORMATS["F32"])
        assert (raw is not None) == (tensor.format == "F32")
        if raw is not None:
            np.testing.assert_array_equal(raw.view(np.float32), rows)
        if tensor.format == "BF16":
            raw = source.encoded(name, FORMATS["BF16"])
            assert raw is not None
            np.testing.assert_array_equal(raw.view(np.uint16), rows.view(np.uint32) >> 16)
            assert source.encoded(name, FORMATS["F16"]) is None


def test_norms_of_gemma_are_shifted(tmp_path):
    case = CASES["gemma3"]
    source = open_source(str(write_folder(tmp_path, case)))
    norm = weights_of(case)["model.layers.1.self_attn.q_norm.weight"]
    np.testing.assert_array_equal(source.read("blk.1.attn_q_norm.weight"), norm + np.float32(1))
    assert source.encoded("blk.1.attn_q_norm.weight", FORMATS["BF16"]) is None


def test_vocabulary_of_tokenizer_json_alone_is_the_same_tokenizer(tmp_path):
    """Scores from the ranks of merges encode texts as SentencePiece's own scores do."""
    case = CASES["mistral"]
    metadata = []
    for kind in ("sentencepiece", "blocks"):
        folder = write_folder(tmp_path / kind, replace(case, vocabulary=kind))
        metadata.append({key: value.value for key, value in open_source(str(folder)).metadata.items()})
    first, second = (load_tokenizer(each) for each in metadata)
    assert first is not None
    assert second is not None
    assert metadata[0]["tokenizer.ggml.tokens"] == metadata[1]["tokenizer.ggml.tokens"]
    assert metadata[0]["tokenizer.ggml.scores"] != metadata[1]["tokenizer.ggml.scores"]
    for text in ("the brown dogs jump, then 12345 of them", "Zwölf Sylter überqueren\n den  Deich 🦊", "", " ", "aaaa"):
        assert first.encode(text) == second.encode(text)


@pytest.mark.parametrize("prepends", [True, False])
def test_it_encodes_as_the_tokenizers_package_does(prepends, tmp_path):
    folder = write_folder(tmp_path, replace(CASES["mistral"], vocabulary="blocks"))
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    if not prepends:
        del tokenizer["normalizer"]["normalizers"][0]
        write_json(path, tokenizer)
    metadata = {key: value.value for key, value in open_source(str(folder)).metadata.items()}
    assert metadata.get("tokenizer.ggml.add_space_prefix", True) == prepends
    ours, theirs = load_tokenizer(metadata), tokenizers.Tokenizer.from_file(str(path))
    assert ours is not None
    for text in ("the brown dogs jump, then 12345 of them", "Zwölf Sylter überqueren\n den  Deich 🦊", "aaaa", "quick"):
        assert list(ours.encode(text, add_special=False)) == theirs.encode(text, add_special_tokens=False).ids


def test_every_expert_is_in_its_place(tmp_path):
    case = CASES["mixtral"]
    source, weights = open_source(str(write_folder(tmp_path, case))), weights_of(case)
    for letter, name in (("1", "gate"), ("2", "down"), ("3", "up")):
        expected = [weights[f"model.layers.1.block_sparse_moe.experts.{x}.w{letter}.weight"] for x in range(3)]
        np.testing.assert_array_equal(source.read(f"blk.1.ffn_{name}_exps.weight"), np.stack(expected))


def test_matrices_of_bitnet_are_ternary(tmp_path):
    """Of any rows: each is -d, 0 or d, with the d of the whole matrix."""
    case = CASES["bitnet"]
    source, weights = open_source(str(write_folder(tmp_path, case))), weights_of(case)
    up = weights["model.layers.1.mlp.up_proj.weight"]
    d = np.abs(up).mean()
    x = source.rows("blk.1.ffn_up.weight", 10, 20)
    np.testing.assert_allclose(x, np.clip(np.rint(up[10:20] / d), -1, 1) * d, rtol=1e-6)
    assert len(np.unique(np.abs(x))) == 2
    np.testing.assert_array_equal(source.read("token_embd.weight"), weights["model.embed_tokens.weight"])
