"""Files that are mapped: what the system may do to them."""

import errno
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
