"""The processors that a process may use, on machines that are made here."""

import struct
import subprocess
import sys

import pytest

from localllm.runtime import processors
from localllm.runtime.processors import Processors
from tests.runtime.test_system import DEEP, V2, write


def cpus(values, name):
    return {f"sys/devices/system/cpu/cpu{i}/{name}": value for i, value in enumerate(values)}


SIBLINGS = "topology/core_cpus_list"
MACHINES = {
    "nothing is told": ({}, {0, 1, 2, 3}),
    "two threads a core": (cpus(["0,2", "1,3", "0,2", "1,3"], SIBLINGS), {0, 1}),
    "older names": (cpus(["0-1", "0-1", "2-3", "2-3"], "topology/thread_siblings_list"), {0, 2}),
    "Intel, two kinds": (
        cpus(["0-1", "0-1", "2", "3"], SIBLINGS)
        | {"sys/devices/cpu_core/cpus": "0-1", "sys/devices/cpu_atom/cpus": "2-3"},
        {0},
    ),
    "Intel, one kind": ({"sys/devices/cpu_core/cpus": "0-1"}, {0, 1, 2, 3}),
    "Arm, two kinds": (cpus([1024, 1000, 300, 300], "cpu_capacity"), {0, 1}),
    "speeds differ": (cpus([5000000, 4800000, 3000000, 3000000], "cpufreq/cpuinfo_max_freq"), {0, 1}),
    "speeds differ a little": (cpus([5000000, 4800000, 4700000, 4600000], "cpufreq/cpuinfo_max_freq"), {0, 1, 2, 3}),
    "not all speeds are told": (cpus([5000000, 1000000], "cpufreq/cpuinfo_max_freq"), {0, 1, 2, 3}),
}


@pytest.mark.parametrize("name", MACHINES)
def test_fast_cores(tmp_path, name):
    files, expected = MACHINES[name]
    root = write(tmp_path, files)
    assert processors.fast_of(processors.first_of_cores({0, 1, 2, 3}, root), root) == expected
    assert processors.linux({0, 1, 2, 3}, root).fast == len(expected)


def test_affinity(tmp_path):
    """Processors that the process is not bound to (taskset, cpuset) count neither as cores nor as the fast ones."""
    two = write(tmp_path / "two", cpus(["0,2", "1,3", "0,2", "1,3"], SIBLINGS))
    assert processors.linux({0, 1, 2, 3}, two) == Processors(4, 2, 2)
    assert processors.linux({2, 3}, two) == Processors(2, 2, 2)
    assert processors.linux({0, 2}, two) == Processors(2, 1, 1)
    kinds = {"sys/devices/cpu_core/cpus": "0-1", "sys/devices/cpu_atom/cpus": "2-3"}
    assert processors.linux({2, 3}, write(tmp_path / "kinds", kinds)) == Processors(2, 2, 2)
    assert processors.linux({1, 2, 3}, tmp_path / "kinds") == Processors(3, 3, 1)


QUOTAS = {
    "none": ({}, None),
    "v2": ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "150000 100000"}, 1.5),
    "v2, no limit": ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "max 100000"}, None),
    "v2, the least of all": (
        {
            "proc/self/cgroup": "0::/a.slice/b.scope",
            f"{DEEP}/cpu.max": "400000 100000",
            "sys/fs/cgroup/a.slice/cpu.max": "300000 100000",
        },
        3.0,
    ),
    "v2, the host's path": ({"proc/self/cgroup": "0::/docker/123", f"{V2}/cpu.max": "50000 100000"}, 0.5),
    "v1": (
        {
            "proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/docker/123\n0::/",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
        },
        2.5,
    ),
    "v1, no limit": (
        {
            "proc/self/cgroup": "4:cpu:/",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        },
        None,
    ),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_cgroup_quota(tmp_path, name):
    files, expected = QUOTAS[name]
    assert processors.cgroup_quota(write(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("quota", "default", "most"),
    [(None, 4, 8), (0.1, 1, 1), (1.0, 1, 1), (1.5, 2, 2), (4.0, 4, 4), (6.5, 4, 7), (64.0, 4, 8)],
)
def test_threads_within_a_quota(quota, default, most):
    """A part of a core's time is worth a thread; more than one a core is never the default."""
    found = Processors(8, 4, 4, quota)
    assert (found.default, found.most) == (default, most)


def test_fast_cores_within_a_quota():
    assert Processors(20, 14, 6, 8.0).default == 6
    assert Processors(20, 14, 6, 2.0).default == 2


def test_a_process_bound_to_one_processor():
    """As under taskset: in a process of its own."""
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
    code += "from localllm.runtime.processors import processors, default_threads;"
    code += "print(processors().logical, processors().physical, default_threads())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1", "1"]


def core(mask, efficiency, group=0, relation=0):
    head = struct.pack("<IIBB20xH", relation, 48, int(mask.bit_count() > 1), efficiency, 1)
    return head + struct.pack("<QH6x", mask, group)


def test_windows():
    """Two fast cores of two threads and four slow ones of one; entries of other kinds, and of any length, between."""
    cache = struct.pack("<II", 2, 80) + bytes(72)
    slow = [core(1 << i, 0) for i in range(4, 8)]
    answer = b"".join([core(0b11, 1), cache, core(0b1100, 1), *slow])
    assert processors.windows(answer, range(8)) == Processors(8, 6, 2)
    assert processors.windows(answer, [4, 5]) == Processors(2, 2, 2)
    assert processors.windows(answer, [0, 1, 7]) == Processors(3, 2, 1)
    alike = b"".join(core(0b11 << 2 * i, 0) for i in range(4))
    assert processors.windows(alike, range(8)) == Processors(8, 4, 4)


def test_windows_with_two_groups():
    """What the process is bound to is told of one group alone."""
    answer = core((1 << 64) - 1, 0, group=0) + core(0b1111, 0, group=1)
    assert processors.windows(answer, [0]) == Processors(68, 2, 2)


@pytest.mark.parametrize("answer", [b"", b"\0" * 8, b"\0" * 7, struct.pack("<II", 0, 48), core(1, 0)[:47]])
def test_windows_says_nothing_of_use(answer):
    assert processors.windows(answer, [0]) is None


@pytest.mark.parametrize(("platform", "answer"), [("darwin", "_apple"), ("win32", "_windows"), ("aix", None)])
def test_other_systems(monkeypatch, platform, answer):
    """Their own answer, or else psutil's."""
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(processors, "_by_psutil", lambda: Processors(3, 3, 3))
    if answer:
        monkeypatch.setattr(processors, answer, lambda: Processors(10, 10, 8))
        assert processors.default_threads() == 8
        monkeypatch.setattr(processors, answer, lambda: None)
    assert processors.default_threads() == 3


def test_by_psutil():
    assert 1 <= processors._by_psutil().default <= processors._by_psutil().logical


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor : 0\nmodel name : AMD EPYC\nmodel : 17\n\nprocessor : 1\nmodel name : AMD EPYC\n", "AMD EPYC"),
        ("processor : 0\nCPU part : 0xd0b\n\nModel : Raspberry Pi 5 Model B\n", "Raspberry Pi 5 Model B"),
    ],
)
def test_name_of_the_processor(tmp_path, text, name):
    assert processors.processor_name(write(tmp_path, {"proc/cpuinfo": text})) == name


def test_this_machine(tmp_path):
    """Which tells its name even where /proc does not."""
    assert 1 <= processors.default_threads() <= processors.processors().most
    assert processors.processor_name()
    assert processors.processor_name(tmp_path)
    assert processors.numbers("0-2,5") == {0, 1, 2, 5}
    assert processors.numbers("") == set()
