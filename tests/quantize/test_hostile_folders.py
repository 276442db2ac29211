"""Damaged and hostile Hugging Face folders: one line that says what is wrong and where, never a traceback."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from localllm.cli.quantize import command
from localllm.errors import FileError, FormatError, LocalllmError, TokenizerError, UnsupportedError, UsageError
from localllm.quantize.sources import json_file, open_source
from tests.quantize.folder_tokenizers import write_json
from tests.quantize.folders import CASES, N_VOCAB, save, weights_of, write_folder


@pytest.fixture
def folder(tmp_path) -> Path:
    """One file of weights, byte-level BPE."""
    return write_folder(tmp_path / "model", CASES["qwen2"])


@pytest.fixture
def shards(tmp_path) -> Path:
    """Two files of weights and their index."""
    return write_folder(tmp_path / "model", CASES["llama3"])


def read_all(path: Path) -> None:
    source = open_source(str(path))
    assert source.metadata
    for name in source.tensors:
        source.read(name)


def change(path: Path, **values: Any) -> None:
    """Sets keys of a JSON file; None removes one."""
    found = json.loads(path.read_text(encoding="utf-8")) | values
    write_json(path, {key: value for key, value in found.items() if value is not None})


def damage(path: Path, header: dict[str, Any] | None = None, **changes: Any) -> None:
    """Rewrites the header of a safetensors file: all of it, or one tensor's entries by name."""
    data = path.read_bytes()
    n = int.from_bytes(data[:8], "little")
    found = json.loads(data[8 : 8 + n]) if header is None else header
    for name, entry in changes.items():
        found["model.norm.weight"] = found["model.norm.weight"] | {name: entry}
    head = json.dumps(found).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + data[8 + n :])


INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", 7, "x.bin", "a\0.safetensors"]
)
def test_an_index_names_files_of_the_folder_alone(shards, name):
    index = json.loads((shards / INDEX).read_text())
    index["weight_map"]["model.norm.weight"] = name
    write_json(shards / INDEX, index)
    with pytest.raises(
        FormatError, match=r"weight_map of model.norm.weight: is .*, must be the name of a safetensors file"
    ):
        read_all(shards)


def test_a_missing_shard_is_named(shards):
    (shards / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        FileError, match=r"model-00002-of-00002.safetensors: is missing, as .* names it \(1 files are\)"
    ):
        read_all(shards)


def test_an_index_that_lies_is_refused(shards):
    index = json.loads((shards / INDEX).read_text())
    index["weight_map"]["model.layers.0.extra.weight"] = "model-00001-of-00002.safetensors"
    write_json(shards / INDEX, index)
    with pytest.raises(FormatError, match=r"model.layers.0.extra.weight should be in model-00001"):
        read_all(shards)


def test_a_tensor_in_two_files_is_refused(shards):
    (shards / INDEX).unlink()
    first = shards / "model-00001-of-00002.safetensors"
    (shards / "model-00003-of-00002.safetensors").write_bytes(first.read_bytes())
    with pytest.raises(FormatError, match=r"the tensor .* is in .*model-00001.*, too"):
        read_all(shards)


@pytest.mark.parametrize("cut", [0, 7, 8, 100, -1])
def test_a_truncated_file_is_refused(folder, cut):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(FormatError, match=r"model.safetensors: not a whole safetensors file: .*; fetch it again"):
        read_all(folder)


@pytest.mark.parametrize(
    "entry",
    [
        {"data_offsets": [0, 128]},
        {"data_offsets": [1 << 40, (1 << 40) + 128]},
        {"data_offsets": [-128, 0]},
        {"data_offsets": []},
        {"shape": [1 << 62, 1 << 62]},
        {"shape": [-1]},
        {"shape": [63]},
        {"dtype": "F4097"},
    ],
)
def test_a_header_that_lies_is_refused(folder, entry):
    damage(folder / "model.safetensors", **entry)
    with pytest.raises(FormatError, match=r"model.safetensors: not a whole safetensors file"):
        read_all(folder)


def test_what_is_quoted_of_a_header_is_one_short_line(folder):
    damage(folder / "model.safetensors", dtype="\x1b[2J\n" + "F" * 5000)
    with pytest.raises(FormatError, match="not a whole safetensors file") as raised:
        read_all(folder)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 500


def test_a_header_that_claims_terabytes_is_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes((1 << 42).to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(FormatError, match="not a whole safetensors file"):
        read_all(folder)


def test_integers_are_no_weights(folder):
    weights: dict[str, np.ndarray] = dict(weights_of(CASES["qwen2"]))
    weights["model.norm.weight"] = np.ones(64, np.int32)
    save(folder / "model.safetensors", weights)
    with pytest.raises(FormatError, match=r"tensor model.norm.weight: is I32, which is not read: F32, F16, BF16 are"):
        read_all(folder)


def test_a_wrong_shape_is_named(folder):
    weights: dict[str, np.ndarray] = dict(weights_of(CASES["qwen2"]))
    weights["model.layers.1.mlp.up_proj.weight"] = np.zeros((96, 60), np.float32)
    save(folder / "model.safetensors", weights)
    with pytest.raises(FormatError, match=r"layers.1.mlp.up_proj.weight: its shape is \[96, 60\], must be \[96, 64\]"):
        read_all(folder)


def test_a_missing_tensor_is_named(folder):
    weights: dict[str, np.ndarray] = dict(weights_of(CASES["qwen2"]))
    del weights["model.layers.1.mlp.up_proj.weight"]
    save(folder / "model.safetensors", weights)
    with pytest.raises(FormatError, match=r"layer 1 has no ffn_up.weight"):
        read_all(folder)


@pytest.mark.parametrize(
    "name", ["model.layers.2.mlp.up_proj.weight", "model.layers.0.mlp.other.weight", "x", "lora_a"]
)
def test_a_tensor_of_another_model_is_named(folder, name):
    weights: dict[str, np.ndarray] = dict(weights_of(CASES["qwen2"]))
    save(folder / "model.safetensors", weights | {name: np.zeros((96, 64), np.float32)})
    with pytest.raises(UnsupportedError, match=f"the tensor {name} is in no qwen2 model of 2 layers"):
        read_all(folder)


def test_experts_are_all_there(tmp_path):
    folder = write_folder(tmp_path, CASES["mixtral"])
    weights: dict[str, np.ndarray] = dict(weights_of(CASES["mixtral"]))
    del weights["model.layers.1.block_sparse_moe.experts.1.w2.weight"]
    save(folder / "model.safetensors", weights)
    with pytest.raises(FormatError, match=r"blk.1.ffn_down_exps.weight has 2 experts, must have all of 3"):
        read_all(folder)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"architectures": None}, FormatError, "key architectures: must be a list"),
        (
            {"architectures": ["BertModel"]},
            UnsupportedError,
            "the class 'BertModel' is not converted; these are: Llama",
        ),
        ({"hidden_size": None}, FormatError, "key hidden_size: is missing"),
        ({"hidden_size": "64"}, FormatError, "key hidden_size: is '64', must be an integer from 1 to"),
        ({"hidden_size": -64}, FormatError, "key hidden_size: is -64, must be an integer"),
        (
            {"num_hidden_layers": 1 << 40},
            FormatError,
            "key num_hidden_layers: is .*, must be an integer from 1 to 4096",
        ),
        ({"num_attention_heads": 5}, FormatError, "num_attention_heads: is 5, must divide hidden_size, 64"),
        ({"rms_norm_eps": 10**400}, FormatError, "key rms_norm_eps: is 10+, must be a finite number"),
        ({"rms_norm_eps": 1e39}, FormatError, "key rms_norm_eps: is 1e\\+39, must be a finite number"),
        ({"rms_norm_eps": "small"}, FormatError, "key rms_norm_eps: is 'small', must be a finite number"),
        ({"rope_scaling": {"rope_type": "mystery"}}, UnsupportedError, "rope_type 'mystery' is not supported"),
        ({"rope_scaling": {"rope_type": "yarn"}}, FormatError, "key factor: is missing"),
        ({"rope_scaling": []}, FormatError, "key rope_scaling: must be an object"),
        ({"hidden_act": "relu"}, UnsupportedError, "key hidden_act: is 'relu', a qwen2 model has silu"),
        (
            {"vocab_size": N_VOCAB + 1},
            FormatError,
            r"embed_tokens.weight: its shape is \[320, 64\], must be \[321, 64\]",
        ),
    ],
)
def test_a_configuration_that_cannot_be_is_named(folder, values, error, message):
    change(folder / "config.json", **values)
    with pytest.raises(error, match=message):
        read_all(folder)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.json", "{", r"config.json: is no JSON"),
        ("config.json", "[" * 100_000, r"config.json: is nested too deeply"),
        ("config.json", "[]", r"config.json: holds list, must hold an object"),
        ("tokenizer.json", "\udcff", r"tokenizer.json: is no UTF-8 text \(byte 0\)"),
        ("README.md", "---\nlicense: &a [*a, *a\n---\n", r"README.md cannot be used"),
        ("generation_config.json", '{"temperature": "hot"}', r"key temperature: is 'hot', must be a finite number"),
        (
            "tokenizer_config.json",
            '{"bos_token": 7, "added_tokens_decoder": {"x": 1}}',
            r"added_tokens_decoder: holds 'x'",
        ),
    ],
)
def test_a_broken_file_is_named(folder, file, text, message):
    (folder / file).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(FormatError, match=message):
        read_all(folder)


def test_a_huge_file_is_not_read(folder, monkeypatch):
    monkeypatch.setattr(json_file, "MAX_BYTES", 1000)
    with pytest.raises(FormatError, match=r"is larger than 0 MB"):
        json_file.read_json(folder / "tokenizer.json", json_file.MAX_BYTES)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ({"vocab": {"a": N_VOCAB}}, TokenizerError, "token 'a': its id is 320; ids go from 0 to 319"),
        ({"vocab": {"a": -1}}, TokenizerError, "token 'a': its id is -1"),
        ({"vocab": {"a": "0"}}, TokenizerError, "token 'a': its id is '0'"),
        ({"vocab": ["a"]}, FormatError, "key vocab: must be an object"),
        ({"merges": [["a", "b", "c"]]}, TokenizerError, "must be a pair of tokens"),
        ({"merges": "a b"}, TokenizerError, "key merges: must be a list"),
        ({"type": "Unigram"}, UnsupportedError, "the tokenizer model 'Unigram' is not converted: BPE is"),
    ],
)
def test_a_vocabulary_that_cannot_be_is_refused(folder, model, error, message):
    found = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    write_json(folder / "tokenizer.json", found | {"model": found["model"] | model})
    with pytest.raises(error, match=message):
        read_all(folder)


def test_no_tokenizer_no_weights_no_configuration(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(FileError, match=r"holds no tokenizer.json and no tokenizer.model"):
        read_all(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UnsupportedError, match=r"pickles, which can run code and are not read"):
        read_all(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(FileError, match=r"holds no model\*.safetensors"):
        read_all(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileError, match=r"holds no config.json"):
        read_all(folder)


def test_without_safetensors_it_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(UnsupportedError, match=r"needs safetensors: pip install 'localllm\[convert\]'"):
        read_all(folder)


def test_an_unknown_pretokenizer_is_named_by_hand(folder):
    change(folder / "tokenizer.json", pre_tokenizer={"type": "Whitespace"})
    with pytest.raises(UnsupportedError, match="--pre NAME"):
        read_all(folder)
    assert open_source(str(folder), pre="qwen2").metadata["tokenizer.ggml.pre"].value == "qwen2"
    with pytest.raises(UsageError, match=r"there is no pre-tokenizer 'qwen'; there are .*qwen2"):
        open_source(str(folder), pre="qwen")


@pytest.mark.parametrize("case", ["qwen2", "mistral"])
def test_what_is_nested_deeply_never_gives_a_traceback(tmp_path, case):
    folder = write_folder(tmp_path, CASES[case])
    (folder / "tokenizer.model").unlink(missing_ok=True)
    path = folder / "tokenizer.json"
    text = path.read_text(encoding="utf-8")
    problems = []
    for key, inner in (("pre_tokenizer", "pretokenizers"), ("normalizer", "normalizers")):
        for depth in (100, 300, 450, 900, 100_000):
            deep = f'{{"type": "Sequence", "{inner}": [' * depth + '{"type": "NFC"}' + "]}" * depth
            path.write_text(json.dumps(json.loads(text) | {key: "NESTED"}).replace('"NESTED"', deep), encoding="utf-8")
            try:
                read_all(folder)
            except LocalllmError as error:
                problems.append(str(error))
    assert sum("nested too deeply" in problem for problem in problems) >= 4


def test_an_added_token_that_is_no_text_is_refused(tmp_path):
    folder = write_folder(tmp_path, CASES["mistral"])
    found = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    found["added_tokens"][0]["content"] = ["<s>"]
    write_json(folder / "tokenizer.json", found)
    read_all(folder)  # tokenizer.model goes first, and texts that are none match no special token
    (folder / "tokenizer.model").unlink()
    with pytest.raises(FormatError, match=r"key content: is \['<s>'\], must be a string"):
        read_all(folder)


def test_random_bytes_in_every_file_never_give_a_traceback(tmp_path):
    """Only LocalllmError, or a source that reads: what was hit may have been weights."""
    rng = np.random.default_rng(5)
    problems = []
    for i in range(60):
        folder = write_folder(tmp_path / str(i), CASES["llama3" if i % 2 else "mistral"])
        files = sorted(path for path in folder.iterdir() if path.is_file())
        path = files[i // 2 % len(files)]
        data = bytearray(path.read_bytes())
        for at in rng.integers(0, min(len(data), 3000), 3):
            data[at] = rng.integers(0, 256)
        path.write_bytes(bytes(data))
        try:
            read_all(folder)
        except LocalllmError as error:
            problems.append(str(error))
    assert len(problems) > 10
    assert not any("\n" in problem for problem in problems)


def test_the_command_says_it_in_one_line_and_leaves_nothing(shards, tmp_path):
    (shards / "model-00002-of-00002.safetensors").write_bytes(b"short")
    result = CliRunner().invoke(command, [str(shards), str(tmp_path / "out.gguf"), "F16"], standalone_mode=False)
    assert isinstance(result.exception, FormatError)
    assert not list(tmp_path.glob("*.gguf*"))
