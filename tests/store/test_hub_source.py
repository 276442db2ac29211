"""Downloads from a hub into the Hugging Face cache: where they lie, what is on the disk, who else is at it."""

import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir, try_to_load_from_cache

from localllm.store import records, transfer
from localllm.store.fetch import fetch
from localllm.store.names import parse
from localllm.store.resolve import resolve
from tests.store import hub_stub
from tests.store.hub_stub import Hub, Repo
from tests.store.pulling import DATA, FILE, NAME, in_cache, pull, refused

# the layout


def test_the_layout(hub: Hub, repo: Repo, cache: Path) -> None:
    path, _ = pull("org/repo")
    folder = cache / "models--org--repo"
    digest = hashlib.sha256(DATA).hexdigest()
    assert path == folder / "snapshots" / repo.commit / FILE
    assert os.readlink(path) == os.path.join("..", "..", "blobs", digest)
    assert (folder / "refs/main").read_text() == repo.commit
    assert len(in_cache(cache)) == 3
    assert records.owns(path)
    assert records.known(path) == records.Pulled(NAME, digest, records.known(path).time)  # type: ignore[union-attr]


def test_huggingface_hub_reads_it(hub: Hub, repo: Repo, cache: Path) -> None:
    path, _ = pull()
    found = scan_cache_dir(cache)
    assert found.warnings == []
    assert [(r.repo_id, r.nb_files, r.size_on_disk) for r in found.repos] == [("org/repo", 1, len(DATA))]
    revision = next(iter(next(iter(found.repos)).revisions))
    assert revision.refs == {"main"}
    assert revision.commit_hash == repo.commit
    assert try_to_load_from_cache("org/repo", FILE, cache) == str(path)


def test_huggingface_hub_reads_it_while_something_is_missing(hub: Hub, repo: Repo, cache: Path) -> None:
    hub.faults = ["break", "404"]
    assert "no such repository or file" in refused()
    found = scan_cache_dir(cache)
    assert found.warnings == []
    assert [file.size_on_disk for file in found.incomplete_files] == [len(DATA) // 2]
    assert try_to_load_from_cache("org/repo", FILE, cache) is None


LIBRARY = "import sys; from huggingface_hub import hf_hub_download; print(hf_hub_download(*sys.argv[1:]))"


def by_the_library(**environment: str) -> Path:
    """In a process of its own: it reads its variables once, when it is imported."""
    line = [sys.executable, "-c", LIBRARY, "org/repo", FILE]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True, env=os.environ | environment)
    return Path(done.stdout.strip())


@pytest.mark.slow
def test_huggingface_hub_uses_it(hub: Hub, repo: Repo) -> None:
    path, _ = pull()
    assert by_the_library(HF_HUB_OFFLINE="1") == path
    assert by_the_library() == path
    assert len(hub.contents()) == 1


@pytest.mark.slow
def test_what_huggingface_hub_fetches_is_used(hub: Hub, repo: Repo, cache: Path) -> None:
    path = by_the_library()
    assert resolve(NAME) == str(path)
    files = in_cache(cache)
    assert pull(check=True)[0] == path
    assert in_cache(cache) == files
    assert len(hub.contents()) == 1
    assert not records.owns(path)


@pytest.mark.slow
def test_who_comes_while_huggingface_hub_fetches_waits(hub: Hub, repo: Repo) -> None:
    """By the same lock."""
    hub.pause = threading.Event()
    found: list[Path] = []
    thread = threading.Thread(target=lambda: found.append(by_the_library()))
    thread.start()
    assert hub.halfway.wait(60)

    def report(text: str, done: int, total: int) -> None:
        if "another process fetches it" in text and hub.pause is not None:
            hub.pause.set()

    path = fetch(parse(NAME), report)
    thread.join(60)
    assert found == [path]
    assert len(hub.contents()) == 1


def test_what_stands_as_huggingface_hub_lays_it_out(hub: Hub, repo: Repo, cache: Path) -> None:
    folder = cache / "models--org--repo"
    snapshot = folder / "snapshots" / repo.commit
    snapshot.mkdir(parents=True)
    (folder / "blobs").mkdir()
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text(repo.commit)
    (folder / "blobs" / repo.etag(FILE)).write_bytes(DATA)
    (snapshot / FILE).symlink_to(f"../../blobs/{repo.etag(FILE)}")
    assert resolve(NAME) == resolve("org/repo") == str(snapshot / FILE)
    assert hub.asked == []
    pull()
    assert hub.contents() == []
    assert not records.owns(snapshot / FILE)


def test_what_is_here_is_used_without_the_network(hub: Hub, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = pull()
    hub.asked.clear()
    for name in (NAME, "org/repo", "hf.co/org/repo:q4_k_m", f"https://huggingface.co/org/repo/blob/main/{FILE}"):
        assert resolve(name) == resolve(name, fetch=True) == str(path)
    assert hub.asked == []
    assert records.last_used(path)


def test_a_new_commit(hub: Hub, repo: Repo, cache: Path) -> None:
    old, _ = pull()
    hub.repos["org/repo"] = new = Repo({FILE: DATA, "README.md": b"# another"})
    assert resolve(NAME) == str(old)
    path, _ = pull()
    assert path.parent.name == new.commit
    assert path.samefile(old)
    assert len(hub.contents()) == 1
    assert resolve(NAME) == str(path)


def test_parts(hub: Hub, cache: Path) -> None:
    parts = {f"Q8_0/m-0000{i}-of-00003.gguf": DATA[: 1000 + i] for i in (1, 2, 3)}
    hub.repos["org/split"] = Repo(parts)
    hub.faults = ["", "", "404"]
    assert "no such repository or file; a private one needs HF_TOKEN; what came is kept" in refused("org/split")
    assert not [name for name in in_cache(cache) if "snapshots" in name]
    told: list[tuple[int, int]] = []
    path = fetch(parse("org/split"), lambda text, done, total: told.append((done, total)))
    assert path.name == "m-00001-of-00003.gguf"
    assert {name: (path.parent / Path(name).name).read_bytes() for name in parts} == parts
    assert len(hub.contents()) == 4
    assert told[-1] == (3006, 3006)
    address = "https://huggingface.co/org/split/resolve/main/Q8_0/m-00002-of-00003.gguf"
    assert resolve(address) == str(path)
    shutil.rmtree(cache)
    assert pull(address)[0].name == "m-00001-of-00003.gguf"
    assert len(list(path.parent.iterdir())) == 3


def test_where_links_cannot_be_made(hub: Hub, repo: Repo, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def symlink(*_: object) -> None:
        raise OSError(errno.EPERM, "a privilege is not held")

    monkeypatch.setattr(os, "symlink", symlink)
    path, _ = pull()
    assert not path.is_symlink()
    assert path.read_bytes() == DATA
    assert [name for name in in_cache(cache) if "blobs" in name] == []
    assert records.owns(path)
    pull(check=True)
    assert len(hub.contents()) == 1
    assert scan_cache_dir(cache).warnings == []
    hub.repos["org/repo"] = Repo({FILE: DATA, "README.md": b"# another"})
    other, _ = pull()
    assert other != path
    assert other.read_bytes() == path.read_bytes()
    pull()
    assert len(hub.contents()) == 2


# the disk


def test_disk_space_is_looked_at_first(hub: Hub, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": len(DATA) - 1}))
    assert "models--org--repo: 525 kB are needed, 525 kB are free; make room" in refused()
    assert hub.contents() == []


def test_a_disk_that_fills_up(hub: Hub, repo: Repo, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = transfer.Transfer._save

    def full(self, out, chunk):
        if out.tell() > len(DATA) // 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, out, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(transfer.Transfer, "_save", full)
        message = refused()
    words = r"blobs: the disk is full, \d+ kB of org/repo:Q4_K_M are missing; make room; what came is kept"
    assert re.search(words, message)
    assert [name for name in in_cache(cache) if not name.endswith(".incomplete")] == []
    pull()
    assert hub.contents()[-1].range


@pytest.mark.skipif(not (hasattr(os, "geteuid") and os.geteuid() == 0), reason="mounting a small disk needs root")
def test_a_small_disk(hub: Hub, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real one, whose free space is told wrongly at first, as when another program fills it meanwhile."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", disk], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        monkeypatch.setenv("HF_HUB_CACHE", str(disk / "hub"))
        assert "are needed" in refused()
        monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1 << 40}))
        assert "the disk is full" in refused()
        assert [name for name in in_cache(disk) if not name.endswith(".incomplete")] == []
        subprocess.run(["mount", "-o", "remount,size=2m", disk], check=True)
        assert pull()[0].read_bytes() == DATA
        assert hub.contents()[-1].range
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_cache_that_cannot_be_made(hub: Hub, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file/hub"))
    assert "Not a directory" in refused()


# processes


CHILD = "import sys; from localllm.cli.main import main; sys.exit(main(['pull', *sys.argv[1:]]))"


def child(*names: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-c", CHILD, *names]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_several_processes_fetch_once(hub: Hub, repo: Repo, cache: Path) -> None:
    hub.pause = threading.Event()
    first = child(NAME)
    assert hub.halfway.wait(60)
    others = [child(NAME), child("org/repo")]
    said = others[0].stderr.readline() if others[0].stderr else ""
    assert "another process fetches it" in said
    hub.pause.set()
    paths = [process.communicate(timeout=60)[0] for process in [first, *others]]
    assert len(set(paths)) == 1
    assert Path(paths[0].strip()).read_bytes() == DATA
    assert len(hub.contents()) == 1
    assert len(in_cache(cache)) == 3


@pytest.mark.parametrize("name", ["http_proxy", "all_proxy"])
def test_a_proxy(hub: Hub, repo: Repo, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A proxy is sent whole addresses; NO_PROXY goes around it."""
    with hub_stub.running() as proxy:
        proxy.plain["http://models.example/a.gguf"] = DATA
        for variable in ("http_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(variable, raising=False)
            monkeypatch.delenv(variable.upper(), raising=False)
        monkeypatch.setenv(name, proxy.url)
        proxy.proxied = True
        assert pull("http://models.example/a.gguf")[0].read_bytes() == DATA
        assert {a.path for a in proxy.asked} == {"http://models.example/a.gguf"}
        for variable in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(variable, "127.0.0.1")
        n = len(proxy.asked)
        assert pull(f"hf.co/org/repo/{FILE}")[0].read_bytes() == DATA
        assert len(proxy.asked) == n
