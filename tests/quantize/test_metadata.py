"""Metadata of files that are written: keys of the format and of the calibration, changes that a user asks for."""

import numpy as np
import pytest

from localllm.errors import UsageError
from localllm.quantize.calibration import Calibration
from localllm.quantize.imatrix import Entry, Imatrix
from localllm.quantize.metadata import with_calibration, with_changes, with_format
from localllm.quantize.source import Typed

OLD = {
    "general.name": Typed("old", "str"), "general.file_type": Typed(0, "u32"),
    "llama.rope.freq_base": Typed(1e4, "f32"),
    "tokenizer.ggml.add_bos_token": Typed(True, "bool"), "tokenizer.ggml.scores": Typed([0.0], "arr", "f32"),
    "llama.context_length": Typed(2048, "u64"),
}  # fmt: skip


def test_the_format_is_named():
    new = with_format(OLD, 15)
    assert (new["general.file_type"], new["general.quantization_version"]) == (Typed(15, "u32"), Typed(2, "u32"))
    assert {key: value for key, value in new.items() if key in OLD} == OLD | {"general.file_type": Typed(15, "u32")}


def test_the_calibration_is_named_as_llamacpp_names_it():
    entries = {"a": Entry(np.ones((1, 4), np.float32), np.array([1]))}
    new = with_calibration({}, "f.gguf", Calibration(Imatrix(entries, ("text.txt",), 12, 512)))
    assert new == {
        "quantize.imatrix.file": Typed("f.gguf", "str"), "quantize.imatrix.dataset": Typed("text.txt", "str"),
        "quantize.imatrix.entries_count": Typed(1, "u32"), "quantize.imatrix.chunks_count": Typed(12, "u32"),
    }  # fmt: skip
    assert set(with_calibration({}, "f", Calibration(Imatrix(entries)))) == {
        "quantize.imatrix.file", "quantize.imatrix.entries_count",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "key", "expected"),
    [
        ("general.name=a = b", "general.name", Typed("a = b", "str")),
        ("general.name=", "general.name", Typed("", "str")),
        ("llama.rope.freq_base=5e5", "llama.rope.freq_base", Typed(5e5, "f32")),
        ("llama.context_length=0x1000", "llama.context_length", Typed(4096, "u64")),
        ("tokenizer.ggml.add_bos_token=False", "tokenizer.ggml.add_bos_token", Typed(False, "bool")),
        ("tokenizer.ggml.scores=[1, 2.5]", "tokenizer.ggml.scores", Typed([1.0, 2.5], "arr", "f32")),
        ("new:i8=-128", "new", Typed(-128, "i8")),
        ("new:str=u32=1", "new", Typed("u32=1", "str")),
        ('new:arr:str=["a", "b"]', "new", Typed(["a", "b"], "arr", "str")),
        ("new:arr:bool=[true, false]", "new", Typed([True, False], "arr", "bool")),
        ("new:arr:u16=[]", "new", Typed([], "arr", "u16")),
        ("general.name:u32=3", "general.name", Typed(3, "u32")),
    ],
)
def test_changes(change, key, expected):
    assert with_changes(OLD, [change]) == OLD | {key: expected}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("general.name", "must be KEY=VALUE"),
        ("=1", "must be KEY=VALUE"),
        ("a\nb=1", "must be KEY=VALUE"),
        ("new=1", "new: the source has no such key: give its type, new:TYPE=VALUE"),
        ("new:u7=1", "there is no type 'u7'; types are u8, i8, .*and arr:TYPE"),
        ("new:arr:arr=[[1]]", "there is no type 'arr'"),
        ("llama.context_length=-1", "'-1' is no u64"),
        ("new:i8=128", "'128' is no i8"),
        ("new:u8=256", "'256' is no u8"),
        ("llama.rope.freq_base=1e39", "'1e39' is no f32"),
        ("llama.rope.freq_base=inf", "'inf' is no f32"),
        ("llama.rope.freq_base=fast", "'fast' is no f32"),
        ("tokenizer.ggml.add_bos_token=yes", "'yes' is no bool"),
        ("tokenizer.ggml.scores=1", "'1' is no JSON array"),
        ("tokenizer.ggml.scores=[", "is no JSON array"),
        ('tokenizer.ggml.scores=["a"]', "'a' is no f32"),
    ],
)
def test_changes_that_cannot_be(change, words):
    with pytest.raises(UsageError, match=words):
        with_changes(OLD, [change])
