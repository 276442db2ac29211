"""Models at any address: into the store, under which name, and when they are fetched again."""

import re
from pathlib import Path

import pytest

from localllm.errors import StoreError
from localllm.store import records, url_source
from localllm.store.fetch import fetch
from localllm.store.names import parse
from localllm.store.resolve import resolve
from tests.store.hub_stub import Hub

DATA = b"GGUF" + bytes(range(256)) * 1024


@pytest.fixture
def web(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A server that is no hub."""
    monkeypatch.delenv("HF_ENDPOINT")
    hub.plain["/there/m.gguf"] = DATA
    return hub


@pytest.fixture
def store(web: Hub, tmp_path: Path) -> Path:
    return tmp_path / "home/models"


def pull(url: str) -> Path:
    return fetch(parse(url), lambda *_: None, check=True)


def names(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir() if not path.name.endswith(".lock"))


def test_into_the_store(web: Hub, store: Path) -> None:
    url = f"{web.url}/there/m.gguf"
    with pytest.raises(StoreError, match=r"there/m\.gguf is not here yet; fetch it with `localllm pull http"):
        resolve(url)
    assert resolve(url, fetch=True) == str(store / "m.gguf")
    assert (store / "m.gguf").read_bytes() == DATA
    assert names(store) == ["m.gguf"]
    assert records.owns(store / "m.gguf")
    web.asked.clear()
    assert resolve(url) == resolve(url, fetch=True) == resolve("m") == str(store / "m.gguf")
    assert web.asked == []


def test_pull_again(web: Hub, store: Path) -> None:
    url = f"{web.url}/there/m.gguf"
    pull(url)
    pull(url)
    assert [a.method for a in web.asked] == ["HEAD", "GET", "HEAD"]
    web.plain["/there/m.gguf"] = DATA[:-1] + b"x"
    pull(url)
    assert (store / "m.gguf").read_bytes() == DATA[:-1] + b"x"
    assert names(store) == ["m.gguf"]


def test_resumed(web: Hub, store: Path) -> None:
    web.faults = ["break", "404"]
    with pytest.raises(StoreError, match=r"HTTP status 404.*; what came is kept"):
        pull(f"{web.url}/there/m.gguf")
    assert names(store)[0].startswith(".m.gguf.")
    pull(f"{web.url}/there/m.gguf")
    assert web.asked[-1].range == f"bytes={len(DATA) // 2}-"
    assert (web.asked[-1].if_range or "").startswith('"')
    assert names(store) == ["m.gguf"]


def test_another_file_since_the_last_run(web: Hub, store: Path) -> None:
    web.faults = ["break", "404"]
    with pytest.raises(StoreError):
        pull(f"{web.url}/there/m.gguf")
    web.plain["/there/m.gguf"] = DATA[:-1] + b"x"
    pull(f"{web.url}/there/m.gguf")
    assert (store / "m.gguf").read_bytes() == DATA[:-1] + b"x"
    assert names(store) == ["m.gguf"]


def test_another_file_while_it_comes(web: Hub, store: Path) -> None:
    """If-Range: the rest of another file is never put behind the beginning of the first."""
    web.faults = ["break"]
    new = DATA[:-1] + b"x"

    def report(text: str, done: int, total: int) -> None:
        web.plain["/there/m.gguf"] = new

    fetch(parse(f"{web.url}/there/m.gguf"), report)
    assert (store / "m.gguf").read_bytes() == new
    assert [a.range is None for a in web.contents()] == [True, False]


def test_a_date_tells_versions_apart(web: Hub, store: Path) -> None:
    web.etags["/there/m.gguf"] = ""
    web.date = "Wed, 21 Oct 2026 07:28:00 GMT"
    web.faults = ["break", "404"]
    with pytest.raises(StoreError):
        pull(f"{web.url}/there/m.gguf")
    web.faults = ["break"]
    pull(f"{web.url}/there/m.gguf")
    assert [a.if_range for a in web.contents()] == [None, *[web.date] * 3]
    assert all(a.range for a in web.contents()[1:])
    assert (store / "m.gguf").read_bytes() == DATA


def test_nothing_tells_versions_apart(web: Hub, store: Path) -> None:
    web.etags["/there/m.gguf"] = ""
    web.faults = ["break", "404"]
    with pytest.raises(StoreError):
        pull(f"{web.url}/there/m.gguf")
    pull(f"{web.url}/there/m.gguf")
    assert web.asked[-1].range is None
    assert (store / "m.gguf").read_bytes() == DATA


def test_a_server_without_head(web: Hub, store: Path) -> None:
    web.head = False
    assert pull(f"{web.url}/there/m.gguf").read_bytes() == DATA


def test_two_files_of_one_name(web: Hub, store: Path) -> None:
    web.plain["/elsewhere/m.gguf"] = DATA + b"2"
    first, second = pull(f"{web.url}/there/m.gguf"), pull(f"{web.url}/elsewhere/m.gguf")
    assert first.read_bytes() == DATA
    assert second.read_bytes() == DATA + b"2"
    assert second.name.startswith("m-")
    assert resolve(f"{web.url}/elsewhere/m.gguf") == str(second)
    assert resolve(f"{web.url}/there/m.gguf") == str(first)


def test_two_files_of_one_name_at_once(web: Hub, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process chooses the place before the other one has its file there; neither takes the other's for its own."""
    url, other = f"{web.url}/there/m.gguf", f"{web.url}/other/m.gguf"
    web.plain["/other/m.gguf"] = DATA[:-1] + b"x"
    places = url_source._places

    def slow(urls: list[str]) -> list[Path]:
        monkeypatch.setattr(url_source, "_places", places)
        chosen = places(urls)
        pull(other)
        return chosen

    monkeypatch.setattr(url_source, "_places", slow)
    with pytest.raises(StoreError, match="another process put another file there just now: try again"):
        pull(url)
    assert (store / "m.gguf").read_bytes() == DATA[:-1] + b"x"
    assert pull(url).read_bytes() == DATA
    assert pull(other) == store / "m.gguf"


def test_a_file_that_the_user_put_there(web: Hub, store: Path) -> None:
    store.mkdir(parents=True)
    (store / "m.gguf").write_bytes(b"mine")
    assert pull(f"{web.url}/there/m.gguf").name != "m.gguf"
    assert (store / "m.gguf").read_bytes() == b"mine"


@pytest.mark.parametrize("file", ["download", "x%2F..%2F..%2Fm.gguf", ".m.gguf", "smollm2-135m-instruct-q4_1.gguf"])
def test_names_that_cannot_be_kept(web: Hub, store: Path, file: str) -> None:
    from urllib.parse import unquote

    web.plain[f"/there/{unquote(file)}"] = DATA
    path = pull(f"{web.url}/there/{file}?key=1")
    assert path.parent == store
    assert path.name not in (file, "smollm2-135m-instruct-q4_1.gguf")
    assert path.read_bytes() == DATA


def test_parts(web: Hub, store: Path) -> None:
    for i in (1, 2):
        web.plain[f"/there/s-0000{i}-of-00002.gguf"] = DATA + bytes([i])
    path = pull(f"{web.url}/there/s-00002-of-00002.gguf")
    assert path == store / "s-00001-of-00002.gguf"
    assert names(store) == ["s-00001-of-00002.gguf", "s-00002-of-00002.gguf"]
    assert resolve(f"{web.url}/there/s-00001-of-00002.gguf") == str(path)
    (store / "s-00002-of-00002.gguf").unlink()
    with pytest.raises(StoreError, match="not here yet"):
        resolve(f"{web.url}/there/s-00001-of-00002.gguf")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("page", "is no GGUF file, it begins with b'<!doctype"),
        ("longer", "bytes there, expected"),
        ("shorter", "bytes there, expected"),
        ("404", "HTTP status 404"),
    ],
)
def test_what_is_no_model(web: Hub, store: Path, fault: str, words: str) -> None:
    web.faults = [fault]
    with pytest.raises(StoreError, match=words):
        pull(f"{web.url}/there/m.gguf")
    assert names(store) == []


def test_what_is_not_there(web: Hub) -> None:
    with pytest.raises(StoreError, match="HTTP status 404"):
        pull(f"{web.url}/there/none.gguf")
    url = f"{web.url}/there/m.gguf"
    web.server_close()
    with pytest.raises(StoreError, match="cannot be reached: Connection refused"):
        pull(url)


def test_an_empty_file(web: Hub) -> None:
    web.plain["/there/m.gguf"] = b""
    with pytest.raises(StoreError, match="does not say how large the file is"):
        pull(f"{web.url}/there/m.gguf")


def test_offline(web: Hub, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(StoreError, match="is not here, and HF_HUB_OFFLINE is set"):
        pull(f"{web.url}/there/m.gguf")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    path = pull(f"{web.url}/there/m.gguf")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    web.asked.clear()
    assert pull(f"{web.url}/there/m.gguf") == path
    assert web.asked == []


def test_no_file_of_windows_has_a_colon() -> None:
    (place,) = url_source._places(["http://[::1]:8000/download"])
    assert re.fullmatch(r"--1-[0-9a-f]{8}\.gguf", place.name)
