"""Importance matrices: both forms of llama.cpp's files, and Hessians beside them."""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter

from localllm.errors import FileError, FormatError
from localllm.quantize.calibration import Calibration
from localllm.quantize.hessians import NAMES, PARTS, STORED, Hessians, HessianWriter, Stored, beside, packed, unpacked
from localllm.quantize.imatrix import Entry, Imatrix, read_imatrix, write_imatrix

RNG = np.random.default_rng(3)
DENSE = Entry(RNG.random((1, 64), np.float32), np.array([7]))
EXPERTS = Entry(RNG.random((3, 32), np.float32), np.array([5, 0, 2]))
WHOLE = Imatrix({"blk.0.ffn_up.weight": DENSE, "blk.0.ffn_up_exps.weight": EXPERTS}, ("text.txt",), 3, 128)


def there(x: np.ndarray | None) -> np.ndarray:
    assert x is not None
    return x


def dat(*entries: tuple[str, int, np.ndarray], end: bytes = b"") -> bytes:
    out = struct.pack("<i", len(entries))
    for name, calls, sums in entries:
        out += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, sums.size)
        out += sums.astype("<f4").tobytes()
    return out + end


def test_written_and_read_again(tmp_path):
    write_imatrix(tmp_path / "i.gguf", WHOLE)
    again = read_imatrix(tmp_path / "i.gguf")
    assert (again.datasets, again.chunk_count, again.chunk_size) == (("text.txt",), 3, 128)
    assert list(again.entries) == sorted(WHOLE.entries)
    for name, entry in WHOLE.entries.items():
        assert np.array_equal(again.entries[name].sums, entry.sums)
        assert np.array_equal(again.entries[name].counts, entry.counts)
    assert os.listdir(tmp_path) == ["i.gguf"]


def test_mean_squares_as_llama_quantize_takes_them():
    calibration = Calibration(WHOLE)
    assert np.array_equal(there(calibration.importance("blk.0.ffn_up.weight")), DENSE.sums[0] / np.float32(7))
    experts = there(calibration.importance("blk.0.ffn_up_exps.weight"))
    assert experts.shape == (3, 32)
    assert np.array_equal(experts[2], EXPERTS.sums[2] / np.float32(2))
    assert np.array_equal(experts[1], np.ones(32, np.float32))
    assert calibration.importance("output.weight") is None
    assert calibration.hessian("blk.0.ffn_up.weight") is None


def test_one_count_for_several_matrices():
    calibration = Calibration(WHOLE)
    assert np.array_equal(
        there(calibration.importance("blk.0.ffn_up.weight", 16)), DENSE.sums.reshape(4, 16) / np.float32(7)
    )
    with pytest.raises(ValueError, match="64 columns"):
        calibration.importance("blk.0.ffn_up.weight", 10)


def test_old_form(tmp_path):
    path = tmp_path / "i.dat"
    sums = RNG.random(96).astype(np.float32)
    path.write_bytes(dat(("blk.0.ffn_up_exps.weight", 4, sums), end=struct.pack("<ii", 9, 3) + b"abc"))
    found = read_imatrix(path)
    assert (found.datasets, found.chunk_count) == (("abc",), 9)
    assert np.array_equal(there(Calibration(found).importance("blk.0.ffn_up_exps.weight", 32)), sums.reshape(3, 32) / 4)
    path.write_bytes(dat(("a", 4, sums)))
    assert read_imatrix(path).chunk_count == 0


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "past the end"), (b"\0\0\0\0", "holds no"), (struct.pack("<i", -1), "must be 0"),
        (dat(("a", 1, np.ones(9)))[:-5], "past the end"), (dat(("a", 1, -np.ones(9))), "negative"),
        (dat(("a", 1, np.full(9, np.nan))), "no numbers"), (dat(("a", 1, np.ones(0))), "no elements"),
        (dat(("a", 1, np.ones(9)), end=b"\1\0\0\0\7\0\0\0a"), "past the end"),
    ],
)  # fmt: skip
def test_damaged_old_form(tmp_path, content, error):
    path = tmp_path / "i.dat"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=error):
        read_imatrix(path)


def test_wrong_files(tmp_path):
    with pytest.raises(FileError, match="cannot be read"):
        read_imatrix(tmp_path / "none")
    with pytest.raises(FileError, match="cannot be written"):
        write_imatrix(tmp_path / "none" / "i.gguf", WHOLE)
    write_imatrix(tmp_path / "i.gguf", Imatrix({"a": Entry(np.full((1, 8), np.nan, np.float32), np.array([1]))}))
    with pytest.raises(FormatError, match="tensor a\\.in_sum2"):
        read_imatrix(tmp_path / "i.gguf")
    counts = np.array([1 << 63], np.uint64)
    write_imatrix(tmp_path / "i.gguf", Imatrix({"a": Entry(np.ones((1, 8), np.float32), counts)}))
    with pytest.raises(FormatError, match="tensor a\\.counts: has 9"):
        read_imatrix(tmp_path / "i.gguf")
    (tmp_path / beside("j.gguf")).write_bytes((tmp_path / "i.gguf").read_bytes())
    write_imatrix(tmp_path / "j.gguf", WHOLE)
    with pytest.raises(FormatError, match="not 'hessians'"):
        Calibration.open(tmp_path / "j.gguf")


def test_hessians_beside(tmp_path):
    names = ["blk.0.attn_q.weight", "blk.0.attn_k.weight"]
    x = RNG.standard_normal((20, 12)).astype(np.float32)
    y = RNG.standard_normal((2, 9, 7)).astype(np.float32)
    writer = HessianWriter(str(tmp_path / "c.hessians.gguf"), [Stored(names, 12), Stored(["experts"], 7, 2)], "x")
    writer.add([((x.T @ x)[None], np.array([20])), ((x[:5].T @ x[:5])[None], np.array([5]))])
    moments = np.stack([a.T @ a for a in y])
    writer.add([(moments, np.array([9, 9])), (0 * moments, np.array([0, 0]))])
    writer.close()
    write_imatrix(tmp_path / "c.gguf", WHOLE)
    with pytest.raises(FormatError, match="another calibration"):
        Calibration.open(tmp_path / "c.gguf")
    write_imatrix(tmp_path / "c.gguf", replace(WHOLE, identity="x"))
    with Calibration.open(tmp_path / "c.gguf") as calibration:
        assert calibration.has_hessians
        for name in names:
            assert np.array_equal(there(calibration.hessian(name)), (x.T @ x) / np.float32(20))
            assert np.array_equal(there(calibration.hessian(name, held_back=True)), (x[:5].T @ x[:5]) / np.float32(5))
        assert np.allclose(there(calibration.hessian("experts")), moments / 9)
        assert not there(calibration.hessian("experts", held_back=True)).any()
        second = there(calibration.hessian("experts", matrix=1))
        assert np.array_equal(second, there(calibration.hessian("experts"))[1])
        assert calibration.hessian_shape("experts") == (2, 7)
        assert calibration.hessian_shape(names[1]) == (1, 12)
        assert calibration.hessian_shape("output.weight") is None
        assert calibration.hessian("output.weight") is None


def test_second_moments_are_numbers(tmp_path):
    path = str(tmp_path / "c.hessians.gguf")
    writer = HessianWriter(path, [Stored(["a"], 2)], "x")
    writer.add([(np.full((1, 2, 2), value, np.float32), np.array([1])) for value in (1, np.nan)])
    writer.close()
    found = Hessians(path)
    assert np.array_equal(there(found.hessian("a")), np.ones((2, 2)))
    with pytest.raises(FormatError, match=r"tensor a\.hessian\.held_back: has elements"):
        found.hessian("a", held_back=True)
    found.close()


def test_parts_of_second_moments_have_one_shape(tmp_path):
    path = str(tmp_path / "c.hessians.gguf")
    writer = GGUFWriter(path, "none")
    for key, values in {NAMES: ["a"], STORED: ["a"]}.items():
        writer.add_array(key, values)
    writer.add_type("hessians")
    for part, n_elements in zip(PARTS, (10, 6), strict=True):
        writer.add_tensor(f"a.hessian{part}", np.ones((1, n_elements), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = Hessians(path)
    with pytest.raises(FormatError, match=r"tensor a\.hessian\.held_back"):
        found.hessian("a")
    found.close()


@pytest.mark.parametrize("k", [1, 2, 33])
def test_triangles(k):
    a = RNG.standard_normal((k, k)).astype(np.float32)
    assert np.array_equal(unpacked(packed(a + a.T), k), a + a.T)


def test_a_file_of_llamacpp():
    """Written by ggml as tools/imatrix/imatrix.cpp does it: of a matrix, and of three experts, one without rows."""
    found = read_imatrix(Path(__file__).parent / "recorded/imatrix.gguf")
    assert (found.datasets, found.chunk_count, found.chunk_size) == (("wiki.train.raw", "code.txt"), 5, 512)
    calibration = Calibration(found)
    assert np.array_equal(there(calibration.importance("blk.0.attn_q.weight")), np.arange(8, dtype=np.float32) / 5120)
    experts = there(calibration.importance("blk.0.ffn_down_exps.weight"))
    assert np.allclose(experts[1] * 1280, [3, 3.5, 4, 4.5])
    assert experts[2].tolist() == [1, 1, 1, 1]
