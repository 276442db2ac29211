"""What is read from Linux's files, on machines that are made here."""

import pytest

from localllm.runtime import system


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


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
    assert system.fast_cores({0, 1, 2, 3}, write(tmp_path, files)) == expected


def test_affinity(tmp_path):
    """Processors that are not allowed count neither as cores nor as the fast ones."""
    two = cpus(["0,2", "1,3", "0,2", "1,3"], SIBLINGS)
    assert system.fast_cores({2, 3}, write(tmp_path, two)) == {2, 3}
    assert system.fast_cores({0, 2}, tmp_path) == {0}
    kinds = {"sys/devices/cpu_core/cpus": "0-1", "sys/devices/cpu_atom/cpus": "2-3"}
    assert system.fast_cores({2, 3}, write(tmp_path, kinds)) == {2, 3}


V2, DEEP = "sys/fs/cgroup", "sys/fs/cgroup/a.slice/b.scope"
QUOTAS = {
    "none": ({}, None),
    "v2": ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "150000 100000"}, 2),
    "v2, no limit": ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "max 100000"}, None),
    "v2, the least of all": (
        {
            "proc/self/cgroup": "0::/a.slice/b.scope",
            f"{DEEP}/cpu.max": "400000 100000",
            "sys/fs/cgroup/a.slice/cpu.max": "300000 100000",
        },
        3,
    ),
    "v2, the host's path": ({"proc/self/cgroup": "0::/docker/123", f"{V2}/cpu.max": "50000 100000"}, 1),
    "v1": (
        {
            "proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/docker/123\n0::/",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
        },
        3,
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
def test_cgroup_cores(tmp_path, name):
    files, expected = QUOTAS[name]
    assert system.cgroup_cores(write(tmp_path, files)) == expected


def test_available_memory(tmp_path):
    """The system's, but no more than a cgroup leaves; pages of files can be given back."""
    whole = system.available_memory(tmp_path)
    v2 = {"proc/self/cgroup": "0::/", f"{V2}/memory.max": 5 << 20, f"{V2}/memory.current": 3 << 20}
    assert system.available_memory(write(tmp_path / "v2", v2)) == 2 << 20
    more = v2 | {f"{V2}/memory.stat": f"anon 5\ninactive_file {1 << 20}"}
    assert system.available_memory(write(tmp_path / "stat", more)) == 3 << 20
    v1 = "sys/fs/cgroup/memory/x"
    files = {
        "proc/self/cgroup": "4:memory:/x",
        f"{v1}/memory.limit_in_bytes": 7 << 20,
        f"{v1}/memory.usage_in_bytes": 3 << 20,
    }
    assert system.available_memory(write(tmp_path / "v1", files)) == 4 << 20
    none = {"proc/self/cgroup": "0::/", f"{V2}/memory.max": "max"}
    assert system.available_memory(write(tmp_path / "none", none)) >= whole / 2


def test_this_machine():
    assert system.default_threads() >= 1
    assert system.numbers("0-2,5") == {0, 1, 2, 5}
    assert system.numbers("") == set()
