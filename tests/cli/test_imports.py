"""What each command imports, by name: nothing that it does not use, as `localllm` starts each time anew."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.generate.test_chat_states import VOCABULARY
from tests.recorded import models

OURS = {
    "hub": "localllm.store.hub",
    "stores": "localllm.store.origins",
    "catalog": "localllm.store.catalog",
    "gguf": "localllm.gguf.header",
    "network": "localllm.model.network",
    "context": "localllm.model.context",
    "generate": "localllm.generate.session",
    "editor": "localllm.chat.reading",
    "Markdown": "localllm.terminal.document",
}
"""Rooms that take long, by a module of each."""
OTHERS = (
    "numpy", "llvmlite", "numba", "jinja2", "regex", "sqlite3", "psutil", "tomllib", "email.parser", "http.client",
    "huggingface_hub", "prompt_toolkit", "asyncio", "markdown_it", "pygments", "msgspec", "starlette", "uvicorn",
    "gguf", "sentencepiece", "tqdm", "matplotlib", "click.shell_completion",
)  # fmt: skip
_COUNTED = {"gguf", "numpy", "llvmlite", "network"}
"""To count what a model needs."""
_LOADED = {*_COUNTED, "context", "generate", "regex", "sqlite3"}
CASES = {
    ("--help",): set(),
    ("--version",): {"email.parser"},
    ("run", "--help"): set(),
    ("chat", "--help"): set(),
    ("serve", "--help"): set(),
    ("pull", "--help"): set(),
    ("list", "--architectures"): {"catalog", "stores", "tomllib", "gguf"},
    ("completion", "bash"): {"click.shell_completion"},
    ("list",): {"catalog", "stores", "tomllib"},
    ("show", "MODEL"): {*_COUNTED, "catalog", "stores", "tomllib"},
    ("run", "MODEL", "-p", "hi", "-n", "1"): {*_LOADED, "jinja2"},
    ("chat", "MODEL"): _LOADED,
}
"""Arguments -> what is imported."""


def imported(args, path: Path, home: Path, terminal: int | None = None, environment=None) -> set[str]:
    """What of OURS and OTHERS `localllm` has imported at its end. terminal: its standard input and output."""
    code = (
        "import sys\nfrom localllm.cli.main import main\n"
        "try: status = main(sys.argv[1:])\nexcept SystemExit: status = 0\n"
        "print(status, *sys.modules, file=sys.stderr)"
    )
    given = {"LOCALLLM_HOME": str(home), "LOCALLLM_ORIGINS": "localllm", **(environment or {})}
    line = [sys.executable, "-c", code, *(str(path) if arg == "MODEL" else arg for arg in args)]
    stdin, stdout = (subprocess.DEVNULL, subprocess.PIPE) if terminal is None else (terminal, terminal)
    environment = os.environ | given
    done = subprocess.run(
        line, env=environment, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=300
    )
    status, *found = done.stderr.splitlines()[-1].split()
    assert status == "0", done.stderr
    assert "localllm.cli.main" in found
    known = {module: name for name, module in OURS.items()} | {name: name for name in OTHERS}
    return {known[module] for module in found if module in known}


@pytest.fixture(scope="module")
def path(tmp_path_factory, command):
    """Its kernels are compiled: Numba is imported for that alone."""
    path = models.write(tmp_path_factory.mktemp("m") / "m.gguf", models.cases()["llama"], **VOCABULARY)
    assert command("run", path, "-p", "hi", "-n", 1).returncode == 0
    return path


@pytest.mark.parametrize("args", CASES, ids=" ".join)
def test_nothing_else(args, path, tmp_path):
    assert imported(args, path, tmp_path) == CASES[args]


def test_completion(path, tmp_path):
    line = "localllm chat s"
    asked = {"_LOCALLLM_COMPLETE": "bash_complete", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    assert imported([], path, tmp_path, environment=asked) == {"catalog", "stores", "tomllib", "click.shell_completion"}


@pytest.mark.skipif(sys.platform == "win32", reason="there is no pty")
def test_a_chat_in_a_terminal(path, tmp_path):
    """The editor; Markdown comes with the first answer."""
    import pty

    ours, its = pty.openpty()
    os.write(ours, b"\x04")
    try:
        found = imported(["chat", "MODEL"], path, tmp_path, its, {"TERM": "xterm"})
    finally:
        os.close(ours)
        os.close(its)
    assert found == {*_LOADED, "editor", "prompt_toolkit", "asyncio"}
