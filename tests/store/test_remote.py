"""Headers of models that are not here, from a server that answers well or badly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.errors import FormatError, StoreError
from localllm.store import hub, remote, retry
from localllm.store.hub import HubFile, Repository
from tests.gguf import build as b
from tests.gguf import parts as split
from tests.store.range_server import Files, serving

COMMIT = "c" * 40


def model(vocabulary: int = 10, pad: int = 5000) -> bytes:
    kvs = [
        b.kv("general.architecture", b.STR, "llama"),
        b.array("tokenizer.ggml.tokens", b.STR, ["x" * 992] * vocabulary),
    ]
    return b.gguf(kvs, [b.tensor("t.weight", (32, pad), 0)], bytes(4 * 32 * pad))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    monkeypatch.setattr(retry, "PAUSE", 0.0)
    monkeypatch.setattr(remote, "FIRST", 10_000)
    with serving({"/m.gguf": model()}) as files:
        monkeypatch.setenv("HF_ENDPOINT", files.url)
        yield files


def plain(server: Files, path: str = "/m.gguf") -> str:
    """An address that is no hub's: another name of this machine."""
    return server.url.replace("127.0.0.1", "localhost") + path


def test_a_header(server: Files) -> None:
    found = remote.open_remote(plain(server))
    assert found.file.metadata["general.architecture"] == "llama"
    assert found.file.tensors["t.weight"].shape == (32, 5000)
    assert found.sizes == (len(model()),) == (found.file.size,)
    assert found.n_read == server.n_sent == 20_000
    assert not found.file.has_data
    assert found.host.startswith("localhost:")


def test_the_beginning_grows(server: Files) -> None:
    """Twice as much each time, going on from what is here; no byte twice."""
    server.contents["/m.gguf"] = model(100)
    assert remote.open_remote(plain(server)).n_read == 160_000
    ranges = ["0-9999", "10000-19999", "20000-39999", "40000-79999", "80000-159999"]
    assert [asked for _, asked, _ in server.asked] == [f"bytes={one}" for one in ranges]


def test_a_file_that_ends_early(server: Files) -> None:
    server.contents["/m.gguf"] = b.gguf([b.kv("a", b.U32, 1)])
    assert remote.open_remote(plain(server)).n_read == len(server.contents["/m.gguf"])
    server.contents["/m.gguf"] = model()[:-1]
    with pytest.raises(FormatError, match=r"/m\.gguf: tensor t\.weight: .*truncated"):
        remote.open_remote(plain(server))


def test_a_huge_header(server: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "CAP", 64_000)
    server.contents["/m.gguf"] = model(100)
    with pytest.raises(StoreError, match="its header has more than 0 MB: it is not read from afar"):
        remote.open_remote(plain(server))
    assert server.n_sent <= 64_000


@pytest.mark.parametrize("faults", [["503"], ["break"], ["break", "500"]])
def test_what_passes(faults: list[str], server: Files) -> None:
    server.faults = faults
    assert remote.open_remote(plain(server)).file.tensors.keys() == {"t.weight"}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("whole", "the server sends no ranges of a file: only a download would tell what it is"),
        ("nonsense", "sends no ranges"),
        ("huge", "sends no ranges"),
        ("other", "answers another range than it was asked for: 'bytes 7-"),
        ("404", "HTTP status 404"),
        ("403", "access is restricted: accept its conditions at http"),
        ("more", "another range"),
    ],
)
def test_faults(fault: str, words: str, server: Files) -> None:
    server.faults = [fault]
    with pytest.raises(StoreError, match=rf"^http://localhost:\d+/m\.gguf: .*{words}"):
        remote.open_remote(plain(server))
    assert len(server.asked) == 1


@pytest.mark.parametrize("fault", ["size", "other"])
def test_a_file_that_changes(fault: str, server: Files) -> None:
    server.faults = ["", fault]
    with pytest.raises(StoreError, match="another range"):
        remote.open_remote(plain(server))


def test_a_server_that_gives_up(server: Files) -> None:
    server.faults = ["503"] * 3
    with pytest.raises(StoreError, match=r"/m\.gguf: HTTP status 503"):
        remote.open_remote(plain(server))


def test_no_server(server: Files) -> None:
    server.server_close()
    with pytest.raises(StoreError, match=r"^http://localhost:\d+/m\.gguf: .*refused"):
        remote.open_remote(plain(server))


def test_no_model(server: Files) -> None:
    server.contents["/m.gguf"] = b"<!DOCTYPE html>" + bytes(100)
    with pytest.raises(FormatError, match=r"/m\.gguf: not a GGUF file: .* a web page"):
        remote.open_remote(plain(server))


@pytest.fixture
def hubs(server: Files, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Files of the repository org/repo, which the hub lists; no huggingface_hub is asked."""
    files: dict[str, bytes] = {}

    def tell(repo: str, revision: str = "main") -> Repository:
        assert repo == "org/repo"
        known = {path: HubFile(path, len(data), "a" * 64) for path, data in files.items()}
        server.contents |= {f"/org/repo/resolve/{COMMIT}/{path}": data for path, data in files.items()}
        return Repository(repo, revision, COMMIT, known)

    monkeypatch.setattr(hub, "list_repository", tell)
    monkeypatch.setattr(hub, "one_file", lambda repo, path, revision="main": tell(repo, revision))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    return files


def test_a_model_of_a_hub(server: Files, hubs: dict[str, bytes]) -> None:
    hubs |= {"m-Q8_0.gguf": model(1), "m-Q4_K_M.gguf": model(2), "mmproj-F16.gguf": b"x"}
    for text, path in {"org/repo": "m-Q4_K_M.gguf", "hf.co/org/repo:q8_0": "m-Q8_0.gguf"}.items():
        found = remote.open_remote(text)
        assert found.sizes == (len(hubs[path]),)
        assert server.asked[-1] == (f"/org/repo/resolve/{COMMIT}/{path}", "bytes=0-9999", "Bearer hf_secret")
    assert remote.open_remote(f"{server.url}/org/repo/blob/main/m-Q8_0.gguf").sizes == (len(hubs["m-Q8_0.gguf"]),)
    server.faults = ["404"]
    with pytest.raises(StoreError, match=r"^127\.0\.0\.1:\d+: org/repo/m-Q8_0\.gguf: HTTP status 404"):
        remote.open_remote("org/repo:Q8_0")
    server.faults = ["403"]
    with pytest.raises(StoreError, match=r"accept its conditions at http://127.*/org/repo and check that the token"):
        remote.open_remote("org/repo:Q8_0")
    with pytest.raises(StoreError, match="there is no Q2_K; there is Q4_K_M, Q8_0"):
        remote.open_remote("org/repo:Q2_K")


def test_a_split_model_of_a_hub(server: Files, hubs: dict[str, bytes], tmp_path: Path) -> None:
    """Its size is that of all parts, its tensors those of all."""
    tensors = [b.tensor(f"t{i}", (32, 8), 0, 1024 * i) for i in range(3)]
    (tmp_path / "m.gguf").write_bytes(b.gguf([b.kv("general.architecture", b.STR, "llama")], tensors, bytes(3072)))
    parts = split.split(tmp_path / "m.gguf", tmp_path / "m", 1)
    hubs |= {path.name: path.read_bytes() for path in parts}
    found = remote.open_remote("org/repo")
    assert found.sizes == tuple(path.stat().st_size for path in parts)
    assert found.file.size == sum(found.sizes)
    assert len(found.file.tensors) == len(parts)


def test_offline(server: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(StoreError, match="org/repo:Q8_0 is not here, and HF_HUB_OFFLINE is set"):
        remote.open_remote("org/repo:Q8_0")
    assert server.asked == []


def test_what_has_a_remote() -> None:
    for text, has in {"org/repo": True, "https://x.org/m.gguf": True, "qwen3-8b": True, "nothing": False}.items():
        assert remote.has_remote(text) == has
    assert not remote.has_remote("./none.gguf")
