"""`localllm pull`: every form of a name, what is printed, an interrupt."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localllm.store import retry
from tests.store.hub_stub import Hub, Repo, running

DATA = b"GGUF" + bytes(range(256)) * 4096


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(retry, "PAUSE", 0.001)
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)
    with running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.repos["org/repo"] = Repo({"m-Q4_K_M.gguf": DATA, "m-Q8_0.gguf": DATA + b"8", "README.md": b"#"})
        hub.plain["/there/other.gguf"] = DATA + b"other"
        yield hub


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("org/repo", "m-Q4_K_M.gguf"),
        ("org/repo:q8_0", "m-Q8_0.gguf"),
        ("hf.co/org/repo:Q8_0", "m-Q8_0.gguf"),
        ("https://huggingface.co/org/repo/blob/main/m-Q8_0.gguf", "m-Q8_0.gguf"),
        ("https://huggingface.co/org/repo/resolve/main/m-Q4_K_M.gguf?download=true", "m-Q4_K_M.gguf"),
    ],
)
def test_every_form_of_a_name(call, hub: Hub, name: str, file: str) -> None:
    done = call("pull", name)
    assert done.status == 0
    path = Path(done.out.removesuffix("\n"))
    assert path.name == file
    assert path.read_bytes() == hub.repos["org/repo"].files[file]


def test_an_address_of_another_host(call, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT")
    done = call("pull", f"{hub.url}/there/other.gguf")
    assert Path(done.out.strip()).read_bytes() == DATA + b"other"


def test_pull_again(call, hub: Hub) -> None:
    path = Path(call("pull", "org/repo").out.strip())
    again = call("pull", "org/repo", "org/repo:Q8_0")
    assert again.out.splitlines()[0] == str(path)
    assert "checking org/repo:Q4_K_M" in again.err
    assert len(hub.contents()) == 2
    os.truncate(os.path.realpath(path), 100)
    assert "damaged" in call("pull", "org/repo").err
    assert path.read_bytes() == DATA


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("org/repo:Q3_K", "org/repo: there is no Q3_K; there is Q4_K_M, Q8_0"),
        ("nobody/nothing", "nobody/nothing: no such file here, and no such repository"),
        ("here.gguf", "here.gguf: is here already: a path, not a name that could be fetched"),
        ("gone.gguf", "gone.gguf: no such file"),
        ("smollm2-135m", "near it: smollm2-135m-instruct"),
        ("ftp://example.org/a.gguf", "an address of a model begins with https://"),
    ],
)
def test_what_cannot_be_fetched(call, hub: Hub, name: str, words: str) -> None:
    Path("here.gguf").write_text("")
    done = call("pull", name)
    assert done.status == 1
    assert words in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""


def test_without_a_name(call) -> None:
    assert call("pull").status == 2


@pytest.mark.parametrize("option", ["-m", "-hf", "--hf-repo"])
def test_a_name_by_an_option(call, hub: Hub, option: str) -> None:
    """What came is no whole model: the path that the reader complains of tells which file was meant."""
    done = call("run", option, "org/repo:Q8_0", "hello")
    assert done.status == 1
    assert "m-Q8_0.gguf" in done.err.splitlines()[-1]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt(hub: Hub, sign: signal.Signals, tmp_path: Path) -> None:
    hub.pause = threading.Event()
    line = [sys.executable, "-m", "localllm.cli.main", "pull", "org/repo"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert hub.halfway.wait(60)
        until(lambda: any(part.stat().st_size for part in tmp_path.rglob("*.incomplete")))
        process.send_signal(sign)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + sign
    assert out == ""
    assert "org/repo:Q4_K_M: stopped; what came is kept: the same command goes on from there" in err
    assert "Traceback" not in err
    hub.pause = None
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert Path(done.stdout.strip()).read_bytes() == DATA
    assert int((hub.contents()[-1].range or "0-").removeprefix("bytes=")[:-1]) > 0
