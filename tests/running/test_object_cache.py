"""What may happen to the folder of compiled kernels, and to the processes that fill it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from localllm.errors import FileError, LocalllmError
from localllm.kernels import objects, workers
from localllm.kernels.objects import Key
from localllm.kernels.simd.targets import TARGETS
from tests.running.signals import processes_of

ROOT = Path(__file__).parents[2]
KEY, OTHER = Key("activation", "gated", ("silu",)), Key("activation", "gated", ("gelu",))
"""Each compiles in half a second."""
LOAD = (
    "import sys; from localllm.errors import LocalllmError; from localllm.kernels.objects import Key, load\n"
    "try: print(all(load(map(Key.parse, sys.argv[1:])).values()))\n"
    "except LocalllmError as error: sys.exit(f'{type(error).__name__}: {error}')\n"
)


def process(folder, *keys, **options):
    line = [sys.executable, "-c", LOAD, *map(str, keys)]
    environment = os.environ | {"LOCALLLM_CACHE": str(folder), "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(line, env=environment, stdout=pipe, stderr=pipe, text=True, **options)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The files of KEY and OTHER, in a cache that tests do not change."""
    folder = tmp_path_factory.mktemp("compiled")
    done = process(folder, KEY, OTHER)
    assert done.communicate(timeout=300) == ("True\n", "")
    return {path.name: path.read_bytes() for path in folder.rglob("*.o")}


@pytest.fixture
def cold(tmp_path, monkeypatch):
    """A cache of this test's own, and nothing loaded yet."""
    monkeypatch.setenv("LOCALLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(objects, "folder", cache(objects.folder.__wrapped__))
    monkeypatch.setattr(objects, "_linker", cache(objects._Linker))
    return tmp_path / "cache"


@pytest.fixture
def warm(cold, compiled, monkeypatch):
    """The same with the files of KEY and OTHER; what would be compiled is listed."""
    for name, content in compiled.items():
        (objects.folder() / name).write_bytes(content)
    asked: list[Key] = []

    def compile_all(keys, *_):
        asked.extend(keys)
        for key in keys:
            objects.path(key).write_bytes(compiled[objects.path(key).name])

    monkeypatch.setattr(objects, "compile_all", compile_all)
    return asked


@pytest.mark.slow
def test_any_byte_that_changed_is_noticed(warm):
    path = objects.path(KEY)
    content = path.read_bytes()
    for at in (*range(0, 120), *range(120, len(content), len(content) // 60)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x40]) + content[at + 1 :])
        assert objects._read(path) is None
        assert not path.exists()
    for end in (0, 1, 31, 32, 33, 100, len(content) - 1):
        path.write_bytes(content[:end])
        assert objects._read(path) is None
    path.write_bytes(content + b"\0")
    assert objects._read(path) is None
    assert all(objects.load([KEY, OTHER]).values())
    assert warm == [KEY]


@pytest.mark.slow
def test_kernels_that_have_changed_places_are_compiled_again(warm):
    """Each would be called with the other's parameters."""
    one, other = objects.path(KEY), objects.path(OTHER)
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])
    addresses = objects.load([KEY, OTHER])
    assert warm == [KEY, OTHER]
    assert addresses[KEY] != addresses[OTHER]
    assert (one.read_bytes(), other.read_bytes()) == contents


@pytest.mark.slow
def test_a_folder_that_can_only_be_read(warm, monkeypatch):
    """What lies there is used; damage is left."""
    objects.path(OTHER).write_bytes(b"damaged")

    def refuse(*_args, **_given):
        raise OSError(30, "Read-only file system")

    objects.folder.cache_clear()
    for name in ("utime", "unlink", "chmod"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    assert objects.load([KEY])[KEY]
    assert objects._read(objects.path(OTHER)) is None
    assert warm == []


def test_what_cannot_be_written_is_one_clear_line(cold, monkeypatch):
    path = objects.path(KEY)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(FileError, match=r"compiled kernels cannot be kept \(No space left on device\).*LOCALLLM_CACHE"):
        objects.write(path, b"content")
    assert not list(path.parent.iterdir())


def test_a_folder_that_was_removed_is_made_again(cold):
    path = objects.path(KEY)
    shutil.rmtree(cold)
    objects.write(path, b"content")
    assert path.read_bytes()[32:] == b"content"
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_nobody_else_may_write_around_it_whatever_the_umask(cold):
    before = os.umask(0)
    try:
        folder = objects.folder()
        assert folder.parent.stat().st_mode & 0o777 == 0o700
        folder.parent.chmod(0o777)  # as older versions left it
        objects.folder.cache_clear()
        objects.folder()
    finally:
        os.umask(before)
    assert folder.parent.stat().st_mode & 0o022 == 0


@pytest.mark.parametrize("name", ["relative", "with spaces and ümlauts", "line\nfeed", "~", "$HOME", "\udcff"])
def test_places_with_odd_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCALLLM_CACHE", name)
    folder = objects.folder.__wrapped__()
    assert folder.parent == tmp_path / name / "kernels"
    assert folder.is_dir()


def test_an_empty_variable_says_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("LOCALLLM_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tmp_path in objects.root().parents or sys.platform != "linux"


def test_a_user_without_a_home(monkeypatch):
    monkeypatch.delenv("LOCALLLM_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: Path("~/.cache/localllm"))
    with pytest.raises(FileError, match="set HOME or LOCALLLM_CACHE"):
        objects.root()


def test_files_may_go_while_others_are_looked_at(tmp_path):
    (tmp_path / "old").touch()
    (tmp_path / "new").touch()
    os.utime(tmp_path / "old", (1, 1))
    found = objects._by_age([tmp_path / "old", tmp_path / "gone", tmp_path / "new"])
    assert [path.name for _, path in found] == ["new", "old"]


@pytest.mark.parametrize(
    ("lines", "status", "kind", "words"),
    [
        ([], -signal.SIGKILL, LocalllmError, "ended by SIGKILL: the system does so when memory is short"),
        ([], -signal.SIGTERM, LocalllmError, "ended by SIGTERM"),
        ([], 0, LocalllmError, "without a word"),
        (["Traceback:", "localllm.errors.FileError: /x: no space"], 1, FileError, "^/x: no space$"),
        (["MemoryError\n"], 1, LocalllmError, "not enough memory for the compiler"),
        (["LLVM ERROR: out of memory"], -6, LocalllmError, "not enough memory for the compiler"),
    ],
)
def test_why_a_worker_failed(lines, status, kind, words):
    worker = object.__new__(workers._Worker)
    worker._process = SimpleNamespace(wait=lambda _: status)  # type: ignore[assignment]
    worker._errors, worker._listener = lines, SimpleNamespace(join=lambda _: None)  # type: ignore[assignment]
    error = worker.complaint()
    assert type(error) is kind or isinstance(error, kind)
    with pytest.raises(kind, match=words):
        raise error


def test_no_process_can_be_started(monkeypatch, tmp_path):
    def refuse(*_args, **_given):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(LocalllmError, match=r"no process for it can be started \(Resource temporarily unavailable\)$"):
        workers.compile_all(["a"], lambda _: False, tmp_path, None)


@pytest.mark.slow
def test_workers_compile_for_the_target_of_their_parent(cold, monkeypatch):
    """Even where the system permits them more: one that compiled for another would leave its kernels elsewhere."""
    generic = TARGETS["generic"]
    for module in (objects, workers):
        monkeypatch.setattr(module, "current", lambda: generic)
    monkeypatch.delenv("LOCALLLM_TARGET", raising=False)
    assert all(objects.load([KEY]).values())
    assert objects.path(KEY).is_relative_to(cold)
    assert objects.folder().name.startswith("generic-")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL])
def test_workers_end_with_their_parent(tmp_path, number):
    parent = process(tmp_path, KEY, OTHER, start_new_session=True)
    end = time.monotonic() + 60
    while len(processes_of(parent.pid)) < 2 and parent.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    parent.send_signal(number)
    parent.communicate(timeout=60)
    end = time.monotonic() + 30
    while left := processes_of(parent.pid):
        assert time.monotonic() < end, left
        time.sleep(0.05)
    again = process(tmp_path, KEY, OTHER)
    assert again.communicate(timeout=120) == ("True\n", "")


@pytest.mark.slow
def test_several_cold_processes_at_once(tmp_path, compiled):
    """Without locks: each is whole, whoever compiled it, and nothing is left beside it."""
    several = [process(tmp_path, KEY, OTHER) for _ in range(3)]
    assert [one.communicate(timeout=300) for one in several] == [("True\n", "")] * 3
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == set(compiled)
