"""GGUF files as sources: values, types, parts, and what is refused."""

import gguf
import numpy as np
import pytest

from localllm.errors import FormatError, UnsupportedError
from localllm.kernels.formats.table import FORMATS
from localllm.quantize.source import SourceTensor, Typed, typed
from localllm.quantize.sources import open_source
from tests.gguf import build

X = np.array([[1.0, -2.5, 3.140625, 0.0, 65504.0, -1e-3, 7.0, 8.0]] * 4, np.float32)
X *= np.arange(1, 5, dtype=np.float32)[:, None] / 4
FLOATS: dict[str, np.ndarray] = {
    "F32": X.astype(np.float32),
    "F16": X.astype(np.float16),
    "BF16": (X.view(np.uint32) >> 16).astype(np.uint16),
    "F64": X.astype(np.float64),
}


def one(path, data, format):
    kind = FORMATS[format].id
    shape = data.shape[::-1]
    path.write_bytes(build.gguf([], [build.tensor("a.weight", shape, kind)], data.tobytes()))
    return str(path)


@pytest.mark.parametrize("format", FLOATS)
def test_floats_are_read_exactly(tmp_path, format):
    data = FLOATS[format]
    expected = (data.astype(np.uint32) << 16).view(np.float32) if format == "BF16" else data.astype(np.float32)
    source = open_source(one(tmp_path / "m.gguf", data, format))
    assert source.tensors["a.weight"] == SourceTensor("a.weight", (8, 4), format)
    np.testing.assert_array_equal(source.read("a.weight"), expected)
    np.testing.assert_array_equal(source.rows("a.weight", 1, 3), expected[1:3])
    np.testing.assert_array_equal(source.encoded("a.weight", FORMATS[format]), data.view(np.uint8))
    assert source.encoded("a.weight", FORMATS["Q8_0"]) is None
    source.close()


def test_quantized_tensors_are_read_only_on_request(tmp_path):
    raw = gguf.quants.quantize(np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 64), gguf.GGMLQuantizationType.Q8_0)
    path = tmp_path / "m.gguf"
    path.write_bytes(build.gguf([], [build.tensor("a.weight", (64, 2), FORMATS["Q8_0"].id)], raw.tobytes()))
    calls = []

    def decode(format, rows, k):
        calls.append((format.name, rows.tobytes(), k))
        return np.ones((len(rows), k), np.float32)

    with pytest.raises(UnsupportedError, match=r"m\.gguf: tensor a\.weight: is quantized already \(Q8_0\).*requantize"):
        open_source(str(path), decode).read("a.weight")
    assert open_source(str(path), decode, allow_requantize=True).read("a.weight").shape == (2, 64)
    assert calls == [("Q8_0", raw.tobytes(), 64)]


def test_experts_have_three_axes(tmp_path):
    data = np.arange(4 * 3 * 2, dtype=np.float32).reshape(2, 3, 4)
    source = open_source(one(tmp_path / "m.gguf", data, "F32"))
    np.testing.assert_array_equal(source.read("a.weight"), data)
    np.testing.assert_array_equal(source.rows("a.weight", 2, 5), data.reshape(6, 4)[2:5])


def test_metadata_keep_their_types(tmp_path):
    pairs = [build.kv("a", build.U8, 7), build.kv("b", build.F64, 0.1), build.kv("c", build.STR, "x")]
    pairs += [build.array("d", build.I16, [-1, 2]), build.array("e", build.STR, []), build.kv("f", build.BOOL, True)]
    pairs += [build.kv("split.no", build.U16, 0)]
    (tmp_path / "m.gguf").write_bytes(build.gguf(pairs))
    assert open_source(str(tmp_path / "m.gguf")).metadata == {
        "a": Typed(7, "u8"), "b": Typed(0.1, "f64"), "c": Typed("x", "str"), "d": Typed([-1, 2], "arr", "i16"),
        "e": Typed([], "arr", "str"), "f": Typed(True, "bool"),
    }  # fmt: skip


def part(folder, number, count, names, total=None):
    pairs = [build.kv("split.no", build.U16, number), build.kv("split.count", build.U16, count)]
    if total is not None:
        pairs.append(build.kv("split.tensors.count", build.I32, total))
    tensors = [build.tensor(name, (8,), 0, 32 * i) for i, name in enumerate(names)]
    data = np.arange(8 * len(names), dtype=np.float32) + 100 * number
    path = folder / f"m-{number + 1:05d}-of-{count:05d}.gguf"
    path.write_bytes(build.gguf(pairs, tensors, data.tobytes()))
    return path


def test_any_part_stands_for_all(tmp_path):
    paths = [part(tmp_path, 0, 2, ["a", "b"], 3), part(tmp_path, 1, 2, ["c"], 3)]
    for path in paths:
        source = open_source(str(path))
        assert list(source.tensors) == ["a", "b", "c"]
        assert source.files == [str(p) for p in paths]
        assert (source.read("b")[0], source.read("c")[0]) == (8.0, 100.0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, Typed(True, "bool")),
        (1, Typed(1, "u32")),
        (-1, Typed(-1, "i32")),
        (2**40, Typed(2**40, "u64")),
        (-(2**40), Typed(-(2**40), "i64")),
        (0.5, Typed(0.5, "f32")),
        ("a", Typed("a", "str")),
        ((1, 2), Typed([1, 2], "arr", "i32")),
        ([1, 2**31], Typed([1, 2**31], "arr", "u32")),
        ([True], Typed([True], "arr", "bool")),
    ],
)
def test_types_of_values(value, expected):
    assert typed(value) == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "NoneType"), ([], "empty"), ([1, "a"], "one type"), ([[1]], "arrays of arrays"), (2**64, "64 bits")],
)
def test_what_is_no_value(value, words):
    with pytest.raises(FormatError, match=words):
        typed(value)


def test_dimensions_of_length_one_at_the_end_do_not_count():
    assert [SourceTensor("a", shape, "F32").n_dims for shape in [(8,), (8, 1), (8, 1, 2), (1,)]] == [1, 1, 3, 1]
