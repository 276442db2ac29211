"""Files of a prompt cache: whatever is wrong with one, it is refused before anything is believed; the folder's cap."""

import json
import os
import shutil
import struct
import time
import zlib
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest

from localllm.generate import saved_file, saved_folder
from localllm.generate.saved_file import DamagedError, Header
from localllm.generate.saved_folder import SavedFolder, make_private

KEY = "k" * 64
IDS = np.arange(7, dtype=np.int32)
PARTS = [np.arange(50, dtype=np.uint8), np.empty(0, np.uint8), np.full(33, 7, np.uint8)]
SIZES = [part.nbytes for part in PARTS]


def cells(name="n" * 32, start=3, parent="p" * 32):
    return Header(KEY, name, parent, start, start + len(IDS), written=-1)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    saved_file.write(path, cells(), IDS, PARTS, 10**18)
    return path


def refuses(path):
    with pytest.raises(DamagedError):
        saved_file.read(path, "n" * 32, SIZES)


def whole(path):
    return saved_file.read_header(path), saved_file.read(path, "n" * 32, SIZES)


def with_header(path, content=b"", **changes):
    """A file whose checksums are right and whose header lies."""
    said = asdict(cells()) | {"ids_crc": zlib.crc32(b""), "sizes": [], "checksums": [], "stop": 3} | changes
    text = json.dumps(said).encode()
    path.write_bytes(struct.pack("<8sII", saved_file.MAGIC, len(text), zlib.crc32(text)) + text + content)
    return path


def test_what_was_written_is_read(path):
    header, ids = saved_file.read_header(path)
    assert (header.key, header.start, header.stop, header.is_cells) == (KEY, 3, 10, True)
    assert ids.tolist() == IDS.tolist()
    again, parts = saved_file.read(path, "n" * 32, SIZES)
    assert again == header
    assert [part.tolist() for part in parts] == [part.tolist() for part in PARTS]
    status = path.stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o600, 10**18)
    assert os.listdir(path.parent) == ["file"]


def test_states_have_no_tokens(tmp_path):
    header = Header(KEY, "n" * 32, "", 5, 5, written=9)
    saved_file.write(tmp_path / "file", header, np.empty(0, np.int32), PARTS, 0)
    read, ids = saved_file.read_header(tmp_path / "file")
    assert (read.is_cells, read.written, len(ids)) == (False, 9, 0)


def test_a_changed_bit_anywhere_is_found(path):
    content = path.read_bytes()
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        with pytest.raises(DamagedError):
            whole(path)


def test_a_cut_or_longer_file_is_refused(path):
    content = path.read_bytes()
    for n in range(len(content)):
        path.write_bytes(content[:n])
        refuses(path)
    path.write_bytes(content + b"\0")
    refuses(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"sizes": [1 << 40], "checksums": [0]},
        {"sizes": [-1], "checksums": [0]},
        {"sizes": [True], "checksums": [0]},
        {"sizes": ["1"], "checksums": [0]},
        {"sizes": "1", "checksums": [0]},
        {"sizes": [0] * 5000, "checksums": [0] * 5000},
        {"sizes": [0], "checksums": []},
        {"sizes": [0.0], "checksums": [0]},
        {"start": -3},
        {"start": 9},
        {"stop": 1 << 30},
        {"start": 0, "stop": saved_file.MAX_TOKENS + 1},
        {"stop": None},
        {"written": "x"},
        {"key": 5},
        {"name": "x" * 1000},
        {"more": 1},
        {"ids_crc": 1},
    ],
    ids=str,
)
def test_a_header_that_lies_is_refused(tmp_path, changes):
    with pytest.raises(DamagedError):
        saved_file.read_header(with_header(tmp_path / "file", **changes))


@pytest.mark.parametrize("text", [b"[" * 60000, b"3", b"[]", b"{}", b"\xff\xfe", b"null", b'{"sizes":3,"checksums":3}'])
def test_a_header_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "file"
    path.write_bytes(struct.pack("<8sII", saved_file.MAGIC, len(text), zlib.crc32(text)) + text)
    with pytest.raises(DamagedError):
        saved_file.read_header(path)


def test_huge_parts_are_refused_before_they_are_allocated(tmp_path):
    """A sparse file may really be as long as it says."""
    path = with_header(tmp_path / "file", sizes=[1 << 43], checksums=[0])
    size = path.stat().st_size
    os.truncate(path, size + (1 << 43))
    assert saved_file.read_header(path)[0].sizes == (1 << 43,)
    refuses(path)


def test_links_pipes_and_folders_are_not_read(path):
    for make in (lambda p: p.symlink_to(path), os.mkfifo, os.mkdir):
        other = path.with_name("other")
        make(other)
        with pytest.raises((DamagedError, OSError)):
            saved_file.read_header(other)
        (os.rmdir if other.is_dir() and not other.is_symlink() else os.unlink)(other)
    assert path.exists()


def test_a_write_that_fails_leaves_what_was_there(path, monkeypatch):
    before = path.read_bytes()

    def full(_fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        saved_file.write(path, cells(start=5), IDS, PARTS, 0)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["file"]


# --- the folder


def fill(folder, limit, n, first=0, key=KEY, size=1000):
    saved = SavedFolder(folder, key, limit)
    part = [np.zeros(size, np.uint8)]
    for i in range(first, first + n):
        header = Header(key, f"{i:032}", "", 0, len(IDS), written=-1)
        assert saved.write(header, IDS, part, 10**18 + i)
    return saved


def test_the_longest_unused_go_first_whatever_their_key(tmp_path):
    limit = 20_000 + saved_file.MAX_HEADER
    fill(tmp_path, limit, 8)
    other = fill(tmp_path, limit, 8, 8, "q" * 64)
    one = SavedFolder(tmp_path, KEY, limit)
    assert one.touch(f"{2:032}", 2 * 10**18)
    fill(tmp_path, limit, 4, 100, "q" * 64)
    assert f"{2:032}" in one.names()
    assert len(one.names()) + len(other.names()) < 20
    assert f"{0:032}" not in one.names()
    assert f"{103:032}" in other.names()
    one.make_room(0)
    assert 0 < one.total <= limit
    assert not one.touch(f"{0:032}", 0)


def test_a_file_larger_than_the_cap_is_not_written(tmp_path):
    saved = fill(tmp_path, 100_000, 2)
    header = Header(KEY, "z" * 32, "", 0, len(IDS), written=-1)
    assert not saved.write(header, IDS, [np.zeros(100_000, np.uint8)], 0)
    assert len(saved.names()) == 2


def test_others_need_the_disk_more(tmp_path, monkeypatch):
    saved = fill(tmp_path, 1 << 30, 10)
    header = Header(KEY, "z" * 32, "", 0, len(IDS), written=-1)
    left = saved_folder.LEFT_FREE
    for free, kept in ((left + 10_000_000, 10), (left + 65_000, 9), (left - 3000, 6)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _path, free=free: SimpleNamespace(free=free))
        assert saved.make_room(0 if free < left else 65_536)
        assert len(saved.names()) == kept
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=0))
    with pytest.raises(OSError, match="nearly full"):
        saved.write(header, IDS, PARTS, 0)
    assert not saved.names()


def test_there_are_not_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(saved_folder, "MAX_FILES", 5)
    assert fill(tmp_path, 1 << 30, 9).names() == {f"{i:032}" for i in range(4, 9)}


def test_files_of_another_name_or_key_and_links_are_removed(tmp_path):
    saved = fill(tmp_path, 1 << 30, 1)
    name = f"{0:032}"
    file = saved._file(name)
    assert saved.header(name)
    moved = saved._file("m" * 32)
    moved.write_bytes(file.read_bytes())
    assert saved.header("m" * 32) is None
    assert not moved.exists()
    foreign = SavedFolder(tmp_path, KEY[:-1] + "x", 1 << 30)
    assert foreign.header(name) is None
    assert not file.exists()
    target = tmp_path / "target"
    target.write_bytes(b"mine")
    file.symlink_to(target)
    assert saved.header(name) is None
    assert saved.read(name, [1000]) is None
    assert not file.is_symlink()
    assert target.read_bytes() == b"mine"


def test_what_crashes_have_left_is_removed_later(tmp_path):
    saved = fill(tmp_path, 1 << 30, 1)
    old, young = tmp_path / ".a.1.part", tmp_path / ".b.2.part"
    for path in (old, young):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 3600,) * 2)
    strange = tmp_path / "notes.txt"
    strange.write_text("mine")
    saved.make_room(0)
    assert (old.exists(), young.exists(), strange.exists()) == (False, True, True)


def test_the_folder_is_the_users_alone(tmp_path, monkeypatch):
    folder = tmp_path / "a" / "b"
    make_private(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o770)
    with pytest.raises(PermissionError, match="others may write"):
        make_private(folder)
    folder.chmod(0o755)
    make_private(folder)
    monkeypatch.setattr(os, "getuid", lambda: 1 << 30)
    with pytest.raises(PermissionError):
        make_private(folder)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileExistsError):
        make_private(tmp_path / "file")


def test_where_the_folder_is(monkeypatch, tmp_path):
    monkeypatch.setenv("LOCALLLM_CACHE", str(tmp_path))
    assert saved_folder.default_folder() == tmp_path / "prompts"
    monkeypatch.delenv("LOCALLLM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert saved_folder.default_folder() == tmp_path / "xdg" / "localllm" / "prompts"
