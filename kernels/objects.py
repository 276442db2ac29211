"""The object cache: machine code of compiled kernels on disk, loaded without Numba.

A folder per (target, features, versions), of mode 0700 and owned by the user; a file per kernel and state of its
sources: its symbol, a newline, its object code. What is missing is compiled by worker processes that run `jit`.
"""

from __future__ import annotations

import hashlib
import os
import queue
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from pathlib import Path

from localllm.errors import FileError, LocalllmError

from .simd.targets import current, host_features
from .sources import digest

Progress = Callable[[int, int], None]

_KEPT_FOLDERS = 4
_KEPT_VERSIONS = 3
"""Of one kernel: as its sources were lately, or are in other installations."""


@dataclass(frozen=True)
class Key:
    """Names a kernel: the function that `factory` of a module in kernels/ makes for these arguments."""

    module: str
    factory: str
    arguments: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        return "-".join((self.module, self.factory, *map(str, self.arguments)))

    @staticmethod
    def parse(text: str) -> Key:
        module, factory, *arguments = text.split("-")
        return Key(module, factory, tuple(int(a) if a.isdigit() else a for a in arguments))

    def resolve(self) -> Callable:
        """The kernel as a plain Python function."""
        return getattr(import_module(f"{__package__}.{self.module}"), self.factory)(*self.arguments)


def root() -> Path:
    """The folder of all object code: LOCALLLM_CACHE, or the user's cache folder."""
    chosen = os.environ.get("LOCALLLM_CACHE")
    if chosen:
        return Path(chosen) / "kernels"
    from platformdirs import user_cache_path

    return user_cache_path("localllm", appauthor=False) / "kernels"


@cache
def folder() -> Path:
    """This process's folder, made if need be, private to the user: what lies there is executed."""
    target = current()
    versions = f"{metadata.version('numba')} {metadata.version('llvmlite')} {sys.version_info[:2]}"
    kind = hashlib.sha256(f"{target} {target.features(host_features())} {versions}".encode())
    path = root() / f"{target.name}-{kind.hexdigest()[:24]}"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise FileError(
            f"{path}: cannot make the folder for compiled kernels ({error.strerror}); set LOCALLLM_CACHE"
        ) from error
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077):
        raise FileError(
            f"{path}: compiled kernels need a folder that is yours alone (mode 0700); remove it, or set LOCALLLM_CACHE"
        )
    os.utime(path)
    return path


def path(key: Key) -> Path:
    """The file of a kernel as its sources are now."""
    return folder() / f"{key}.{digest(key.module, key.arguments)}.o"


def write(path: Path, content: bytes) -> None:
    """Put a file in place whole, or not at all. A digest in front tells a damaged one."""
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(hashlib.sha256(content).digest() + content)
    try:
        part.replace(path)
    except PermissionError:  # Windows does not replace a file that is open: another process reads the same kernel
        if not path.exists():
            raise
        part.unlink()


def _read(path: Path) -> tuple[str, bytes] | None:
    """Symbol and object code, or None where there is no whole file."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        path.unlink(missing_ok=True)
        return None
    symbol, _, code = content[32:].partition(b"\n")
    return symbol.decode(), code


class _Linker:
    """Places object code in executable memory. Kernels stay loaded for the life of the process."""

    def __init__(self) -> None:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self._llvm = llvm
        machine = llvm.Target.from_default_triple().create_target_machine()
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        self._lock = threading.Lock()
        self.addresses: dict[Key, int] = {}

    def add(self, found: dict[Key, tuple[str, bytes]]) -> None:
        with self._lock:
            for _, code in found.values():
                self._engine.add_object_file(self._llvm.ObjectFileRef.from_data(code))
            self._engine.finalize_object()
            for key, (symbol, _) in found.items():
                self.addresses[key] = self._engine.get_function_address(symbol)


_linker = cache(_Linker)


def load(keys: Iterable[Key], progress: Progress | None = None) -> dict[Key, int]:
    """Addresses of kernels, compiled first where the cache has none; progress(done, total) counts the compiled ones.

    Raises FileError when the cache cannot be written, LocalllmError when a kernel cannot be compiled.
    """
    wanted = dict.fromkeys(keys)
    linker = _linker()
    fresh = [k for k in wanted if k not in linker.addresses]
    found = {k: content for k in fresh if (content := _read(path(k)))}
    missing = [k for k in fresh if k not in found]
    if missing:
        _compile(missing, progress)
        found |= {k: content for k in missing if (content := _read(path(k)))}
        if len(found) < len(fresh):
            raise LocalllmError(
                f"{folder()}: compiled kernels are not there; were the sources changed meanwhile? Start again"
            )
        _prune(missing)
    if found:
        linker.add(found)
    return {k: linker.addresses[k] for k in wanted}


def _compile(keys: list[Key], progress: Progress | None) -> None:
    """Compile in several worker processes; each takes the next kernel when it has finished one."""
    waiting: queue.SimpleQueue[Key] = queue.SimpleQueue()
    for key in keys:
        waiting.put(key)
    done: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()
    workers = [_Worker(waiting, done) for _ in range(min(len(keys), _n_workers()))]
    try:
        if progress:
            progress(0, len(keys))
        for finished in range(1, len(keys) + 1):
            # A worker that fails takes its kernel with it: no other will do that one.
            if broken := done.get():
                raise LocalllmError(f"kernels could not be compiled: {broken.complaint()}")
            if progress:
                progress(finished, len(keys))
    finally:
        for worker in workers:
            worker.stop()


def _n_workers() -> int:
    return max(1, min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8))


class _Worker:
    """A process that compiles one kernel after another, and the thread that feeds it."""

    def __init__(self, waiting: queue.SimpleQueue[Key], done: queue.SimpleQueue[_Worker | None]) -> None:
        """To `done` go None for each kernel that is in the cache, and the worker itself when it fails."""
        package_root = str(Path(import_module("localllm").__file__ or "").parent.parent)
        paths = [package_root, os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in paths if p)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.jit"], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._feed, args=(waiting, done), daemon=True),
            threading.Thread(target=self._listen, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _feed(self, waiting: queue.SimpleQueue[Key], done: queue.SimpleQueue[_Worker | None]) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # both are pipes: for mypy
        assert stdout is not None
        try:
            while True:
                key = waiting.get_nowait()
                stdin.write(f"{key}\n")
                stdin.flush()
                if stdout.readline().strip() != str(key):
                    done.put(self)
                    return
                done.put(None)
        except queue.Empty:
            stdin.close()
        except OSError:
            done.put(self)

    def _listen(self) -> None:
        stderr = self._process.stderr
        assert stderr
        self._errors.extend(stderr)

    def complaint(self) -> str:
        self._readers[1].join(2)
        return self._errors[-1].strip() if self._errors else "the compiler process ended without a word"

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def _prune(keys: Iterable[Key]) -> None:
    """Keep the newest folders and, of these kernels, the newest files; those of older versions and sources go."""
    for key in keys:
        files = sorted(folder().glob(f"{key}.*.o"), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in files[_KEPT_VERSIONS:]:
            old.unlink(missing_ok=True)
    try:
        folders = sorted((p for p in root().iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime, reverse=True)
    except OSError:
        return
    for old in folders[_KEPT_FOLDERS:]:
        if time.time() - old.stat().st_mtime > 3600:
            shutil.rmtree(old, ignore_errors=True)
