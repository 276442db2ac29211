"""What the machine offers: free memory, and the system call that yields to other threads.

Functions that read Linux's files take the folder they lie in, so that other machines can be tested.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def yield_address() -> int:
    """Address of the C function int(void) that lets another thread run on this core."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)


def available_memory(root: Path = ROOT) -> int:
    """Bytes that can be allocated without swapping: what the system has left, and the cgroups."""
    import psutil

    left = [int(psutil.virtual_memory().available)]
    for folder in cgroup_folders("memory", root):
        for limit, used, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            most, now = text_of(folder / limit), text_of(folder / used)
            if most.isdigit() and now.isdigit():
                statistics = dict(line.split()[:2] for line in text_of(folder / "memory.stat").splitlines())
                # Pages of files count as used, and are given back when memory is short.
                left.append(int(most) - int(now) + int(statistics.get(cached, 0)))
    return min(left)


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
