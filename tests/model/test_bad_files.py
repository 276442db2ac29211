"""Files that are valid GGUF and yet cannot be run: one clear line, naming the key or the tensor."""

import dataclasses
from typing import Any

import gguf
import numpy as np
import pytest

import localllm
from localllm.errors import FormatError, LocalllmError, UnsupportedError
from localllm.gate import keys
from localllm.gguf.reader import open_gguf
from localllm.kernels import attention, experts
from localllm.kernels.cells import CODE_BITS
from localllm.kernels.simd.targets import ALL_TARGETS
from localllm.kernels.thread import SCRATCH_BYTES
from localllm.model import network
from localllm.model import weights as weights_module
from localllm.model.blocks.attention import Attention
from localllm.model.model import LoadedModel
from localllm.model.recorder import MATVEC_MAX_ROWS
from localllm.model.states.state import StateOptions
from localllm.model.weights import Weights
from tests import tiny_models
from tests.recorded import models


def without(name):
    return {k: v for k, v in tiny_models.weights("llama").items() if k != name}


CASES = {
    "missing tensor": (FormatError, "blk.1.ffn_down.weight", {"tensors": without("blk.1.ffn_down.weight")}),
    "wrong shape": (
        FormatError, r"blk.0.attn_q.weight.*\[256, 191\]",
        {"tensors": tiny_models.weights("llama") | {"blk.0.attn_q.weight": np.zeros((191, 256), np.float32)}},
    ),
    "tensor without a use": (
        UnsupportedError, "blk.0.ssm_a",
        {"tensors": tiny_models.weights("llama") | {"blk.0.ssm_a": np.zeros(6, np.float32)}},
    ),
    "more experts used than there are": (FormatError, "expert_used_count.*9", {"llama__expert_used_count": 9}),
    "scaling": (UnsupportedError, "rope.scaling.type.*dynamic", {"llama__rope__scaling__type": "dynamic"}),
    "odd rotation": (FormatError, "rope.dimension_count.*31", {"llama__rope__dimension_count": 31}),
    "no heads": (FormatError, "attention.head_count: is 0.*layer 0", {"llama__attention__head_count": 0}),
    "heads do not divide": (FormatError, "head_count_kv", {"llama__attention__head_count_kv": 5}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_refused(tmp_path, case, monkeypatch):
    error, match, change = CASES[case]
    if "llama__attention__head_count_kv" in change:
        d = tiny_models.dimensions("llama") | {"n_head_kv": change.pop("llama__attention__head_count_kv")}
        tensors = tiny_models.weights("llama")
        monkeypatch.setattr(tiny_models, "dimensions", lambda _: d)
        change["tensors"] = tensors
    path = tiny_models.write(tmp_path / "m.gguf", "llama", **change)
    with pytest.raises(error, match=match) as raised:
        LoadedModel.load(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("label", ["\x1b[2J", "7B\nok", "x" * 100])
def test_a_size_that_cannot_be_shown_is_not(tmp_path, label):
    path = tiny_models.write(tmp_path / "m.gguf", "llama", general__size_label=label)
    with LoadedModel.load(path) as model:
        size = model.description.split()[1]
        assert size.isalnum()
        assert len(size) < 10


@pytest.mark.parametrize(("stated", "shown"), [(15, "Q4_K_M"), (2**31, "F32"), (None, "F32")])
def test_the_file_type_is_told_where_there_is_one(tmp_path, stated, shown):
    changes = {} if stated is None else {"general__file_type": stated}
    with LoadedModel.load(tiny_models.write(tmp_path / "m.gguf", "llama", **changes)) as model:
        assert model.description.split()[2] == shown


def test_unknown_architecture(tmp_path):
    import gguf

    writer = gguf.GGUFWriter(str(tmp_path / "m.gguf"), "perceptron")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(UnsupportedError, match=r"'perceptron'.*llama"):
        LoadedModel.load(tmp_path / "m.gguf")


def test_heads_too_large_for_the_kernels_are_refused_by_name(tmp_path):
    limit = keys.MAX_HEAD
    assert attention.scratch_bytes(limit, limit) <= SCRATCH_BYTES
    for key in ("key_length", "value_length", "key_length_swa"):
        extra: dict[str, Any] = {f"llama__attention__{key}": limit + 1}
        path = tiny_models.write(tmp_path / "m.gguf", "llama", **extra)
        with pytest.raises(FormatError, match=rf"llama\.attention\.{key}: is {limit + 1}, must be 1 to {limit}"):
            LoadedModel.load(path)


SUPPRESS = "tokenizer.ggml.suppress_tokens"


def suppressing(path, name, ids):
    case = models.cases()[name]
    return models.write(path, dataclasses.replace(case, kv=case.kv | {SUPPRESS: ids}))


@pytest.mark.parametrize(
    ("ids", "match"),
    [
        ([0, models.N_VOCAB], f"holds {models.N_VOCAB}, must be 0 to {models.N_VOCAB - 1}"),
        ([5, -1], "holds -1, must be 0 to"),
        (list(range(models.N_VOCAB)), f"holds all {models.N_VOCAB} tokens"),
        (["a"], "must be an array of int"),
        (3, "must be an array of int"),
    ],
)
def test_suppressed_tokens_are_of_the_vocabulary(tmp_path, ids, match):
    with pytest.raises(FormatError, match=f"metadata key {SUPPRESS}: .*{match}"):
        LoadedModel.load(suppressing(tmp_path / "m.gguf", "llama", ids))


def test_suppressed_tokens_keep_their_logits(tmp_path):
    """As in llama.cpp, where the sampler alone knows the file's list."""
    case, ids = models.cases()["llama"], models.ids_of(20)
    with LoadedModel.load(models.write(tmp_path / "a.gguf", case)) as plain:
        assert plain.suppressed == ()
        exact = plain.logits(ids)
    with LoadedModel.load(suppressing(tmp_path / "b.gguf", "llama", [7, 3])) as model:
        assert model.suppressed == (7, 3)
        assert np.array_equal(model.logits(ids), exact)
    with LoadedModel.load(suppressing(tmp_path / "c.gguf", "chameleon", [1])) as model:
        assert model.suppressed == (*range(4, 8196), 1)


OF_INDEXER_AND_EXPERTS = {
    "indexer heads larger than scratch": ("attention.indexer.key_length", 4097, "is 4097, must be 16 to 4096"),
    "chunks of experts do not divide": ("experts_per_group", 3, "is 3, must divide expert_count, 4"),
}


@pytest.mark.parametrize("name", OF_INDEXER_AND_EXPERTS)
def test_sizes_of_indexers_and_experts(tmp_path, name):
    key, value, match = OF_INDEXER_AND_EXPERTS[name]
    case = models.cases()["minimax-m3"]
    path = models.write(tmp_path / "m.gguf", dataclasses.replace(case, kv=case.kv | {key: value}))
    with pytest.raises(FormatError, match=rf"minimax-m3\.{key}: {match}"):
        LoadedModel.load(path)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_vectors_are_followed_by_memory_that_kernels_may_load(tmp_path, dtype):
    """Whole vectors are loaded, and the file may end with the tensor."""
    tensors = {name: np.full(19, 1.5, dtype) for name in ("first", "last")} | {"between": np.zeros(256, np.float32)}
    tensors["last"] = tensors.pop("last")
    with open_gguf(tiny_models.write(tmp_path / "m.gguf", "llama", tensors=tensors)) as file:
        weights = Weights(file)
        start, end = weights._parts[0].ctypes.data, weights._parts[0].ctypes.data + file.size
        for name in ("first", "last"):
            w = weights.vector(name, 19)
            np.testing.assert_array_equal(weights.values(name, 19), np.float32(1.5))
            if start <= w.address < end:
                assert w.address + 4 * 19 + 256 <= end
                assert name == "first"
                assert dtype == np.float32
            else:
                array = weights._copies[name]
                assert array.base is not None
                assert array.base.nbytes >= array.nbytes + 256


def test_rows_that_scratch_cannot_hold_are_refused_by_name(tmp_path):
    """Matrix products unpack some rows of floats there; matrix-vector products arrange a few rows of activations."""
    most = weights_module._MAX_K
    assert 4096 + 4 * max(target.tile_rows for target in ALL_TARGETS) * most <= experts.BLOCK
    assert MATVEC_MAX_ROWS * 2 * most + 64 <= SCRATCH_BYTES
    tensors: dict[str, np.ndarray]
    tensors = {"long": np.zeros((1, most), np.float32), "longer": np.zeros((1, most + 1), np.float16)}
    with open_gguf(tiny_models.write(tmp_path / "m.gguf", "llama", tensors=tensors)) as file:
        weights = Weights(file)
        assert weights.matrix("long", most, 1).k == most
        with pytest.raises(UnsupportedError, match=f"longer: has rows of {most + 1} elements: in F16 at most {most}"):
            weights.matrix("longer", most + 1, 1)


@pytest.mark.parametrize("fmt", ["Q4_0", "Q4_K"])
def test_long_rows_of_codes_are_refused_by_name(tmp_path, fmt):
    most, kind = weights_module._MAX_K, gguf.GGMLQuantizationType[fmt]
    block, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    fits = most // block * block
    writer = gguf.GGUFWriter(str(tmp_path / "m.gguf"), "llama")
    for name, k in (("long", fits), ("longer", fits + block)):
        writer.add_tensor(name, np.zeros((1, k // block * n_bytes), np.uint8), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with open_gguf(tmp_path / "m.gguf") as file:
        weights = Weights(file)
        assert weights.matrix("long", fits, 1).k == fits
        with pytest.raises(
            UnsupportedError, match=f"longer: has rows of {fits + block} elements: in {fmt} at most {most}"
        ):
            weights.matrix("longer", fits + block, 1)


@pytest.mark.parametrize("name", ["token_types.weight", "position_embd.weight"])
def test_rows_to_add_that_scratch_cannot_hold_are_refused_by_name(tmp_path, name, monkeypatch):
    path = tiny_models.write(tmp_path / "m.gguf", "llama", tensors=tiny_models.weights("llama") | {
        name: np.zeros((1, 256), np.float32)
    })  # fmt: skip
    monkeypatch.setattr(network, "SCRATCH_BYTES", 1020)
    with pytest.raises(FormatError, match=r"embedding_length: is 256, must be at most .*, 255"):
        LoadedModel.load(path)


@pytest.mark.parametrize("name", ["deepseek2", "deepseek4", "glm5-next", "minimax-m3"])
def test_blocks_that_see_no_later_tokens_are_refused_by_name(tmp_path, name):
    case = models.cases()[name]
    path = models.write(tmp_path / "m.gguf", dataclasses.replace(case, kv=case.kv | {"attention.causal": False}))
    with pytest.raises(UnsupportedError, match=r"attention.* in both directions is not supported"):
        LoadedModel.load(path)


@pytest.mark.parametrize("kv_type", CODE_BITS)
def test_codes_in_the_cache_need_whole_groups(tmp_path, kv_type):
    path = tiny_models.write(tmp_path / "m.gguf", "llama")
    with LoadedModel.load(path, kv_type=kv_type) as model:
        block = model.network.mixers[0]
        assert isinstance(block, Attention)
        uneven = dataclasses.replace(block, v_dim=24)
        with pytest.raises(UnsupportedError, match=f"32 and 24 elements: kv_type {kv_type} needs"):
            uneven.states(StateOptions(64, 1, kv_type))


def test_file_that_changes_under_us(tmp_path):
    path = tiny_models.write(tmp_path / "m.gguf", "llama")
    with LoadedModel.load(path, n_ctx=64) as model:
        context = model.context()
        context.forward([1, 2])
        with open(path, "ab") as file:
            file.write(b"more")
        with pytest.raises(LocalllmError, match="changed"):
            context.forward([3])


@pytest.mark.parametrize(
    ("architecture", "kind", "told"),
    [
        ("llama", "adapter", "a LoRA adapter, not a model"),
        ("clip", "mmproj", "what a model sees or hears with"),
        ("controlvector", "model", "a control vector"),
    ],
)
def test_files_that_hold_no_model_are_told_apart(tmp_path, architecture, kind, told):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", architecture)
    writer.add_type(kind)
    writer.add_tensor("blk.0.attn_q.weight.lora_a", np.zeros((8, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UnsupportedError, match=told):
        localllm.load(tmp_path / "m.gguf")


def test_a_whole_model_runs_whatever_it_calls_itself(tmp_path):
    path = tiny_models.write(tmp_path / "m.gguf", "llama", general__type="adapter")
    assert np.isfinite(localllm.load(path).logits([1, 2])).all()
