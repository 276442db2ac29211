"""The reader on good files: every value type, lazy arrays, typed access, the same answers as the gguf package."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import gguf
import numpy as np
import pytest

from localllm.errors import FileError, FormatError
from localllm.gguf.reader import GGUFFile, open_gguf
from tests import tiny_models
from tests.gguf import build as b

REAL = Path.home() / ".cache/localllm-test-models/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"


def save(folder: Path, content: bytes) -> Path:
    path = folder / "model.gguf"
    path.write_bytes(content)
    return path


def opened(folder: Path, content: bytes) -> GGUFFile:
    return open_gguf(save(folder, content))


@pytest.mark.parametrize("version", [2, 3])
def test_every_value_type(tmp_path: Path, version: int) -> None:
    values = {
        b.U8: 255, b.I8: -128, b.U16: 65535, b.I16: -32768, b.U32: 2**32 - 1, b.I32: -(2**31), b.F32: 0.5,
        b.BOOL: True, b.STR: "zwölf", b.U64: 2**64 - 1, b.I64: -(2**63), b.F64: 1e300,
    }  # fmt: skip
    kvs = [b.kv(f"k{kind}", kind, value) for kind, value in values.items()]
    kvs += [b.array(f"a{kind}", kind, [value, value]) for kind, value in values.items()]
    with opened(tmp_path, b.gguf(kvs, version=version)) as file:
        assert file.version == version
        for kind, value in values.items():
            assert file.metadata[f"k{kind}"] == value
            assert type(file.metadata[f"k{kind}"]) is type(value)
            assert file.metadata[f"a{kind}"] == [value, value]
        assert list(file.metadata) == [f"k{k}" for k in values] + [f"a{k}" for k in values]


def test_nested_and_empty_arrays(tmp_path: Path) -> None:
    inner = b.pack("IQ", b.U8, 2) + b"\1\2"
    nested = b.string("n") + b.pack("IIQ", b.ARR, b.ARR, 2) + inner + inner
    with opened(tmp_path, b.gguf([nested, b.array("e", b.STR, []), b.array("f", b.BOOL, [])])) as file:
        assert file.metadata["n"] == [[1, 2], [1, 2]]
        assert file.metadata["e"] == file.metadata["f"] == []


def test_arrays_are_described_without_being_decoded(tmp_path: Path) -> None:
    with opened(tmp_path, b.gguf([b.array("a", b.STR, [b"\xff", "x"]), b.kv("s", b.U16, 3)])) as file:
        assert file.metadata.describe("a") == ("str", 2)
        assert file.metadata.describe("s") == ("u16", None)
        assert "a" in file.metadata
        with pytest.raises(FormatError, match=r"a, element 0: not UTF-8"):
            file.metadata["a"]


def test_typed_access(tmp_path: Path) -> None:
    kvs = [b.kv("i", b.I32, -5), b.kv("f", b.F32, 0.5), b.kv("s", b.STR, "x"), b.kv("b", b.BOOL, 1)]
    kvs += [b.array("ai", b.U16, [1, 2]), b.array("as", b.STR, ["p", "q"]), b.kv("nan", b.F32, math.nan)]
    with opened(tmp_path, b.gguf(kvs)) as file:
        assert (file.get("i", int), file.get("f", float), file.get("s", str), file.get("b", bool)) == (
            -5,
            0.5,
            "x",
            True,
        )
        assert isinstance(file.get("i", float), float)
        assert file.get("missing", int, None) is None
        assert file.get_array("missing", int, []) == []
        assert file.get_array("ai", int) == [1, 2]
        assert file.get_array("as", str) == ["p", "q"]
        for key, kind, problem in [
            ("missing", int, "missing: is missing"), ("s", int, ".x. .str., must be an integer"),
            ("b", int, "must be an integer"),
            ("i", bool, "must be a bool"), ("f", int, "must be an integer"), ("i", str, "-5 .i32., must be a string"),
            ("nan", float, "finite"), ("ai", int, "array of 2 × u16"), ("s", float, "must be a number"),
        ]:  # fmt: skip
            with pytest.raises(FormatError, match=problem) as caught:
                file.get(key, kind)
            assert file.path in str(caught.value)
        for key, kind in [("ai", str), ("as", int), ("i", int), ("missing", int), ("ai", float)]:
            with pytest.raises(FormatError, match=key):
                file.get_array(key, kind)


def test_same_as_gguf_package(tmp_path: Path) -> None:
    path = str(tmp_path / "model.gguf")
    rng = np.random.default_rng(7)
    arrays = {
        "token_embd.weight": rng.standard_normal((3, 64), dtype=np.float32),
        "half": rng.standard_normal((2, 5, 7)).astype(np.float16),
        "bytes": rng.integers(-9, 9, (33,), dtype=np.int8),
        "four": rng.standard_normal((2, 1, 3, 4), dtype=np.float32),
    }
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(64)
    writer.add_float32("llama.rope.freq_base", 1e4)
    writer.add_array("tokenizer.ggml.tokens", ["a", "ä", ""])
    writer.add_array("tokenizer.ggml.scores", [0.5, -1.5])
    writer.add_bool("flag", True)
    for name, array in arrays.items():
        writer.add_tensor(name, array)
    q8 = gguf.quants.quantize(arrays["token_embd.weight"], gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("q8", q8, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    oracle = gguf.GGUFReader(path)
    with open_gguf(path) as file:
        assert file.alignment == oracle.alignment == 64
        for key, field in oracle.fields.items():
            if not key.startswith("GGUF."):
                assert file.metadata[key] == field.contents()
        assert list(file.tensors) == [t.name for t in oracle.tensors]
        for theirs in oracle.tensors:
            ours = file.tensors[theirs.name]
            assert ours.shape == tuple(int(n) for n in theirs.shape)
            assert (ours.offset, ours.n_bytes, ours.n_elements) == (
                theirs.data_offset,
                theirs.n_bytes,
                theirs.n_elements,
            )
            assert ours.format.name == theirs.tensor_type.name
            raw = np.frombuffer(file.map(), np.uint8, ours.n_bytes, ours.offset)
            assert raw.tobytes() == theirs.data.tobytes()
            assert not raw.flags.writeable
            del raw


def test_formats_of_matrices_come_by_their_bytes(tmp_path: Path) -> None:
    """Vectors, and rows of one, are none."""
    path = tiny_models.write(tmp_path / "m.gguf", "llama", "Q8_0")
    with open_gguf(path) as file:
        assert file.matrix_formats() == ["q8_0"]
        assert {t.format.name for t in file.tensors.values()} == {"Q8_0", "F32"}


def test_views_outlive_close(tmp_path: Path) -> None:
    file = opened(tmp_path, b.gguf(tensors=[b.tensor()], data=bytes(range(128))))
    view = np.frombuffer(file.map(), np.uint8)
    file.close()
    file.close()
    assert view[-1] == 127
    with pytest.raises(FileError, match="is closed"):
        file.map()


def test_closed_before_arrays_were_read(tmp_path: Path) -> None:
    file = opened(tmp_path, b.gguf([b.array("a", b.U32, [1, 2]), b.array("s", b.STR, ["x"])]))
    file.close()
    for key in "as":
        with pytest.raises(FileError, match="closed before"):
            file.metadata[key]


def test_a_change_while_mapped_is_seen(tmp_path: Path) -> None:
    with opened(tmp_path, b.gguf(tensors=[b.tensor()], data=bytes(128))) as file:
        file.check_unchanged()
        os.truncate(file.path, 64)
        with pytest.raises(FileError, match="changed while in use"):
            file.check_unchanged()


def test_a_replaced_file_stays_as_it_was_opened(tmp_path: Path) -> None:
    with opened(tmp_path, b.gguf(tensors=[b.tensor()], data=bytes(128))) as file:
        other = tmp_path / "other"
        other.write_bytes(b"x")
        os.replace(other, file.path)
        file.check_unchanged()
        assert len(file.map()) == file.size


def test_no_descriptor_is_lost(tmp_path: Path) -> None:
    good, bad = b.gguf([b.kv("k", b.U8, 1)]), b.gguf([b.kv("k", b.U8, 1)], n_kv=2)
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("needs /proc")
    before = len(os.listdir(folder))
    opened(tmp_path, good).close()
    with pytest.raises(FormatError):
        opened(tmp_path, bad)
    assert len(os.listdir(folder)) == before


def test_reads_without_numpy(tmp_path: Path) -> None:
    path = save(tmp_path, b.gguf([b.kv("k", b.U8, 1)]))
    code = (
        "import sys; from localllm.gguf.reader import open_gguf; open_gguf(sys.argv[1]); print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_large_vocabulary_opens_fast(tmp_path: Path) -> None:
    words = [f"token {i}" for i in range(150_000)]
    path = save(tmp_path, b.gguf([b.array("t", b.STR, words), b.array("m", b.STR, words)]))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        open_gguf(path).close()
        times.append(time.perf_counter() - start)
    assert min(times) < 0.2
    with open_gguf(path) as file:
        assert file.metadata["t"] == words


@pytest.mark.real
@pytest.mark.skipif(not REAL.exists(), reason="the model is not there")
def test_the_1_1_gb_model_opens_fast() -> None:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        open_gguf(REAL).close()
        times.append(time.perf_counter() - start)
    assert min(times) < 0.2
