"""What the machine offers: threads to use, free memory, and the system call that yields to other threads.

Functions that read Linux's files take the folder they lie in, so that other machines can be tested.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
_SLOW = 0.7
"""A core below this share of the best one's speed is left out: all would wait for what it has claimed."""


def yield_address() -> int:
    """Address of the C function int(void) that lets another thread run on this core."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)


def default_threads() -> int:
    """One a physical core that this process may use, fast cores only where there are slow ones, and no more than the
    cgroup's share of processor time."""
    if sys.platform == "linux":
        allowed = os.sched_getaffinity(0)
        cores = len(fast_cores(allowed)) or len(allowed)
    else:
        cores = _performance_cores() or _psutil_cores()
    quota = cgroup_cores()
    return max(1, min(cores, quota) if quota else cores)


def fast_cores(allowed: set[int], root: Path = ROOT) -> set[int]:
    """Of Linux's logical processors in `allowed`, the first of each physical core, slow cores left out."""
    folder = root / "sys/devices/system/cpu"
    firsts: dict[str, int] = {}
    for cpu in sorted(allowed):
        siblings = ""
        for name in ("core_cpus_list", "thread_siblings_list"):
            siblings = siblings or _text(folder / f"cpu{cpu}/topology" / name)
        firsts.setdefault(siblings or str(cpu), cpu)
    cores = set(firsts.values())
    # Intel's cores of two kinds have a device each.
    fast = cores & numbers(_text(root / "sys/devices/cpu_core/cpus"))
    if fast and _text(root / "sys/devices/cpu_atom/cpus"):
        return fast
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        speeds = {cpu: int(_text(folder / f"cpu{cpu}" / name) or 0) for cpu in cores}
        if all(speeds.values()):
            return {cpu for cpu in cores if speeds[cpu] >= _SLOW * max(speeds.values())}
    return cores


def numbers(text: str) -> set[int]:
    """Linux's lists of processors, such as 0-3,8."""
    out: set[int] = set()
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        out.update(range(int(first), int(last or first) + 1))
    return out


def _performance_cores() -> int:
    """Apple's fast cores; 0 where the system knows nothing of them."""
    if sys.platform != "darwin":
        return 0
    count, size = ctypes.c_int32(0), ctypes.c_size_t(4)
    name = b"hw.perflevel0.physicalcpu"
    failed = ctypes.CDLL(None).sysctlbyname(name, ctypes.byref(count), ctypes.byref(size), None, 0)
    return 0 if failed else count.value


def _psutil_cores() -> int:
    import psutil

    return psutil.cpu_count(logical=False) or os.cpu_count() or 1


def cgroup_cores(root: Path = ROOT) -> int | None:
    """Cores' worth of time that the process's cgroups grant, rounded up; None without a limit."""
    quotas = []
    for folder in cgroup_folders("cpu", root):
        v2 = _text(folder / "cpu.max").split()
        quota, period = v2 or (_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us"))
        if quota not in ("", "max", "-1") and period:
            quotas.append(-(-int(quota) // int(period)))
    return min(quotas, default=None)


def available_memory(root: Path = ROOT) -> int:
    """Bytes that can be allocated without swapping: what the system has left, and the cgroups."""
    import psutil

    left = [int(psutil.virtual_memory().available)]
    for folder in cgroup_folders("memory", root):
        for limit, used, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            most, now = _text(folder / limit), _text(folder / used)
            if most.isdigit() and now.isdigit():
                statistics = dict(line.split()[:2] for line in _text(folder / "memory.stat").splitlines())
                # Pages of files count as used, and are given back when memory is short.
                left.append(int(most) - int(now) + int(statistics.get(cached, 0)))
    return min(left)


def cgroup_folders(controller: str, root: Path = ROOT) -> Iterator[Path]:
    """The folders that may limit this process, from its own cgroup upwards: version 2, then version 1.

    Inside of a container the path in /proc may be the host's; the controller's root is then the container's.
    """
    mount = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
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


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
