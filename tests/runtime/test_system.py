"""What is read from Linux's files, on machines that are made here."""

import mmap
from types import SimpleNamespace

import pytest

from localllm.runtime import system


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


V2, DEEP = "sys/fs/cgroup", "sys/fs/cgroup/a.slice/b.scope"
MB = 1 << 20
MEMINFO = "MemTotal:  32768000 kB\nMemFree:  100 kB\nMemAvailable:   16384 kB"


def test_available_memory(tmp_path):
    """The machine's, but no more than a cgroup leaves; pages of files can be given back."""
    v2: dict[str, object] = {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/"}
    assert system.free_memory(write(tmp_path / "machine", v2)) == system.Free(16 * MB, "the machine")
    v2 |= {f"{V2}/memory.max": 5 * MB, f"{V2}/memory.current": 3 * MB}
    assert system.free_memory(write(tmp_path / "v2", v2)) == system.Free(2 * MB, "the cgroup")
    more = v2 | {f"{V2}/memory.stat": f"anon 5\ninactive_file {MB}\nactive_file {MB // 2}\nslab_reclaimable 7\nodd"}
    assert system.available_memory(write(tmp_path / "stat", more)) == 2 * MB + MB + MB // 2 + 7
    v1 = "sys/fs/cgroup/memory/x"
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "4:memory:/x",
        f"{v1}/memory.limit_in_bytes": 7 * MB,
        f"{v1}/memory.usage_in_bytes": 3 * MB,
        f"{v1}/memory.stat": f"inactive_file 99\ntotal_inactive_file {MB}\ntotal_active_file {MB}",
    }
    assert system.available_memory(write(tmp_path / "v1", files)) == 6 * MB


def test_limits_of_cgroups_that_are_no_limits(tmp_path):
    files = {
        "proc/meminfo": MEMINFO, "proc/self/cgroup": "4:memory:/\n0::/", f"{V2}/memory.max": "max",
        f"{V2}/memory.high": "max", f"{V2}/memory.current": 3 * MB,
        f"{V2}/memory/memory.limit_in_bytes": 9223372036854771712, f"{V2}/memory/memory.usage_in_bytes": 5 * MB,
    }  # fmt: skip
    assert system.free_memory(write(tmp_path, files)) == system.Free(16 * MB, "the machine")


@pytest.mark.parametrize("name", ["memory.max", "memory.high"])
@pytest.mark.parametrize("folder", ["a.slice/b.scope", "a.slice", "."])
def test_the_least_of_nested_cgroups_counts(tmp_path, name, folder):
    files: dict[str, object] = {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/a.slice/b.scope"}
    for each in ("a.slice/b.scope", "a.slice", "."):
        files |= {f"{V2}/{each}/memory.max": 12 * MB, f"{V2}/{each}/memory.high": "max"}
        files |= {f"{V2}/{each}/memory.current": 3 * MB}
    assert system.available_memory(write(tmp_path / "all", files)) == 9 * MB
    assert system.available_memory(write(tmp_path / "one", files | {f"{V2}/{folder}/{name}": 4 * MB})) == MB


def test_more_in_use_than_allowed(tmp_path):
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/",
        f"{V2}/memory.high": MB,
        f"{V2}/memory.current": 3 * MB,
    }
    assert system.available_memory(write(tmp_path, files)) == 0


def test_a_limit_of_addresses(tmp_path):
    limits = "Limit  Soft Limit  Hard Limit  Units\nMax address space  {}  unlimited  bytes\nMax file locks  1  1"
    pages = 2 * MB // mmap.PAGESIZE
    files = {"proc/meminfo": MEMINFO, "proc/self/statm": f"{pages} 5 5", "proc/self/limits": limits.format(5 * MB)}
    root = write(tmp_path / "limit", files)
    assert system.free_memory(root) == system.Free(3 * MB, "ulimit -v")
    assert system.free_memory(root, mapped=MB) == system.Free(4 * MB, "ulimit -v")
    files["proc/self/limits"] = limits.format("unlimited")
    assert system.free_memory(write(tmp_path / "none", files)) == system.Free(16 * MB, "the machine")


def test_other_systems_are_asked_through_psutil(tmp_path, monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=7 * MB))
    assert system.free_memory(tmp_path) == system.Free(7 * MB, "the machine")


def test_linux_without_its_folder_of_processes(tmp_path, monkeypatch):
    """psutil reads it, too."""

    def gone():
        raise FileNotFoundError(2, "No such file or directory", "/proc/meminfo")

    total = system.total_memory()
    for name in ("virtual_memory", "swap_memory"):
        monkeypatch.setattr(f"psutil.{name}", gone)
    free = system.free_memory(tmp_path)
    assert 0 < free.n_bytes <= total
    assert free.limit == "the machine"
    assert system.total_memory() == pytest.approx(total, rel=0.01)
    assert system.swap_memory() == 0
