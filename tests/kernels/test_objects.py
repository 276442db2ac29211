"""The object cache: machine code on disk, loaded without Numba, private, and made again when it is damaged."""

import os
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

import pytest

from localllm.errors import FileError, LocalllmError
from localllm.kernels import objects, sources
from localllm.kernels.objects import Key
from localllm.kernels.simd.targets import current
from tests.kernels import harness

SMALL = Key("activation", "gated", ("silu",))
"""A kernel that compiles in half a second."""

LOAD = (
    "import sys; from localllm.kernels import objects; "
    "key = objects.Key.parse('activation-gated-silu'); address = objects.load([key])[key]; "
)


@pytest.fixture
def cold(tmp_path, monkeypatch):
    """A cache of this test's own, and nothing loaded yet."""
    monkeypatch.setenv("LOCALLLM_CACHE", str(tmp_path))
    monkeypatch.setattr(objects, "folder", cache(objects.folder.__wrapped__))
    monkeypatch.setattr(objects, "_linker", cache(objects._Linker))
    return tmp_path


@pytest.fixture(scope="module")
def compiled() -> bytes:
    """The content of SMALL's file."""
    harness.addresses()
    return objects.path(SMALL).read_bytes()


def seed(content: bytes) -> Path:
    """Put a file into this test's cache."""
    path = objects.path(SMALL)
    path.write_bytes(content)
    return path


def test_a_warm_process_does_not_import_numba():
    harness.addresses()
    done = harness.python(current().name, "-c", LOAD + "print(address > 0, 'numba' in sys.modules)")
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_a_cold_process_leaves_numba_to_its_workers(cold):
    done = harness.python(
        current().name, "-c", LOAD + "print(address > 0, 'numba' in sys.modules)", LOCALLLM_CACHE=str(cold)
    )
    assert done.stdout.split() == ["True", "False"], done.stderr
    assert [p.name for p in objects.folder().iterdir()] == [objects.path(SMALL).name]


def read(path):
    """Symbol and code of a whole file."""
    found = objects._read(path)
    assert found is not None
    return found


DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:40],
    "a byte short": lambda content: content[:-1],
    "a bit flipped": lambda content: content[:500] + bytes([content[500] ^ 1]) + content[501:],
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_compiled_again(cold, compiled, damage):
    path = seed(DAMAGES[damage](compiled))
    assert objects.load([SMALL])[SMALL] > 0
    _, code = read(path)
    assert code[:4] == compiled[32:].partition(b"\n")[2][:4]


def test_a_whole_file_is_used(cold, compiled, monkeypatch):
    seed(compiled)
    monkeypatch.setattr(objects, "compile_all", lambda *_: pytest.fail("it compiled"))
    assert objects.load([SMALL])[SMALL] > 0


@pytest.mark.slow
def test_nothing_of_the_current_folder_is_run(cold, tmp_path, monkeypatch):
    """Somebody may be in a folder of files from anywhere, and call localllm there."""
    for name in ("re", "numba", "llvmlite"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('of the current folder')")
    monkeypatch.chdir(tmp_path)
    assert SMALL in objects.load([SMALL])


@pytest.mark.slow
def test_progress_counts_what_is_compiled(cold):
    seen = []
    keys = [SMALL, Key("activation", "gated", ("gelu",))]
    first = objects.load(keys, lambda done, total: seen.append((done, total)))
    assert seen == [(0, 2), (1, 2), (2, 2)]
    assert objects.load(keys, lambda *_: pytest.fail("nothing is left to compile")) == first


def test_the_folder_is_private(cold):
    assert objects.folder().stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o722])
def test_a_folder_that_others_may_enter_is_refused(cold, mode):
    objects.folder().chmod(mode)
    objects.folder.cache_clear()
    with pytest.raises(FileError, match=r"^[^\n]+ \(mode 0700\); [^\n]+LOCALLLM_CACHE$"):
        objects.load([SMALL])


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(cold):
    os.chown(objects.folder(), 65534, 65534)
    objects.folder.cache_clear()
    with pytest.raises(FileError, match="a folder that is yours alone"):
        objects.load([SMALL])


def test_a_link_to_a_folder_is_refused(cold):
    """Whoever made it chooses what runs."""
    place = objects.folder()
    place.rename(cold / "elsewhere")
    place.symlink_to(cold / "elsewhere")
    objects.folder.cache_clear()
    with pytest.raises(FileError, match="a folder that is yours alone"):
        objects.load([SMALL])


def test_a_cache_that_cannot_be_made_is_one_clear_line(cold, monkeypatch):
    (cold / "file").write_text("")
    monkeypatch.setenv("LOCALLLM_CACHE", str(cold / "file"))
    with pytest.raises(
        FileError, match=r"^[^\n]+: cannot make the folder for compiled kernels [^\n]+; set LOCALLLM_CACHE$"
    ):
        objects.load([SMALL])


@pytest.mark.slow
def test_two_processes_at_once(cold):
    command = [sys.executable, "-c", LOAD + "print(address > 0)"]
    environment = harness.environment(current().name, LOCALLLM_CACHE=str(cold))
    both = [
        subprocess.Popen(command, env=environment, cwd=harness.ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate()[0].strip() for process in both] == ["True", "True"]
    assert [p.name for p in objects.folder().iterdir()] == [objects.path(SMALL).name]


def test_a_kernel_that_cannot_be_compiled_ends_in_one_line_and_soon(cold):
    """Also when other workers could go on with what is left."""
    keys = [Key("activation", "gated", ("nonsense",)), SMALL, Key("norm", "rms")]
    errors: list[Exception] = []

    def load() -> None:
        try:
            objects.load(keys)
        except LocalllmError as error:
            errors.append(error)

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    thread.join(30)
    assert [str(e) for e in errors] == ["kernels could not be compiled: KeyError: 'nonsense'"]


@pytest.mark.slow
def test_old_folders_are_pruned_and_recent_ones_kept(cold):
    for i in range(6):
        folder = objects.root() / f"old-{i}"
        folder.mkdir(parents=True)
        os.utime(folder, (1e9 + i, 1e9 + i))
    (objects.root() / "recent").mkdir()
    objects.load([SMALL])
    assert {p.name for p in objects.root().iterdir()} == {objects.folder().name, "recent", "old-5", "old-4"}


def test_only_what_a_kernel_is_made_from_makes_it_stale():
    attention = sources.sources_of("attention", ("f16", 3))
    assert {"attention", "cells", "math", "thread", "simd.lowering", "simd.targets", "jit"} <= attention
    assert not {"matvec", "rope"} & attention
    matvec = sources.sources_of("matvec", ("iq2_xxs",))
    assert {"matvec_nibbles", "lanes", "formats", "formats.iq2_xxs", "formats.grids", "formats.signs"} <= matvec
    assert "formats.q4_k" not in matvec
    assert sources.digest("matvec", ("q4_k",)) != sources.digest("matvec", ("q5_k",))


@pytest.mark.slow
@pytest.mark.parametrize("written", [1e9, 4e9])
def test_files_of_older_sources_are_pruned(cold, written):
    """Not the one that was just compiled, though the clock was set back since the others were."""
    for i in range(5):
        old = objects.folder() / f"{SMALL}.{i:016x}.o"
        old.write_bytes(b"")
        os.utime(old, (written + i, written + i))
    objects.load([SMALL])
    names = {p.name for p in objects.folder().iterdir()}
    assert names == {objects.path(SMALL).name, f"{SMALL}.{3:016x}.o", f"{SMALL}.{4:016x}.o"}


def test_keys_are_names_of_files_and_back():
    for key in harness.KEYS:
        assert Key.parse(str(key)) == key
    assert len({str(key) for key in harness.KEYS}) == len(harness.KEYS)


def test_each_kernel_has_a_symbol_and_an_address_of_its_own():
    """Workers name code alike: one symbol for two kernels would make both the first."""
    addresses = harness.addresses()
    assert len(set(addresses.values())) == len(harness.KEYS)
    symbols = [read(objects.path(key))[0] for key in harness.KEYS]
    assert len(set(symbols)) == len(harness.KEYS)


@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF")
def test_no_kernel_calls_anything_outside_itself():
    harness.addresses()
    for key in harness.KEYS:
        outside = [name for name, section in harness.elf_symbols(read(objects.path(key))[1]) if section == 0]
        assert outside == [], str(key)


CALLS_OUT = """
import math
from localllm.kernels import objects
from localllm.kernels.jit import Compiler
from localllm.kernels.simd import f64, load, store
from localllm.kernels.simd.targets import current, host_features

def kernel(params, thread):
    store(params, math.gamma(load(f64, params)))

Compiler(current(), current().features(host_features())).compile(kernel, "calls-out")
"""


def test_a_kernel_that_calls_out_is_not_compiled():
    done = harness.python(current().name, "-c", CALLS_OUT)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("RuntimeError: kernel calls-out calls ")


def test_the_compiler_refuses_to_come_after_numba():
    done = harness.python(
        current().name, "-c", "import numba; from localllm.kernels import jit; jit.Compiler(jit.current(), '')"
    )
    assert done.stderr.splitlines()[-1] == "RuntimeError: numba was imported before its target was set"


def test_kernels_is_no_package_of_its_own():
    done = harness.python(current().name, "-c", "import kernels")
    assert done.stderr.splitlines()[-1].startswith("ImportError: import localllm.kernels")
