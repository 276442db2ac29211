"""Files that are mapped: what the system may do to them."""

import errno
import gc
import mmap
import os
import stat

import pytest

from localllm.errors import FileError
from localllm.gguf.mapped import MappedFile
from localllm.gguf.reader import open_gguf
from tests.gguf.test_hostile import GOOD


@pytest.fixture
def path(tmp_path):
    (tmp_path / "m.gguf").write_bytes(GOOD)
    return str(tmp_path / "m.gguf")


def n_open() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_file_that_cannot_be_mapped(path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(errno.ENODEV, "No such device")

    before = n_open()
    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(FileError, match=r"m\.gguf: cannot be mapped into memory: No such device"):
        MappedFile(path)
    assert n_open() == before


def test_a_file_that_becomes_a_directory_between_the_looks(path, tmp_path, monkeypatch):
    regular, before = os.stat(path), n_open()
    monkeypatch.setattr(os, "stat", lambda *_, **__: regular)
    with pytest.raises(FileError, match="is a directory, must be a regular file"):
        MappedFile(str(tmp_path))
    assert n_open() == before


def test_duplicates_are_of_the_open_file(path):
    with open_gguf(path) as file:
        (copy,) = file.duplicates()
        assert stat.S_ISREG(os.fstat(copy).st_mode)
        assert os.pread(copy, 4, 0) == b"GGUF"
        os.close(copy)
        os.utime(path, (1, 1))
        with pytest.raises(FileError, match="changed while in use"):
            file.duplicates()


def test_watched_once(path):
    file = MappedFile(path)
    file.watch()
    number = file._watched
    file.watch()
    assert file._watched == number
    file.close()


def test_what_is_closed_leaves_the_next_one_watched(path):
    """Also when it goes after that: numbers are used again."""
    first = MappedFile(path)
    first.watch()
    number = first._watched
    first.close()
    second = MappedFile(path)
    second.watch()
    assert second._watched == number
    del first
    gc.collect()
    third = MappedFile(path)
    third.watch()
    assert third._watched != number or number < 0
    second.close()
    third.close()


def test_what_the_system_says_of_a_file_that_was_open(path, monkeypatch):
    def fails(descriptor):
        raise OSError(errno.ESTALE, "Stale file handle")

    with open_gguf(path) as file:
        monkeypatch.setattr(os, "fstat", fails)
        with pytest.raises(FileError, match=r"m\.gguf: cannot be looked at any more: Stale file handle"):
            file.check_unchanged()
        monkeypatch.undo()


def test_closed_by_another_thread_while_it_is_looked_at(path, monkeypatch):
    file = MappedFile(path)

    def closes(descriptor):
        monkeypatch.undo()
        file.close()
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(os, "fstat", closes)
    with pytest.raises(FileError, match=r"m\.gguf: is closed$"):
        file.check_unchanged()


def test_a_page_that_could_not_be_read(path, monkeypatch):
    from localllm.kernels import faults

    file = MappedFile(path)
    file.watch()
    monkeypatch.setattr(faults, "is_hit", lambda number: number == file._watched)
    monkeypatch.setattr(file, "_watched", max(0, file._watched))  # where the system cannot watch, too
    with pytest.raises(FileError, match=r"m\.gguf: a part of it could not be read: the disk fails, or it was cut"):
        file.check_unchanged()
    monkeypatch.undo()
    file.close()
