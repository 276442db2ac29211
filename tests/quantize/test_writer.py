"""Files that are written: what stands in them, how they are split, and that nothing is left of those that fail."""

import resource

import gguf
import numpy as np
import pytest

from localllm.errors import FileError, FormatError
from localllm.gguf.reader import open_gguf, open_header
from localllm.kernels.formats.table import FORMATS
from localllm.quantize import writer
from localllm.quantize.source import Typed
from localllm.quantize.sources import open_source
from localllm.quantize.writer import Planned, shard_paths, written

METADATA = {
    "general.architecture": Typed("llama", "str"), "a": Typed(255, "u8"), "b": Typed(-(2**62), "i64"),
    "c": Typed(0.5, "f64"), "d": Typed("", "str"), "e": Typed(["x", "", "yz"], "arr", "str"),
    "f": Typed([], "arr", "i32"), "g": Typed([1.5, -2.0], "arr", "f32"), "h": Typed(False, "bool"),
    "i": Typed([True, False], "arr", "bool"), "j": Typed([2**63], "arr", "u64"),
}  # fmt: skip
TENSORS = [
    Planned("a.weight", (64, 3), FORMATS["Q8_0"]), Planned("b.weight", (5,), FORMATS["F32"]),
    Planned("c.weight", (32, 2, 2), FORMATS["Q4_0"]),
]  # fmt: skip


def data(tensor):
    return np.frombuffer(np.random.default_rng(tensor.n_bytes).bytes(tensor.n_bytes), np.uint8)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_can_be_written(tmp_path, format):
    write(tmp_path / "m.gguf", [Planned("a.weight", (512, 2), FORMATS[format])])
    with open_gguf(tmp_path / "m.gguf") as file:
        assert file.tensors["a.weight"].format == FORMATS[format]


def bytes_of(source, tensor):
    raw = source.encoded(tensor.name, tensor.format)
    return raw.tobytes()


def write(path, tensors=TENSORS, given=None, **options):
    with written(str(path), METADATA, tensors, **options) as output:
        for tensor in given or tensors:
            output.write(tensor.name, data(tensor))


def test_metadata_and_tensors_are_what_was_given(tmp_path):
    write(tmp_path / "m.gguf")
    source = open_source(str(tmp_path / "m.gguf"))
    assert source.metadata == METADATA
    assert [t.shape for t in source.tensors.values()] == [t.shape for t in TENSORS]
    for tensor in TENSORS:
        assert bytes_of(source, tensor) == data(tensor).tobytes()
    fields = gguf.GGUFReader(tmp_path / "m.gguf").fields
    assert [fields[key].types[0].name for key in "ab"] == ["UINT8", "INT64"]
    assert list(tmp_path.iterdir()) == [tmp_path / "m.gguf"]


def test_a_tensor_may_come_in_pieces(tmp_path):
    write(tmp_path / "whole.gguf")
    with written(str(tmp_path / "pieces.gguf"), METADATA, TENSORS) as output:
        for tensor in TENSORS:
            for piece in np.array_split(data(tensor), 3):
                output.write(tensor.name, piece)
    assert (tmp_path / "pieces.gguf").read_bytes() == (tmp_path / "whole.gguf").read_bytes()


def test_alignment_is_that_of_the_metadata(tmp_path):
    with written(str(tmp_path / "m.gguf"), {"general.alignment": Typed(128, "u32")}, TENSORS) as output:
        for tensor in TENSORS:
            output.write(tensor.name, data(tensor))
    with open_gguf(tmp_path / "m.gguf") as file:
        assert all(info.offset % 128 == 0 for info in file.tensors.values())
        assert bytes(file.map()[file.tensors["b.weight"].offset :][:20]) == data(TENSORS[1]).tobytes()


@pytest.mark.parametrize("alignment", [Typed(48, "u32"), Typed(0, "u32"), Typed(32, "u64"), Typed(1 << 30, "u32")])
def test_alignments_that_cannot_be(tmp_path, alignment):
    with (
        pytest.raises(FormatError, match=r"general\.alignment: is .*must be (a power of two|u32)"),
        written(str(tmp_path / "m.gguf"), {"general.alignment": alignment}, TENSORS),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


class TestParts:
    def test_names_and_keys_are_llamacpps(self, tmp_path):
        path = tmp_path / "m.gguf"
        n = TENSORS[0].n_bytes
        names = [f"m-0000{i}-of-00002.gguf" for i in (1, 2)]
        assert shard_paths(str(path), TENSORS, n + 21) == [str(tmp_path / name) for name in names]
        write(path, split_max_size=n + 21)
        assert sorted(p.name for p in tmp_path.iterdir()) == names
        for number, name in enumerate(names):
            content = (tmp_path / name).read_bytes()
            metadata = open_header(content, len(content), name).metadata
            assert [metadata[f"split.{key}"] for key in ("no", "count", "tensors.count")] == [number, 2, 3]
            assert [metadata.describe(f"split.{key}")[0] for key in ("no", "tensors.count")] == ["u16", "i32"]
            assert len(metadata) == (3 if number else len(METADATA) + 3)
        source = open_source(str(tmp_path / names[1]))
        assert source.metadata == METADATA
        assert bytes_of(source, TENSORS[2]) == data(TENSORS[2]).tobytes()

    @pytest.mark.parametrize("alignment", [8, 64, 4096])
    def test_each_part_has_the_alignment(self, tmp_path, alignment):
        metadata = METADATA | {"general.alignment": Typed(alignment, "u32")}
        with written(str(tmp_path / "m.gguf"), metadata, TENSORS, 1) as output:
            for tensor in TENSORS:
                output.write(tensor.name, data(tensor))
        with open_gguf(tmp_path / "m-00001-of-00003.gguf") as file:
            assert [header.alignment for header in file.headers] == [alignment] * 3
            for tensor in TENSORS:
                assert bytes(file.data(file.tensors[tensor.name])) == data(tensor).tobytes()
                assert file.tensors[tensor.name].offset % alignment == 0

    def test_each_tensor_may_have_a_part_of_its_own(self, tmp_path):
        assert len(shard_paths("m.gguf", TENSORS, 1)) == 3
        assert shard_paths("m.gguf", TENSORS, 10**6) == ["m.gguf"]
        assert shard_paths("m.gguf", [], 10**6) == ["m.gguf"]


class TestFailures:
    def test_nothing_is_left_after_an_exception(self, tmp_path):
        (tmp_path / "m.gguf").write_bytes(b"old")

        def tensors():
            yield TENSORS[0]
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "m.gguf", TENSORS, tensors())
        assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]

    def test_a_tensor_that_was_forgotten_or_is_out_of_turn(self, tmp_path):
        with pytest.raises(ValueError, match="was not written"), written(str(tmp_path / "m"), METADATA, TENSORS):
            pass
        with (
            pytest.raises(ValueError, match=r"next are 20"),
            written(str(tmp_path / "m"), METADATA, TENSORS[1:]) as out,
        ):
            out.write("c.weight", data(TENSORS[2]))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("parts", [0, 1])
    def test_a_full_disk(self, tmp_path, parts):
        large = [Planned(f"{name}.weight", (1024, 64), FORMATS["F32"]) for name in "abcdefgh"]
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            with pytest.raises(FileError, match=r"m.*\.gguf: cannot be written: File too large"):
                write(tmp_path / "m.gguf", large, split_max_size=parts)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert list(tmp_path.iterdir()) == []

    def test_too_little_space_is_seen_before(self, tmp_path):
        huge = [Planned("a.weight", (1 << 30, 1 << 20), FORMATS["F32"])]
        with pytest.raises(FileError, match=r"needs 4,503,599,627 MB, .* has [\d,]+ MB free"):
            write(tmp_path / "m.gguf", huge)
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(FileError, match=r"none/m\.gguf: cannot be written: No such file or directory"):
            write(tmp_path / "none" / "m.gguf")

    def test_an_unknown_type(self, tmp_path):
        with (
            pytest.raises(FormatError, match="metadata key x: type u7"),
            written(str(tmp_path / "m.gguf"), {"x": Typed(1, "u7")}, []),
        ):
            pass


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Typed("\ud800", "str"), r"key x: '\\ud800' cannot be written as str"),
        (Typed(["a", "\ud800"], "arr", "str"), "key x: an element cannot be written as str"),
        (Typed(1e39, "f32"), r"key x: 1e\+39 cannot be written as f32"),
        (Typed(1 << 32, "u32"), "key x: 4294967296 cannot be written as u32"),
        (Typed([1, 1 << 31], "arr", "i32"), "key x: an element cannot be written as i32"),
    ],
)
def test_values_that_their_types_do_not_hold(tmp_path, value, words):
    with pytest.raises(FormatError, match=words), written(str(tmp_path / "m.gguf"), {"x": value}, []):
        pass
    assert list(tmp_path.iterdir()) == []


def test_pieces_wait_for_one_another(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_AHEAD", 1)
    write(tmp_path / "m.gguf")
    assert open_source(str(tmp_path / "m.gguf")).metadata == METADATA
