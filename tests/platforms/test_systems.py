"""localllm on a Windows and a macOS that are made of Linux: tests.platforms.windows says what that proves and what not.
It was never run on either."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from localllm.kernels import objects
from tests.server import tiny
from tests.store import hub_stub

SYSTEMS = ("windows", "macos")

ALL_MODULES = """
import importlib, pkgutil
import localllm
names = [m.name for m in pkgutil.walk_packages(localllm.__path__, "localllm.") if m.name != "localllm.__main__"]
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
print(len(names))
"""


class Run:
    """Runs localllm on such a system, where the user has a home of their own."""

    def __init__(self, system: str, home: Path) -> None:
        self.system, self._home = system, home

    def line(self, *arguments: object) -> tuple[list[str], dict[str, str]]:
        """A command and its environment."""
        dropped = {"LOCALLLM_HOME", "LOCALLLM_ORIGINS", "HF_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"}
        environment = {name: value for name, value in os.environ.items() if name not in dropped | {"PYTHONIOENCODING"}}
        line = [sys.executable, "-m", f"tests.platforms.{self.system}", *map(str, arguments)]
        # The processes that compile kernels are not imitated: both would put them where their own system has caches.
        kept = {"LOCALLLM_CACHE": str(objects.root().parent)}
        return line, environment | kept | {"HOME": str(self._home), "LANG": "C.UTF-8"}

    def __call__(self, *arguments: object, stdin: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
        line, environment = self.line(*arguments)
        return subprocess.run(line, input=stdin, env=environment | variables, capture_output=True, timeout=300)


@pytest.fixture(params=SYSTEMS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    home = tmp_path / "home"
    home.mkdir()
    return Run(request.param, home)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.mark.slow
def test_every_module_is_imported(run: Run) -> None:
    done = run("-c", ALL_MODULES)
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) > 300


def test_commands_that_compute_nothing(run: Run, model: Path) -> None:
    commands = [["--help"], ["list"], ["show", str(model)], ["tokenize", str(model), "er"], ["show", "none.gguf"]]
    code = f"from localllm.cli.main import main\nfor c in {commands}: print('\\0', main(c), flush=True)"
    done = run("-c", code)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr.split() == b"localllm: none.gguf: no such file".split()
    usage, listed, shown, tokens, nothing, last = done.stdout.split(b"\0")
    assert b"Usage: localllm" in usage
    assert b"smollm2-135m-instruct" in listed
    assert b"llama: supported" in shown
    assert tokens.split() == [b"0", b"93", b"er"]
    assert nothing.split() == [b"0"]
    assert last.split() == [b"1"]


@pytest.mark.slow
def test_doctor(run: Run) -> None:
    done = run("doctor", "-o", "json")
    assert done.returncode in (0, 1), done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert json.loads(done.stdout)


@pytest.mark.slow
def test_a_prompt_from_a_pipe(run: Run, model: Path) -> None:
    """A pipe that is silent is no socket, and what goes through it is UTF-8 whatever the system's encoding is."""
    arguments = ("run", model, "--raw", "-n", 6, "-t", 2, "--temp", 0, "-o", "json")
    done = run(*arguments, stdin=b"ab ")
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["text"]
    marked = run(*arguments, stdin=b"\xef\xbb\xbfab ")
    assert json.loads(marked.stdout)["text"] == json.loads(done.stdout)["text"]
    refused = run(*arguments, stdin=b"caf\xe9")  # cp1252
    assert refused.returncode == 2
    assert b"is not UTF-8" in refused.stderr


@pytest.mark.slow
def test_a_chat_over_a_pipe_is_kept(run: Run, model: Path) -> None:
    """In SQLite, in the folders that the system has for it."""
    done = run("chat", model, "--keep", "-n", 4, "-c", 256, stdin=b"hello\nonce more\n")
    assert done.returncode == 0, done.stderr.decode()
    code = "from localllm.chat.places import database_path; import sqlite3; p = database_path(); print(p)\n"
    code += "print(sqlite3.connect(p).execute('SELECT count(*) FROM messages').fetchone()[0])"
    place, count = run("-c", code).stdout.decode().split("\n")[:2]
    assert int(count) >= 4
    assert any(part in place for part in ("AppData/Local/localllm", "Library/Application Support/localllm"))


@pytest.mark.slow
def test_a_batch(run: Run, model: Path, tmp_path: Path) -> None:
    """Its file of answers is read while it is locked, and its lines end as they do elsewhere."""
    body = {"messages": [{"role": "user", "content": "abc"}], "max_tokens": 4}
    lines = [
        json.dumps({"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}) for name in "ab"
    ]
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    for n in (1, 2):
        source.write_text("\n".join(lines[:n]) + "\n")
        done = run("batch", source, target, model, "-c", 256, "--no-cache")
        assert done.returncode == 0, done.stderr.decode()
        assert target.read_bytes().count(b"\n") == n
        assert b"\r" not in target.read_bytes()
        assert [json.loads(line)["custom_id"] for line in target.read_text().splitlines()] == list("ab"[:n])


@pytest.mark.slow
def test_a_model_from_a_hub(run: Run, model: Path) -> None:
    """Fetched under a lock, synced, put in place where no links can be made; found, and removed."""
    with hub_stub.running() as hub:
        hub.repos["org/tiny"] = hub_stub.Repo({"tiny-Q8_0.gguf": model.read_bytes()})
        done = run("pull", "org/tiny:Q8_0", HF_ENDPOINT=hub.url)
        assert done.returncode == 0, done.stderr.decode()
        again = run("pull", "org/tiny:Q8_0", HF_ENDPOINT=hub.url)
        assert again.returncode == 0, again.stderr.decode()
        assert sum(asked.path.endswith(".gguf") and asked.method == "GET" for asked in hub.asked) == 1
    assert b"org/tiny:Q8_0" in run("list").stdout
    assert run("show", "org/tiny:Q8_0").returncode == 0
    removed = run("rm", "--yes", "org/tiny:Q8_0")
    assert removed.returncode == 0, removed.stderr.decode()
    assert b"org/tiny:Q8_0" not in run("list").stdout


@pytest.mark.slow
def test_a_server(run: Run, model: Path) -> None:
    """It answers, and ends as it should when it is asked to: by Ctrl-Break on Windows, by SIGTERM elsewhere."""
    line, environment = run.line("serve", model, "-c", 256, "--no-cache", "--port", 0)
    with subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            url = next(found[0] for told in server.stderr if (found := re.search(r"http://[\d.]+:\d+", told)))
            body = json.dumps({"prompt": "ab", "n_predict": 4}).encode()
            request = urllib.request.Request(f"{url}/completion", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert json.load(answer)["content"]
            server.send_signal(signal.SIGUSR1 if run.system == "windows" else signal.SIGTERM)
            assert server.wait(60) == 0
        finally:
            server.kill()


def test_a_file_in_use_and_an_unread_pipe(run: Run) -> None:
    """Who has a file open keeps Windows from replacing it: that is waited for, and told. What is synced on macOS leaves
    the drive's own memory."""
    code = """
import errno, sys
from pathlib import Path
from localllm.cli.streams import is_broken_pipe
from localllm.runtime import files
files._PATIENCE = 0.05
Path("new").write_text("new")
Path("old").write_text("old")
with open("old") as held:
    try:
        files.replace("new", "old")
        print("replaced")
    except PermissionError:
        print("refused")
files.sync_file("old")
if Path("new").exists():
    files.replace("new", "old")
print(Path("old").read_text(), is_broken_pipe(OSError(errno.EINVAL, "")), is_broken_pipe(BrokenPipeError()))
print(len(getattr(sys.modules["__main__"], "synced", "")))
"""
    done = run("-c", f"import os; os.chdir(os.environ['HOME'])\n{code}")
    assert done.returncode == 0, done.stderr.decode()
    is_windows = run.system == "windows"
    told = ["refused", "new", "True", "True", "0"] if is_windows else ["replaced", "new", "False", "True", "1"]
    assert done.stdout.decode().split() == told


def test_threads(run: Run) -> None:
    code = "from localllm.runtime.processors import processors; p = processors(); print(p.logical, p.fast)\n"
    code += "from localllm.runtime.system import available_memory; print(available_memory() > 0)"
    code += "\nfrom localllm.generate.grammar_stack import on_large_stack; on_large_stack(print)"
    done = run("-c", code)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.split() == ([b"2", b"2"] if run.system == "windows" else [b"8", b"4"]) + [b"True"]


APPLE = """
from localllm.kernels.simd.targets import current, host_features
print(current().name, *sorted(host_features()))
"""


@pytest.mark.parametrize(("answers", "target"), [({}, "neoni8mm"), ({b"hw.optional.arm.FEAT_I8MM": 0}, "neon")])
def test_target_on_an_apple_processor(answers: dict[bytes, int], target: str) -> None:
    """Of an M2 and an M1. LLVM tells nothing there: the system is asked. No kernel is loaded."""
    code = f"from tests.platforms import macos; macos.SYSCTL |= {answers}; macos.become()\n{APPLE}"
    environment = os.environ | {"ARM64": "1", "LOCALLLM_TARGET": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [target, "dotprod", "fullfp16", *(["i8mm"] if not answers else []), "neon"]
