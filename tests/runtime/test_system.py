"""What is read from Linux's files, on machines that are made here."""

from localllm.runtime import system


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


V2, DEEP = "sys/fs/cgroup", "sys/fs/cgroup/a.slice/b.scope"


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
