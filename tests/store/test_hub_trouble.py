"""Downloads from a hub that is broken, wrong or hostile: each ends with the whole file, or in one clear line with
nothing half-written to be seen."""

import sys
from pathlib import Path

import pytest

from localllm.store import hf_cache, retry
from localllm.store.resolve import resolve
from tests.store import hub_stub
from tests.store.hub_stub import Hub, Repo
from tests.store.pulling import DATA, FILE, NAME, in_cache, pull, refused, require_clean

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
    assert "no such file here, and no such repository, or a private one: if it is private, set HF_TOKEN" in refused()
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
