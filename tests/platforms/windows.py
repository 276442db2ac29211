"""A Windows that is made of Linux, for one process: `python -m tests.platforms.windows [localllm's arguments]`.

What it imitates: sys.platform; modules and names of os and signal that are not there; msvcrt's locks of a byte, which
nobody else can read; files that cannot be replaced or removed while they are open or mapped; os.fsync, which wants a
descriptor that can be written; descriptors that are text unless O_BINARY is given; no links; select for sockets alone;
event loops without signal handlers; threads with less than 256 MB of stack; SIGBREAK, which is SIGUSR1; streams in
cp1252; folders and processors as Windows tells them.

What it does not: Python's own library and other packages were imported before and stay Linux's; paths have "/" between
folders and no drives (tests/store/test_names.py has tables of Windows's paths); machine code is Linux's; there is no
console. Whether localllm runs on Windows only Windows can tell.
"""

from __future__ import annotations

import asyncio
import builtins
import ctypes
import errno
import fcntl
import io
import os
import pathlib
import platform
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import threading
import types
from typing import Any

MISSING_MODULES = ("fcntl", "termios", "tty", "pty", "resource", "pwd", "grp", "syslog", "posix")
MISSING_OS = (
    "chown", "chroot", "fchmod", "fchown", "fdatasync", "fork", "forkpty", "fpathconf", "fstatvfs", "getegid",
    "geteuid", "getgid", "getgroups", "getloadavg", "getpgid", "getpgrp", "getpriority", "getresuid", "getsid",
    "getuid", "killpg", "lchown", "lockf", "mkfifo", "mknod", "nice", "openpty", "pathconf", "posix_fadvise",
    "posix_fallocate", "posix_spawn", "pread", "preadv", "pwrite", "pwritev", "readv", "sched_getaffinity",
    "sched_setaffinity", "sched_yield", "sendfile", "setgid", "setpgid", "setpriority", "setsid", "setuid",
    "statvfs", "sync", "sysconf", "uname", "wait", "wait3", "wait4", "waitid", "writev", "O_CLOEXEC",
    "O_DIRECTORY", "O_DSYNC", "O_NOATIME", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "O_PATH", "O_SYNC",
)  # fmt: skip
MISSING_SIGNALS = (
    "SIGHUP", "SIGKILL", "SIGWINCH", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPIPE", "SIGQUIT", "SIGTSTP", "SIGSTOP",
    "SIGCONT",
)  # fmt: skip
O_BINARY = 0x8000

_open, _write, _close, _fsync = os.open, os.write, os.close, os.fsync
_replace, _unlink, _select, _io_open = os.replace, os.unlink, select.select, io.open
_set_stack_size = threading.stack_size
_text: set[int] = set()
"""Descriptors without O_BINARY."""
_locked: dict[tuple[int, int], int] = {}
"""Device and inode of a file -> the byte that is locked."""


def become() -> None:
    """This process is on Windows from now on. localllm must not have been imported."""
    assert not any(name.partition(".")[0] == "localllm" for name in sys.modules)
    import_others()
    sys.platform = "win32"
    put(platform, _uname_cache=platform.uname_result("Windows", "pc", "10", "10.0.19045", "AMD64"))
    sys.modules.update(dict.fromkeys(MISSING_MODULES) | {"msvcrt": _msvcrt()})  # type: ignore[arg-type]
    put(ctypes, windll=types.SimpleNamespace(kernel32=_Kernel()))
    _folders()
    _files()
    for name in MISSING_OS:
        if hasattr(os, name):
            delattr(os, name)
    put(signal, SIGBREAK=signal.SIGUSR1)
    for name in MISSING_SIGNALS:
        delattr(signal, name)
    put(subprocess.Popen, kill=subprocess.Popen.terminate)
    put(select, select=_of_sockets)
    put(threading, stack_size=_stack_size)
    put(asyncio.SelectorEventLoop, add_signal_handler=_no_handler)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="cp1252")


def import_others() -> None:
    """What localllm imports late, and would not be there on Linux once this says that it is Windows."""
    import concurrent.futures
    import email.message
    import http.server
    import multiprocessing
    import sqlite3
    import ssl
    import tempfile
    import urllib.request

    import click.testing
    import gguf
    import huggingface_hub.hf_api
    import jinja2
    import llguidance
    import llvmlite.binding
    import markdown_it
    import msgspec
    import numpy
    import prompt_toolkit.history
    import psutil
    import pygments.lexers
    import regex
    import sentencepiece
    import starlette.applications
    import uvicorn.protocols.http.h11_impl

    imported = (concurrent, email, http, multiprocessing, sqlite3, ssl, tempfile, urllib, click, gguf, huggingface_hub)
    more = (jinja2, llguidance, llvmlite, markdown_it, msgspec, numpy, prompt_toolkit, psutil, pygments, regex)
    assert all((*imported, *more, sentencepiece, starlette, uvicorn))
    pygments.lexers.get_lexer_by_name("python")


def _folders() -> None:
    import platformdirs
    from platformdirs import windows

    put(platformdirs, PlatformDirs=windows.Windows)
    put(windows, get_win_folder=windows.get_win_folder_from_env_vars)
    home = os.environ.setdefault("USERPROFILE", os.environ["HOME"])
    os.environ.setdefault("LOCALAPPDATA", f"{home}/AppData/Local")
    os.environ.setdefault("APPDATA", f"{home}/AppData/Roaming")


# --- files


def _files() -> None:
    statvfs = os.statvfs

    def disk_usage(path: Any) -> Any:
        found = statvfs(path)
        return types.SimpleNamespace(total=found.f_blocks * found.f_frsize, free=found.f_bavail * found.f_frsize)

    put(shutil, disk_usage=disk_usage)
    put(os, O_BINARY=O_BINARY, open=_opened, write=_written, close=_closed, fsync=_synced, symlink=_no_link)
    put(os, replace=_replaced, rename=_replaced, unlink=_unlinked, remove=_unlinked)
    put(builtins, open=_opened_file)
    put(io, open=_opened_file)
    hide_linux()


def hide_linux() -> None:
    """/proc and /sys have nothing to read."""
    read_text = pathlib.Path.read_text

    def not_of_linux(self: pathlib.Path, *args: Any, **options: Any) -> str:
        if self.parts[:2] in (("/", "proc"), ("/", "sys")):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(self))
        return read_text(self, *args, **options)

    put(pathlib.Path, read_text=not_of_linux)


def put(place: Any, **values: Any) -> None:
    """Sets names of a module or a class, of whatever type they were."""
    for name, value in values.items():
        setattr(place, name, value)


def _opened(path: Any, flags: int, mode: int = 0o777, **options: Any) -> int:
    fd = _open(path, flags & ~O_BINARY, mode, **options)
    if not flags & O_BINARY:
        _text.add(fd)
    return fd


def _written(fd: int, data: Any) -> int:
    if fd not in _text:
        return _write(fd, data)
    whole = bytes(data).replace(b"\n", b"\r\n")
    while whole:
        whole = whole[_write(fd, whole) :]
    return len(data)


def _closed(fd: int) -> None:
    _text.discard(fd)
    _close(fd)


def _synced(fd: Any) -> None:
    number = fd if isinstance(fd, int) else fd.fileno()
    if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    _fsync(number)


def _require_unused(path: Any) -> None:
    """Of this process alone."""
    real = os.path.realpath(path)
    with _io_open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        used = any(line.rstrip("\n").endswith(f" {real}") for line in file)
    for fd in os.listdir("/proc/self/fd"):
        try:
            used = used or os.readlink(f"/proc/self/fd/{fd}") == real
        except OSError:  # closed meanwhile, or that of the folder
            continue
    if used:
        raise PermissionError(errno.EACCES, "The process cannot access the file", str(path))


def _replaced(source: Any, target: Any, **options: Any) -> None:
    for path in (source, target) if not options else ():
        _require_unused(path)
    _replace(source, target, **options)


def _unlinked(path: Any, **options: Any) -> None:
    if not options:
        _require_unused(path)
    _unlink(path, **options)


def _no_link(*_args: Any, **_options: Any) -> None:
    raise OSError(errno.EINVAL, "A required privilege is not held by the client")


def _opened_file(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
    """Windows refuses to read a byte that is locked; here the file is not even opened if it has that byte."""
    opened = _io_open(file, mode, *args, **options)
    if not isinstance(file, int) and ("r" in mode or "+" in mode):
        found = os.fstat(opened.fileno())
        byte = _locked.get((found.st_dev, found.st_ino))
        if byte is not None and byte < found.st_size and stat.S_ISREG(found.st_mode):
            opened.close()
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
    return opened


# --- the rest


def _msvcrt() -> types.ModuleType:
    module: Any = types.ModuleType("msvcrt")
    module.LK_UNLCK, module.LK_LOCK, module.LK_NBLCK = 0, 1, 2

    def locking(fd: int, mode: int, n_bytes: int) -> None:
        at = os.lseek(fd, 0, os.SEEK_CUR)
        found = os.fstat(fd)
        assert at + n_bytes < 1 << 31, "the C library counts in 32 bits"
        kind = fcntl.F_WRLCK if mode else fcntl.F_UNLCK
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, at, n_bytes, 0))
        except OSError:
            raise OSError(errno.EACCES, "Permission denied") from None
        if mode:
            _locked[found.st_dev, found.st_ino] = at
        else:
            _locked.pop((found.st_dev, found.st_ino), None)

    module.locking, module.get_osfhandle = locking, lambda fd: fd
    return module


class _Kernel:
    """Of kernel32.dll what is called."""

    def __init__(self) -> None:
        self.SwitchToThread = ctypes.CDLL(None).sched_yield

    def GetLogicalProcessorInformationEx(self, relation: int, buffer: Any, size: Any) -> int:
        """Two cores of one thread."""
        cores = [struct.pack("<IIBB20xHQH6x", relation, 48, 0, 0, 1, 1 << i, 0) for i in range(2)]
        size._obj.value = len(b"".join(cores))
        if buffer is not None:
            buffer.raw = b"".join(cores)
        return int(buffer is not None)

    def GetConsoleMode(self, _handle: int, _mode: Any) -> int:
        return 0


def _of_sockets(*lists: Any) -> Any:
    for stream in lists[0]:
        if not stat.S_ISSOCK(os.fstat(stream if isinstance(stream, int) else stream.fileno()).st_mode):
            raise OSError(10038, "An operation was attempted on something that is not a socket")
    return _select(*lists)


def _stack_size(size: int = 0) -> int:
    if size >= 256 << 20:
        raise ValueError(f"size not valid: {size} bytes")
    return _set_stack_size(size)


def _no_handler(*_args: Any) -> None:
    raise NotImplementedError


if __name__ == "__main__":
    become()
    if sys.argv[1:2] == ["-c"]:
        exec(sys.argv[2])
    else:
        from localllm.cli.main import main

        sys.exit(main(sys.argv[1:]))
