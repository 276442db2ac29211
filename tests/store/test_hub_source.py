"""Downloads from a hub that is broken, wrong or hostile: each ends with the whole file, or in one clear line with
nothing half-written to be seen."""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir, try_to_load_from_cache

from localllm.errors import StoreError
from localllm.store import hf_cache, records, retry, transfer
from localllm.store.fetch import fetch
from localllm.store.names import parse
from localllm.store.resolve import resolve
from tests.store import hub_stub
from tests.store.hub_stub import Hub, Repo

DATA = b"GGUF" + bytes(range(256)) * 2048
FILE = "m-Q4_K_M.gguf"
NAME = "org/repo:Q4_K_M"


@pytest.fixture
def repo(hub: Hub) -> Repo:
    hub.repos["org/repo"] = Repo({FILE: DATA, "README.md": b"# m"})
    return hub.repos["org/repo"]


def pull(name: str = NAME, check: bool = False) -> tuple[Path, list[str]]:
    """The path, and the messages."""
    said: list[str] = []
    path = fetch(parse(name), lambda text, done, total: None if total else said.append(text), check)
    return path, said


def refused(name: str = NAME) -> str:
    with pytest.raises(StoreError) as caught:
        pull(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def in_cache(cache: Path) -> list[str]:
    """Files of the cache but locks, by name."""
    return sorted(str(p.relative_to(cache)) for p in cache.rglob("*") if not p.is_dir() and ".locks" not in p.parts)


def require_clean(cache: Path) -> None:
    """Nothing that a program could take for a model, and nothing that is left over."""
    assert in_cache(cache) == []


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


# connections


def test_a_connection_that_breaks_three_times(hub: Hub, repo: Repo) -> None:
    hub.faults = ["break", "break", "break"]
    path, said = pull()
    assert path.read_bytes() == DATA
    assert len(said) == 3
    assert "the connection broke after" in said[0]
    starts = [int((a.range or "bytes=0-")[6:-1]) for a in hub.contents()]
    assert starts == sorted(set(starts))
    assert [a.if_range for a in hub.contents()] == [None] + [f'"{repo.etag(FILE)}"'] * 3


@pytest.mark.parametrize("faults", [["503", "429", "408"], ["no length", "break"], ["416"], ["break", "416"]])
def test_servers_that_recover(hub: Hub, repo: Repo, faults: list[str]) -> None:
    hub.faults = faults
    assert pull()[0].read_bytes() == DATA


@pytest.mark.parametrize("second", ["no ranges", "wrong range"])
def test_servers_that_do_not_resume(hub: Hub, repo: Repo, second: str) -> None:
    hub.faults = ["break", second]
    assert pull()[0].read_bytes() == DATA


def test_attempts_are_bounded(hub: Hub, repo: Repo, cache: Path) -> None:
    hub.faults = ["503"] * 50
    assert "HTTP status 503" in refused()
    assert len(hub.contents()) == retry.ATTEMPTS
    require_clean(cache)


def test_attempts_without_progress_are_bounded(hub: Hub, repo: Repo) -> None:
    hub.faults = ["break", *["503"] * 50]
    message = refused()
    assert "HTTP status 503" in message
    assert "what came is kept: the same command goes on from there" in message
    assert len(hub.contents()) == retry.ATTEMPTS


def test_the_next_run_goes_on(hub: Hub, repo: Repo, cache: Path) -> None:
    hub.faults = ["break", "404"]
    assert "what came is kept" in refused()
    assert [name for name in in_cache(cache) if not name.endswith(".incomplete")] == []
    pull()
    assert hub.contents()[-1].range == f"bytes={len(DATA) // 2}-"
    assert len(in_cache(cache)) == 3


def test_the_etag_changes_between_two_runs(hub: Hub, repo: Repo, cache: Path) -> None:
    hub.faults = ["break", "404"]
    refused()
    new = DATA[:-1] + b"2"
    hub.repos["org/repo"] = Repo({FILE: new})
    assert pull()[0].read_bytes() == new
    assert hub.contents()[-1].range is None
    assert len(in_cache(cache)) == 3  # nothing is left of the other


def test_what_an_earlier_run_left_is_damaged(hub: Hub, repo: Repo, cache: Path) -> None:
    hub.faults = ["break", "404"]
    refused()
    part = next(cache.rglob("*.incomplete"))
    data = bytearray(part.read_bytes())
    data[1000] ^= 1
    part.write_bytes(data)
    path, said = pull()
    assert path.read_bytes() == DATA
    assert any("damaged; beginning again" in text for text in said)


def test_a_part_that_is_longer_than_the_file(hub: Hub, repo: Repo, cache: Path) -> None:
    hub.faults = ["break", "404"]
    refused()
    next(cache.rglob("*.incomplete")).write_bytes(DATA + b"more")
    assert pull()[0].read_bytes() == DATA


# lies


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("longer", f"the file has {len(DATA) + 4} bytes there, expected {len(DATA)}"),
        ("shorter", f"the file has {len(DATA) - 4} bytes there, expected {len(DATA)}"),
        ("wrong", "what came is not the file: its hash is"),
        ("page", "what comes is no GGUF file, it begins with b'<!doctype html>"),
    ],
)
def test_another_file(hub: Hub, repo: Repo, cache: Path, fault: str, words: str) -> None:
    hub.faults = [fault]
    message = refused()
    assert words in message
    assert "what came is kept" not in message
    require_clean(cache)
    assert pull()[0].read_bytes() == DATA


@pytest.mark.parametrize("size", [1, 10**6, 1 << 50, -1, 0, "many", None])
def test_a_list_that_lies_about_the_size(hub: Hub, repo: Repo, cache: Path, size: object) -> None:
    lfs = {"sha256": repo.etag(FILE), "size": size, "pointerSize": 1}
    repo.listed = [{"rfilename": FILE, "size": size, "blobId": "", "lfs": lfs}]
    assert any(words in refused() for words in ("expected", "no model as a GGUF file", "are needed"))
    assert not [name for name in in_cache(cache) if not name.endswith(".incomplete")]


@pytest.mark.parametrize("etag", ["", "../../x", "0" * 63, "Z" * 64, 5, None])
def test_a_list_with_a_strange_hash(hub: Hub, repo: Repo, cache: Path, etag: object) -> None:
    repo.listed = [{"rfilename": FILE, "size": 9, "blobId": "", "lfs": {"sha256": etag, "size": 9, "pointerSize": 1}}]
    assert "no model as a GGUF file" in refused()


@pytest.mark.parametrize("commit", ["", "main", "../../../x", "a" * 39, "A" * 40])
def test_a_strange_commit(hub: Hub, repo: Repo, cache: Path, commit: str) -> None:
    repo.commit = commit
    assert "is no commit" in refused()
    require_clean(cache)


OUTSIDE = (
    "../x.gguf",
    "../../../../x.gguf",
    "/tmp/x.gguf",
    "a/../../x.gguf",
    "a//x.gguf",
    "./x.gguf",
    "C:\\x.gguf",
    "C:x.gguf",
    "..\\..\\x.gguf",
    "x\0.gguf",
    "x\n.gguf",
    "x\x9b31m.gguf",
    "x\u202efugg.gguf",
    "x" * 256 + ".gguf",
)


@pytest.mark.parametrize("path", OUTSIDE)
def test_names_that_leave_the_folder(hub: Hub, cache: Path, path: str) -> None:
    hub.repos["org/repo"] = Repo({path: DATA})
    assert "no model as a GGUF file" in refused("org/repo")
    require_clean(cache)


@pytest.mark.parametrize("revision", ["../../x", "refs/../../../x", "/etc", "a\0b"])
def test_revisions_that_leave_the_folder(hub: Hub, repo: Repo, cache: Path, revision: str) -> None:
    assert hf_cache.commit_of("org/repo", revision) is None
    hf_cache.remember("org/repo", revision, repo.commit)
    assert not cache.exists()


# redirects and tokens


def test_a_token_stays_at_its_host(hub: Hub, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.token, repo.private = "hf_secret", True
    with hub_stub.running() as other:
        other.repos["org/repo"] = Repo(repo.files)
        hub.elsewhere = other.url
        other.faults = ["break"]
        assert pull()[0].read_bytes() == DATA
        assert [a.token for a in other.asked] == [None, None]
    assert {a.token for a in hub.asked if a.path != "/api/agent-harnesses"} == {"hf_secret"}


def test_a_token_of_the_file(hub: Hub, repo: Repo, cache: Path) -> None:
    hub.token, repo.private = "hf_secret", True
    assert (
        "no such file here, and no such repository, or not for everybody: if it is private, set HF_TOKEN" in refused()
    )
    cache.parent.mkdir(exist_ok=True)
    (cache.parent / "token").write_text("hf_secret\n")
    assert pull()[0].read_bytes() == DATA


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "https://[::1/x", "//127.0.0.1:1/x"])
def test_redirects_to_strange_places(hub: Hub, repo: Repo, cache: Path, target: str) -> None:
    hub.elsewhere = target.removesuffix("/x")
    refused()
    require_clean(cache)


def test_redirects_in_a_circle(hub: Hub, repo: Repo, cache: Path) -> None:
    hub.elsewhere = hub.url
    assert "more than 5 redirects" in refused()
    assert len(hub.contents()) == 6
    require_clean(cache)


# refusals


def test_a_gated_repository(hub: Hub, repo: Repo, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo.gated = True
    message = refused()
    assert "access is restricted: accept its conditions at http" in message
    assert "/org/repo and set HF_TOKEN" in message
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "/org/repo and check that the token may read it" in refused()
    assert "access is restricted" in refused(f"hf.co/org/repo/{FILE}")
    require_clean(cache)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("org/none", "org/none: no such file here, and no such repository"),
        (f"hf.co/org/none/{FILE}", "no such repository"),
        ("hf.co/org/repo/none.gguf", "org/repo/none.gguf: there is no such file"),
        (f"https://hf.co/org/repo/resolve/v9/{FILE}", "there is no revision v9"),
        ("org/repo:Q2_K", "org/repo: there is no Q2_K; there is Q4_K_M"),
    ],
)
def test_what_is_not_there(hub: Hub, repo: Repo, cache: Path, name: str, words: str) -> None:
    assert words in refused(name)
    require_clean(cache)


def test_a_repository_without_a_model(hub: Hub, cache: Path) -> None:
    hub.repos["org/repo"] = Repo({"model.safetensors": b"x", "mmproj-F16.gguf": DATA})
    assert "org/repo: there is no model as a GGUF file in this repository" in refused("org/repo")
    require_clean(cache)


def test_a_busy_hub(hub: Hub, repo: Repo) -> None:
    hub.api_faults = [503, 500]
    assert pull()[0].read_bytes() == DATA
    hub.api_faults = [503] * 9
    assert "HTTP status 503" in refused()


def test_a_hub_that_is_not_there(hub: Hub, cache: Path) -> None:
    hub.server_close()
    assert "cannot be reached: Connection refused" in refused()
    assert "cannot be reached: Connection refused" in refused(f"hf.co/org/repo/{FILE}")


def test_without_huggingface_hub(hub: Hub, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert refused() == "org/repo: the names of a hub need huggingface_hub: pip install 'localllm[hub]'"
    assert pull(f"hf.co/org/repo/{FILE}")[0].read_bytes() == DATA
    assert resolve(NAME)


def test_offline(hub: Hub, repo: Repo, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert refused() == f"{NAME} is not in {cache}, and HF_HUB_OFFLINE is set"
    monkeypatch.delenv("HF_HUB_OFFLINE")
    path, _ = pull()
    hub.asked.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert pull()[0] == pull(check=True)[0] == path
    assert "not in" in refused("org/repo:Q8_0")
    assert hub.asked == []


# the disk


def test_disk_space_is_looked_at_first(hub: Hub, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": len(DATA) - 1}))
    assert "models--org--repo: 1 MB are needed, 1 MB are free" in refused()
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
    assert "blobs: the disk is full, 0 MB of org/repo:Q4_K_M are missing; make room; what came is kept" in message
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
