"""Split models: opened as one by any part's name, and refused where the parts do not belong together."""

import contextlib
import os
from pathlib import Path

import pytest

from localllm.errors import FileError, FormatError, LocalllmError, UnsupportedError
from localllm.gate.files import MAX_PARTS
from localllm.gguf.reader import join_headers, open_gguf, open_header
from localllm.gguf.split import part_names
from tests.gguf import build as b

ARCHITECTURE = b.kv("general.architecture", b.STR, "llama")


def content(number=0, count=2, names=("t",), total=None, more=(), version=3, split=True) -> bytes:
    """A part whose tensors are of 32 floats."""
    pairs = [b.kv("split.no", b.U16, number), b.kv("split.count", b.U16, count)] if split else []
    if total is not None:
        pairs.append(b.kv("split.tensors.count", b.I32, total))
    rows = [b.tensor(name, offset=128 * i) for i, name in enumerate(names)]
    data = b"".join(bytes([65 + number % 3]) * 128 for _ in names)
    return b.gguf([*pairs, *more], rows, data, version=version)


def write(folder: Path, *parts: bytes, stem: str = "m", count: int | None = None) -> list[Path]:
    paths = [folder / f"{stem}-{i + 1:05d}-of-{count or len(parts):05d}.gguf" for i in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(part)
    return paths


def refused(path: Path | str) -> str:
    with pytest.raises((FileError, FormatError, UnsupportedError)) as caught:
        open_gguf(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def good(folder: Path) -> list[Path]:
    return write(folder, content(0, 3, ["a", "b"], 4, [ARCHITECTURE]), content(1, 3, ["c"], 4), content(2, 3, ["d"], 4))


def test_any_part_stands_for_all(tmp_path):
    paths = good(tmp_path)
    for path in paths:
        with open_gguf(path) as file:
            assert file.path == str(paths[0])
            assert file.paths == tuple(map(str, paths))
            assert file.size == sum(path.stat().st_size for path in paths)
            assert list(file.tensors) == ["a", "b", "c", "d"]
            assert [info.part for info in file.tensors.values()] == [0, 0, 1, 2]
            assert [bytes(file.data(info))[:2] for info in file.tensors.values()] == [b"AA", b"AA", b"BB", b"CC"]
            assert file.get("general.architecture", str) == "llama"
            assert file.map(1) == paths[1].read_bytes()


def test_a_first_part_with_metadata_alone(tmp_path):
    paths = write(tmp_path, content(0, 2, [], 1, [ARCHITECTURE]), content(1, 2, ["a"], 1))
    with open_gguf(paths[1]) as file:
        assert list(file.tensors) == ["a"]
        assert file.get("general.architecture", str) == "llama"


def test_links_into_a_folder_of_blobs(tmp_path):
    """The Hugging Face cache: the names of the links count."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    links = []
    for i, part in enumerate((content(0, 2, ["a"]), content(1, 2, ["b"]))):
        (blobs / f"{i:064x}").write_bytes(part)
        links.append(snapshot / f"m-0000{i + 1}-of-00002.gguf")
        links[-1].symlink_to(Path("../../blobs") / f"{i:064x}")
    with open_gguf(links[1]) as file:
        assert file.paths == tuple(map(str, links))
        assert list(file.tensors) == ["a", "b"]
    assert "its name must end in -00001-of-00002.gguf" in refused(blobs / f"{0:064x}")


@pytest.mark.parametrize("count", [0, 1])
def test_what_was_merged_again_is_a_whole_file(tmp_path, count):
    """llama.cpp's gguf-split leaves split.count at 0."""
    path = tmp_path / "m-00001-of-00002.gguf"
    path.write_bytes(content(0, count, ["a"], 1))
    with open_gguf(path) as file:
        assert file.paths == (str(path),)


def test_relative_paths(tmp_path, monkeypatch):
    good(tmp_path)
    monkeypatch.chdir(tmp_path)
    with open_gguf("m-00002-of-00003.gguf") as file:
        assert file.path == "m-00001-of-00003.gguf"


def test_a_part_that_changes_or_is_closed(tmp_path):
    paths = good(tmp_path)
    with open_gguf(paths[0]) as file:
        before = file.identity
        file.check_unchanged()
        os.utime(paths[2], ns=(1, 1))
        with pytest.raises(FileError, match=r"m-00003-of-00003\.gguf: changed while in use"):
            file.check_unchanged()
    with open_gguf(paths[0]) as file:
        assert file.identity != before
        assert len(file.identity) == 15
    with pytest.raises(FileError, match="is closed"):
        file.map(2)


def test_files_are_closed_whatever_happens(tmp_path):
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    paths = good(tmp_path)
    before = open_files()
    with open_gguf(paths[0]):
        assert open_files() > before
    assert open_files() == before
    paths[2].write_bytes(content(1, 3))
    for path in paths:
        refused(path)
    assert open_files() == before


def test_headers_of_parts_that_lie_elsewhere(tmp_path):
    headers = [open_header(path.read_bytes()[:-100], path.stat().st_size, path.name) for path in good(tmp_path)]
    whole = join_headers(headers)
    assert (whole.path, list(whole.tensors), whole.has_data) == ("m-00001-of-00003.gguf", ["a", "b", "c", "d"], False)
    assert whole.size == sum(header.size for header in headers)
    with pytest.raises(FormatError, match=r"split\.no: is 1, must be 0"):
        join_headers([headers[1], headers[0], headers[2]])
    with pytest.raises(FormatError, match=r"split\.count: is 3, must be 2"):
        join_headers(headers[:2])


def test_names_of_parts():
    assert part_names("a/m-00002-of-00003.gguf") == tuple(f"a/m-0000{i}-of-00003.gguf" for i in (1, 2, 3))
    assert part_names("m-00001-of-00001.gguf") == ("m-00001-of-00001.gguf",)
    assert len(part_names(f"m-00001-of-{MAX_PARTS:05d}.gguf")) == MAX_PARTS
    for name in (
        "m.gguf", "m-00000-of-00003.gguf", "m-00004-of-00003.gguf", "m-00001-of-00000.gguf", "m-1-of-3.gguf", "",
        f"m-00001-of-{MAX_PARTS + 1:05d}.gguf", "m-00001-of-00003.gguf.part", "m-00001-of-00003.bin",
    ):  # fmt: skip
        assert part_names(name) == (name,)


class TestRefused:
    """Each names the file, what is wrong, and what must be."""

    def test_missing_parts(self, tmp_path):
        paths = good(tmp_path)
        paths[1].unlink()
        for named in (paths[0], paths[2]):
            assert refused(named) == f"{paths[1]}: is missing: {named} is one of 3 parts of a model"
        paths[0].unlink()
        assert refused(paths[2]) == f"{paths[0]}: is missing, with 1 more: {paths[2]} is one of 3 parts of a model"

    def test_a_link_to_a_blob_that_is_not_there_yet(self, tmp_path):
        paths = good(tmp_path)
        paths[1].unlink()
        paths[1].symlink_to(tmp_path / "blobs" / "none")
        assert refused(paths[0]).startswith(f"{paths[1]}: is missing")

    @pytest.mark.parametrize("count", [MAX_PARTS + 1, 65535])
    def test_too_many(self, tmp_path, count):
        (path,) = write(tmp_path, content(0, count), count=count)
        assert f"split.count: is {count}, must be 0 to {MAX_PARTS}" in refused(path)

    @pytest.mark.parametrize(
        ("key", "kind", "value", "words"),
        [
            ("split.count", b.I32, -1, "split.count: is -1, must be 0 to"),
            ("split.count", b.U64, 2**64 - 1, "split.count: is 18446744073709551615, must be 0 to"),
            ("split.count", b.STR, "3", "split.count: is '3' (str), must be an integer"),
            ("split.count", b.STR, "../../x", "split.count: is '../../x' (str), must be an integer"),
            ("split.count", b.F32, 2.0, "split.count: is 2.0 (f32), must be an integer"),
        ],
    )
    def test_impossible_counts(self, tmp_path, key, kind, value, words):
        (path,) = write(tmp_path, b.gguf([b.kv(key, kind, value), b.kv("split.no", b.U16, 0)]), count=2)
        assert words in refused(path)

    @pytest.mark.parametrize("number", [2, 65535])
    def test_impossible_numbers(self, tmp_path, number):
        paths = write(tmp_path, content(0), content(number))
        assert f"{paths[1]}: metadata key split.no: is {number}, must be 0 to 1" in refused(paths[0])

    def test_a_number_that_is_missing_or_no_number(self, tmp_path):
        for key, words in ((b"", "split.no: is missing"), (b.kv("split.no", b.STR, "1"), "split.no: is '1' (str)")):
            pairs = [b.kv("split.count", b.U16, 2), *([key] if key else [])]
            paths = write(tmp_path, content(0), b.gguf(pairs))
            assert words in refused(paths[0])

    def test_parts_in_each_others_place(self, tmp_path):
        paths = write(tmp_path, content(1, names=["a"]), content(0, names=["b"]))
        assert refused(paths[1]) == f"{paths[0]}: metadata key split.no: is 1, must be 0 by its name"

    def test_one_blob_under_two_names(self, tmp_path):
        paths = write(tmp_path, content(0), b"")
        paths[1].unlink()
        paths[1].symlink_to(paths[0])
        assert refused(paths[0]) == f"{paths[1]}: metadata key split.no: is 0, must be 1 by its name"

    def test_a_part_of_another_cut(self, tmp_path):
        paths = write(tmp_path, content(0, 2), content(1, 3))
        assert refused(paths[0]) == f"{paths[1]}: metadata key split.count: is 3, must be 2 by its name"
        paths = write(tmp_path, content(0, 2), content(split=False))
        assert f"{paths[1]}: metadata key split.count: is 1, must be 2" in refused(paths[0])

    def test_names_that_say_nothing(self, tmp_path):
        for name in ("x.gguf", "m-00001-of-00003.gguf", "m-00003-of-00002.gguf"):
            (tmp_path / name).write_bytes(content(0, 2))
            words = f"{tmp_path / name}: is one of 2 parts of a model: its name must end in -00001-of-00002.gguf"
            assert refused(tmp_path / name) == words

    def test_tensors_that_occur_twice(self, tmp_path):
        paths = write(tmp_path, content(0, 3, ["a"]), content(1, 3, ["b"]), content(2, 3, ["b"]))
        assert refused(paths[0]) == f"{paths[2]}: tensor b: also stands in {paths[1]}"

    def test_too_few_or_too_many_tensors(self, tmp_path):
        for stated in (1, 5, -1):
            paths = write(tmp_path, content(0, 2, ["a"], 2), content(1, 2, ["b"], stated))
            words = f"{paths[1]}: metadata key split.tensors.count: is {stated}, the parts hold 2 tensors"
            assert refused(paths[0]) == words

    def test_another_models_part(self, tmp_path):
        other = b.kv("general.architecture", b.STR, "qwen2")
        paths = write(tmp_path, content(0, more=[ARCHITECTURE]), content(1, names=["b"], more=[other]))
        words = f"metadata key general.architecture: is 'qwen2', must be 'llama': as {paths[0]} is"
        assert refused(paths[1]) == f"{paths[1]}: {words}"

    def test_another_version_or_alignment(self, tmp_path):
        paths = write(tmp_path, content(0), content(1, names=["b"], version=2))
        assert refused(paths[0]) == f"{paths[1]}: version: is 2, must be 3: as {paths[0]} is"
        paths = write(tmp_path, content(0), content(1, names=["b"], more=[b.kv("general.alignment", b.U32, 16)]))
        words = f"metadata key general.alignment: is 16, must be 32: as {paths[0]} is"
        assert refused(paths[0]) == f"{paths[1]}: {words}"

    def test_a_part_that_is_cut(self, tmp_path):
        paths = write(tmp_path, content(0, names=["a"]), content(1, names=["b"]))
        whole = paths[1].read_bytes()
        for length in range(len(whole)):
            paths[1].write_bytes(whole[:length])
            assert refused(paths[0]).startswith(f"{paths[1]}: ")

    def test_parts_that_are_no_files(self, tmp_path):
        paths = write(tmp_path, content(0), b"")
        for make, words in (
            (lambda path: path.mkdir(), "is a directory"),
            (os.mkfifo, "is a pipe"),
            (lambda path: path.symlink_to("/dev/zero"), "is a device"),
        ):
            paths[1].unlink() if not paths[1].is_dir() else paths[1].rmdir()
            make(paths[1])
            assert refused(paths[0]).startswith(f"{paths[1]}: {words}")
        paths[1].unlink()
        paths[1].symlink_to(paths[1])
        assert refused(paths[0]).startswith(f"{paths[1]}: is missing")

    def test_no_file_names_another(self, tmp_path):
        """What the metadata say is never part of a path."""
        secret = tmp_path / "secret-00002-of-00002.gguf"
        secret.write_bytes(content(1, names=["b"]))
        folder = tmp_path / "models"
        folder.mkdir()
        name = b.kv("general.name", b.STR, "../secret")
        path = folder / "m-00001-of-00002.gguf"
        path.write_bytes(content(0, more=[name, b.kv("split.prefix", b.STR, "../secret")]))
        assert refused(path).startswith(f"{folder}/m-00002-of-00002.gguf: is missing")


def test_mutated_parts_end_in_our_errors_alone(tmp_path):
    paths = good(tmp_path)
    for path in paths:
        whole = path.read_bytes()
        for at in range(24, len(whole) - 256, 3):
            for value in (0, 0x7F, 0x80, 0xFF):
                path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
                with contextlib.suppress(LocalllmError):
                    open_gguf(paths[1]).close()
        path.write_bytes(whole)
