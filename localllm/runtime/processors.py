"""The processors that this process may use: how many, of which kinds, and for how much of the time.

Functions that read Linux's files take the folder they lie in, and those that read Windows's answers take the bytes, so
that other machines can be tested.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from localllm.kernels.apple import sysctl as _sysctl
from localllm.runtime.system import ROOT, cgroup_folders, text_of

_SLOW = 0.7
"""A core below this share of the best one's speed is left out: all would wait for what it has claimed."""
_NAMES = ("model name", "Model", "Hardware", "cpu model")
"""Of a processor in /proc/cpuinfo: on PCs, on small Arm boards, and elsewhere."""


@dataclass(frozen=True)
class Processors:
    """What the process may use."""

    logical: int
    """Logical processors: of a core that runs two threads, both."""
    physical: int
    """Cores that they belong to."""
    fast: int
    """Cores without the slow ones, where there are cores of two kinds."""
    quota: float | None = None
    """Cores' worth of time that is granted; None without a limit."""

    @property
    def default(self) -> int:
        """Threads where nothing was measured: one a fast core, and no more than the quota, rounded up."""
        return min(self.fast, self.most)

    @property
    def most(self) -> int:
        """Threads that could be of use: one a logical processor, and no more than the quota, rounded up."""
        return min(self.logical, _up(self.quota)) if self.quota else self.logical


def _up(quota: float) -> int:
    return max(1, -int(-quota // 1))


def default_threads() -> int:
    """Threads of a team, where nobody says it and nothing was measured."""
    return processors().default


def processors() -> Processors:
    """Those of this machine that this process may use."""
    if sys.platform == "linux":
        return linux(os.sched_getaffinity(0))
    found = _apple() if sys.platform == "darwin" else _windows() if sys.platform == "win32" else None
    return found or _by_psutil()


def linux(allowed: set[int], root: Path = ROOT) -> Processors:
    """By Linux's files; allowed: the logical processors that the process is bound to (taskset, cpuset)."""
    cores = first_of_cores(allowed, root)
    return Processors(len(allowed), len(cores), len(fast_of(cores, root)), cgroup_quota(root))


def first_of_cores(allowed: set[int], root: Path = ROOT) -> set[int]:
    """Of logical processors the first of each core."""
    folder = root / "sys/devices/system/cpu"
    firsts: dict[str, int] = {}
    for cpu in sorted(allowed):
        siblings = ""
        for name in ("core_cpus_list", "thread_siblings_list"):
            siblings = siblings or text_of(folder / f"cpu{cpu}/topology" / name)
        firsts.setdefault(siblings or str(cpu), cpu)
    return set(firsts.values())


def fast_of(cores: set[int], root: Path = ROOT) -> set[int]:
    """Cores, each by one of its logical processors, without the slow ones."""
    # Intel's cores of two kinds have a device each.
    fast = cores & numbers(text_of(root / "sys/devices/cpu_core/cpus"))
    if fast and text_of(root / "sys/devices/cpu_atom/cpus"):
        return fast
    folder = root / "sys/devices/system/cpu"
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        speeds = {cpu: int(text_of(folder / f"cpu{cpu}" / name) or 0) for cpu in cores}
        if speeds and all(speeds.values()):
            return {cpu for cpu in cores if speeds[cpu] >= _SLOW * max(speeds.values())}
    return cores


def numbers(text: str) -> set[int]:
    """Linux's lists of processors, such as 0-3,8."""
    out: set[int] = set()
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        out.update(range(int(first), int(last or first) + 1))
    return out


def cgroup_quota(root: Path = ROOT) -> float | None:
    """Cores' worth of time that the process's cgroups grant, the least of all; None without a limit."""
    quotas = []
    for folder in cgroup_folders("cpu", root):
        v2 = text_of(folder / "cpu.max").split()
        quota, period = v2 or (text_of(folder / "cpu.cfs_quota_us"), text_of(folder / "cpu.cfs_period_us"))
        if quota not in ("", "max", "-1") and period:
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def _apple() -> Processors | None:
    """None where the system does not tell kinds of cores apart: on Intel's."""
    fast, physical, logical = (
        _sysctl(name) for name in (b"hw.perflevel0.physicalcpu", b"hw.physicalcpu", b"hw.logicalcpu")
    )
    return Processors(logical, physical, fast) if fast and physical and logical else None


def _windows() -> Processors | None:
    if sys.platform != "win32":
        return None
    kernel, size = ctypes.windll.kernel32, ctypes.c_uint32(0)
    kernel.GetLogicalProcessorInformationEx(_CORES, None, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    if not kernel.GetLogicalProcessorInformationEx(_CORES, buffer, ctypes.byref(size)):
        return None
    import psutil

    return windows(buffer.raw[: size.value], psutil.Process().cpu_affinity())


_CORES = 0
"""RelationProcessorCore."""


def windows(answer: bytes, allowed: Collection[int]) -> Processors | None:
    """By the bytes of GetLogicalProcessorInformationEx: entries of relation and size (uint32 each), flags, class of
    efficiency (the greater, the faster), 20 bytes, number of groups (uint16), and for each group 8 bytes of mask and 8
    of number (Microsoft's reference: PROCESSOR_RELATIONSHIP). allowed: processors of group 0 that the process is
    bound to; on machines of several groups, all count."""
    cores: list[tuple[int, int]] = []
    at, groups = 0, set()
    while at + 8 <= len(answer):
        relation, size = struct.unpack_from("<II", answer, at)
        if relation == _CORES and size >= 48 and at + 48 <= len(answer):
            efficiency = answer[at + 9]
            mask, group = struct.unpack_from("<QH", answer, at + 32)
            groups.add(group)
            cores.append((efficiency, mask))
        at += max(8, size)
    bound = sum(1 << cpu for cpu in allowed) if len(groups) == 1 else (1 << 64) - 1
    usable = [(efficiency, (mask & bound).bit_count()) for efficiency, mask in cores if mask & bound]
    if not usable:
        return None
    best = max(efficiency for efficiency, _ in usable)
    return Processors(sum(n for _, n in usable), len(usable), sum(efficiency == best for efficiency, _ in usable))


def _by_psutil() -> Processors:
    import psutil

    logical = os.cpu_count() or 1
    physical = min(logical, psutil.cpu_count(logical=False) or logical)
    return Processors(logical, physical, physical)


def processor_name(root: Path = ROOT) -> str:
    """As the system tells it."""
    lines = [line.partition(":") for line in text_of(root / "proc/cpuinfo").splitlines()]
    found = {key.strip(): value.strip() for key, _, value in lines if value.strip()}
    for name in _NAMES:
        if name in found:
            return found[name]
    return (_apple_name() if sys.platform == "darwin" else "") or platform.processor() or platform.machine()


def _apple_name() -> str:
    name, size = ctypes.create_string_buffer(256), ctypes.c_size_t(256)
    failed = ctypes.CDLL(None).sysctlbyname(b"machdep.cpu.brand_string", name, ctypes.byref(size), None, 0)
    return "" if failed else name.value.decode(errors="replace")
