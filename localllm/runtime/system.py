"""What the machine offers: free memory, and the system call that yields to other threads.

Functions that read Linux's files take the folder they lie in, so that other machines can be tested.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path("/")


def yield_address() -> int:
    """Address of the C function int(void) that lets another thread run on this core."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)


@dataclass(frozen=True)
class Free:
    """Bytes that can be taken, and what limits them."""

    n_bytes: int
    limit: str
    """"the machine", "the cgroup" (a container's limit, or a service's) or "ulimit -v"."""


def available_memory(root: Path = ROOT) -> int:
    """Bytes that can be allocated without swapping: what the system, the cgroups and the limit of the process's
    addresses leave. Pages of files are free: they are given back when memory is short."""
    return free_memory(root).n_bytes


def free_memory(root: Path = ROOT, mapped: int = 0) -> Free:
    """The same, and what the limit is. mapped: bytes that the process has mapped already: they are in its addresses."""
    found = [Free(_system_memory(root), "the machine")]
    found += [Free(n_bytes, "the cgroup") for n_bytes in _cgroup_memory(root)]
    addresses = _addresses_left(root)
    if addresses is not None:
        found.append(Free(addresses + mapped, "ulimit -v"))
    least = min(found, key=lambda free: free.n_bytes)
    return replace(least, n_bytes=max(0, least.n_bytes))


def _system_memory(root: Path) -> int:
    for line in text_of(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    import psutil

    try:
        return int(psutil.virtual_memory().available)
    except OSError:  # Linux without /proc: what is free, without what pages of files would give back
        return os.sysconf("SC_AVPHYS_PAGES") * mmap.PAGESIZE


def total_memory() -> int:
    """Bytes that the machine has."""
    import psutil

    try:
        return int(psutil.virtual_memory().total)
    except OSError:
        return os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE


def swap_memory() -> int:
    """Bytes that memory may be moved out to; 0 where the system does not tell."""
    import psutil

    try:
        return int(psutil.swap_memory().total)
    except OSError:
        return 0


_CGROUP_FILES = (
    (("memory.max", "memory.high"), "memory.current", ("inactive_file", "active_file", "slab_reclaimable")),
    (("memory.limit_in_bytes",), "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
)
"""Version 2 and 1: limits, what is used, and of that what is given back when memory is short: pages of files."""


def _cgroup_memory(root: Path) -> Iterator[int]:
    """What each cgroup that this process is in, and each around it, leaves."""
    for folder in cgroup_folders("memory", root):
        for limits, usage, reclaimable in _CGROUP_FILES:
            used = text_of(folder / usage)
            statistics = dict(line.split()[:2] for line in text_of(folder / "memory.stat").splitlines() if " " in line)
            kept = sum(int(statistics.get(name, 0)) for name in reclaimable)
            for limit in (text_of(folder / name) for name in limits):
                if limit.isdigit() and used.isdigit():
                    yield int(limit) - max(0, int(used) - kept)


def _addresses_left(root: Path) -> int | None:
    """Of RLIMIT_AS, which Linux's shells set by `ulimit -v`; None without a limit."""
    for line in text_of(root / "proc/self/limits").splitlines():
        if line.startswith("Max address space"):
            limit, used = line.split()[3], text_of(root / "proc/self/statm").split()
            return int(limit) - int(used[0]) * mmap.PAGESIZE if limit.isdigit() and used else None
    return None


def cgroup_folders(controller: str, root: Path = ROOT) -> Iterator[Path]:
    """The folders that may limit this process, from its own cgroup upwards: version 2, then version 1.

    Inside of a container the path in /proc may be the host's; the controller's root is then the container's.
    """
    mount = root / "sys/fs/cgroup"
    for line in text_of(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top = mount
        elif controller in controllers.split(","):
            top = next((mount / name for name in (controllers, controller) if (mount / name).is_dir()), mount)
        else:
            continue
        inner = Path(path.lstrip("/"))
        for folder in (inner, *inner.parents) if inner.parts else (inner,):
            if (top / folder).is_dir():
                yield top / folder


def text_of(path: Path) -> str:
    """A small file of the system's, stripped; empty where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
