"""The object cache: machine code of compiled kernels on disk, loaded without Numba.

A folder per (target, features, versions), of mode 0700 and owned by the user; a file per kernel and state of its
sources: its symbol, a newline, its object code. What is missing is compiled by processes (`workers`). No file is ever
locked: a kernel that two processes compile at once is written twice, whole each time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from localllm.errors import FileError, LocalllmError

from .simd.targets import current, host_features
from .sources import digest
from .workers import compile_all

Progress = Callable[[int, int], None]

_PART = ".part"
_STALE = 3600.0
"""Seconds after which nobody is at a file, or needs a folder of another version, any more."""
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
        return Path(os.path.abspath(chosen)) / "kernels"
    from platformdirs import user_cache_path

    path = user_cache_path("localllm", appauthor=False) / "kernels"
    if not path.is_absolute():  # "~": there is no HOME, and the system knows no home of this user
        raise FileError("there is no home folder for compiled kernels: set HOME or LOCALLLM_CACHE")
    return path


def _make_private(path: Path) -> None:
    """Make a folder, whatever the umask is, in which nobody else may put another folder in the place of ours."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
    if hasattr(os, "getuid") and status.st_uid == os.getuid() and status.st_mode & 0o022:
        with suppress(OSError):
            path.chmod(stat.S_IMODE(status.st_mode) & ~0o022)


def _version(package: str) -> str:
    """Of an installed package: of the folder that pip writes beside it, as a rule. importlib.metadata takes 15 ms."""
    spec = find_spec(package)
    site = Path(spec.origin).parent.parent if spec and spec.origin else Path()
    found = [path.name for path in site.glob(f"{package}-*.dist-info")]
    if len(found) == 1:
        return found[0].removeprefix(f"{package}-").removesuffix(".dist-info")
    from importlib import metadata

    return metadata.version(package)


@cache
def folder() -> Path:
    """This process's folder, made if need be, private to the user: what lies there is executed."""
    target = current()
    versions = f"{_version('numba')} {_version('llvmlite')} {sys.version_info[:2]}"
    kind = hashlib.sha256(f"{target} {target.features(host_features())} {versions}".encode())
    name = f"{target.name}-{kind.hexdigest()[:24]}"
    try:
        path = root() / name
        _make_private(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise FileError(
            f"{error.filename or name}: cannot make the folder for compiled kernels ({error.strerror}); "
            "set LOCALLLM_CACHE"
        ) from error
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077):
        raise FileError(
            f"{path}: compiled kernels need a folder that is yours alone (mode 0700); remove it, or set LOCALLLM_CACHE"
        )
    with suppress(OSError):  # a disk that is read alone may hold all that is needed
        os.utime(path)
    return path


def path(key: Key) -> Path:
    """The file of a kernel as its sources are now."""
    return folder() / f"{key}.{digest(key.module, key.arguments)}.o"


def write(path: Path, content: bytes) -> None:
    """Put a file in place whole, or not at all. A digest in front tells a damaged one. Raises FileError."""
    part = path.with_suffix(f".{os.getpid()}{_PART}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # it may have been removed meanwhile
        part.write_bytes(hashlib.sha256(content).digest() + content)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        # Windows does not replace a file that is open: another process reads the same kernel.
        if not (isinstance(error, PermissionError) and path.exists()):
            raise FileError(
                f"{path.parent}: compiled kernels cannot be kept ({error.strerror}); "
                "make it possible, or set LOCALLLM_CACHE to another folder"
            ) from None


def read(path: Path) -> bytes | None:
    """What `write` has put there; None where there is no whole file."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content[32:] if hashlib.sha256(content[32:]).digest() == content[:32] else None


def _read(path: Path) -> tuple[str, bytes] | None:
    """Symbol and object code, or None where there is no whole file of this kernel; what is no such file is removed."""
    symbol, _, code = (read(path) or b"").partition(b"\n")
    if _names(symbol, path):
        return symbol.decode(), code
    with suppress(OSError):
        path.unlink(missing_ok=True)
    return None


def _names(symbol: bytes, path: Path) -> bool:
    """Whether a symbol is that of a file's kernel, as Numba mangles its name: one that was put under another name would
    be called with parameters that are not its own."""
    name = path.name.partition(".")[0].replace("-", "_2d")
    return f"{len(name)}{name}B".encode() in symbol


class _Linker:
    """Places object code in executable memory. Kernels stay loaded for the life of the process."""

    def __init__(self) -> None:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self._llvm = llvm
        machine = llvm.Target.from_default_triple().create_target_machine()
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        self._renew_lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew_lock)
        self.addresses: dict[Key, int] = {}

    def _renew_lock(self) -> None:
        """Where a process was forked, the thread that had it may not be there."""
        self._lock = threading.Lock()

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
        compile_all(missing, lambda key: _read(path(key)) is not None, folder().parent.parent, progress)
        found |= {k: content for k in missing if (content := _read(path(k)))}
        if len(found) < len(fresh):
            raise LocalllmError(
                f"{folder()}: compiled kernels are not there; were the sources changed meanwhile? Start again"
            )
        _prune(missing)
    if found:
        linker.add(found)
    return {k: linker.addresses[k] for k in wanted}


def _prune(keys: Iterable[Key]) -> None:
    """Keep the newest folders and, of these kernels, the newest files; those of older versions and sources go, and what
    workers that were killed have left. Other processes may do the same at the same time."""
    now = time.time()
    with suppress(OSError):
        for key in keys:
            others = (
                old for old in folder().glob(f"{key}.*.o") if old != path(key)
            )  # the clock may have been set back
            for _, old in _by_age(others)[_KEPT_VERSIONS - 1 :]:
                old.unlink(missing_ok=True)
        for changed, part in _by_age(folder().glob(f"*{_PART}")):
            if now - changed > _STALE:
                part.unlink(missing_ok=True)
        for changed, old in _by_age(p for p in root().iterdir() if p.is_dir())[_KEPT_FOLDERS:]:
            if now - changed > _STALE:
                shutil.rmtree(old, ignore_errors=True)


def _by_age(paths: Iterable[Path]) -> list[tuple[float, Path]]:
    """When each was changed, the newest first; without those that are gone."""
    found = []
    for path in paths:
        with suppress(OSError):
            found.append((path.stat().st_mtime, path))
    return sorted(found, reverse=True)
