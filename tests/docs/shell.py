"""Blocks of shell commands in the documentation, and a workplace where they run: tiny models stand for those named."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import gguf

from tests.server import tiny
from tests.store import hub_stub

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
ADDRESS = "http://127.0.0.1:8080"
SECONDS = 240.0

LEFT_OUT = {
    r"pip |python -m venv|pre-commit|zensical": "installs, which .ci/run does",
    r"pytest|python -m tests\.": "tests, which .ci/run runs, or which are long",
    r"docker|serve run": "other programs",
    r"python -X importtime": "counts nothing, which grep says by its status",
    r"LOCALLLM_CACHE=": "compiles all kernels anew",
    r"curl \S+/infill": "needs a vocabulary for it",
    r"curl \S+/rerank": "needs a reranker",
    r".*--ray|.*--schemathesis": "needs ray",
    r".*--against": "needs the peer",
    r".*tools\.llamacpp_built": "builds for minutes",
    r".*tools\.instructions": "compiles kernels for minutes; tests/tools has a short one",
    r".*tokenizer_speed": "compares with the package tokenizers, over a real vocabulary",
    r".*-folder |.*tools\.random_model": "needs a folder of Hugging Face's, or a shape of a real model",
}
"""Beginnings of lines that do not run here -> why."""

NAMES = {
    r"qwen2\.5-coder-[\d.]+b-instruct(?![\w.-])": "model.gguf",
    r"(smollm2-135m-instruct|qwen3-0\.6b)(?![\w.-])": "model.gguf",
    r"\bMODEL(\.gguf)?\b": "model.gguf",
    r"(?<![\w.])~?/models(?!/)": "models",
    r"\bFORMAT\b": "Q8_0",
    r"\bMETHOD\b": "plain",
    r"--max-size \d+M": "--bits 12",
    r"/models/qwen\.gguf": "model.gguf",
}
"""Names that stand for something -> what they are here."""

REPOSITORY = "ggml-org/SmolLM3-3B-GGUF"
"""What a hub on this machine has in the place of the real one."""

FILES = ("model.gguf", "m.gguf", "f16.gguf", "model-f16.gguf", "off.gguf", "smollm2-135m-instruct-q4_1.gguf",
         "qwen2.5-coder-1.5b-f16.gguf", "models/a.gguf")  # fmt: skip


@dataclass(frozen=True)
class Block:
    """Commands that stand together; `lines`: one command each, as it is shown. `errors`: those that end in an error."""

    page: str
    number: int
    lines: tuple[str, ...]
    errors: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.page}-{self.number}"


def blocks() -> list[Block]:
    """All blocks of shell commands that have any to run."""
    found = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        shown = re.findall(r"^```(sh|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for number, (kind, body) in enumerate(shown):
            lines = tuple(line for line in _commands(kind, body) if not left_out(line))
            if lines:
                errors = re.findall(r"^\$ (.*)\nlocalllm: ", body, re.MULTILINE)
                found.append(Block(path.stem, number, lines, tuple(errors)))
    return found


def left_out(line: str) -> bool:
    return any(re.match(pattern, line) for pattern in LEFT_OUT)


def _commands(kind: str, body: str) -> list[str]:
    """Lines that are one command stand together: behind a backslash, and within quotes."""
    if kind == "console":
        return [line[2:] for line in body.splitlines() if line.startswith("$ ")]
    commands: list[str] = []
    for line in body.splitlines():
        if commands and (commands[-1].endswith("\\") or commands[-1].count("'") % 2):
            commands[-1] += "\n" + line
        elif line.strip() and not line.startswith("#"):
            commands.append(line)
    return commands


class Workplace:
    """A folder with what the commands read, and the environment that they run in."""

    def __init__(self, folder: Path, hub: hub_stub.Hub) -> None:
        self.folder = folder
        (folder / "models").mkdir()
        (folder / "docs").mkdir()
        model = tiny.write(folder / FILES[0])
        for name in FILES[1:]:
            shutil.copy(model, folder / name)
        tiny.write(folder / "all-minilm-l6-v2.gguf", pooling=gguf.PoolingType.MEAN)
        for name in ("README.md", "docs/a.md", "text.txt", "test.txt"):
            (folder / name).write_text("It is a text of some words, and they come again. " * 200, encoding="utf-8")
        (folder / "kernel.log").write_text("usb 1-1: device descriptor read, error -71\n", encoding="utf-8")
        (folder / "keys.txt").write_text("a-key-of-some-length\n", encoding="utf-8")
        (folder / "config.toml").write_text(f'[default]\nmodel = "{model}"\n', encoding="utf-8")
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", *who, "commit", "-q", "--allow-empty", "-m", "a"], cwd=folder, check=True)
        program = folder / "bin" / "localllm"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m localllm "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{program.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "LOCALLLM_CONFIG": str(folder / "config.toml"),
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(folder / "hf"),
        }
        hub.repos[REPOSITORY] = hub_stub.Repo({"SmolLM3-Q4_K_M.gguf": model.read_bytes()})

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """A command, in bash."""
        command = ["bash", "-euo", "pipefail", "-c", line]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, text=True, capture_output=True, timeout=SECONDS,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def serve(self, line: str) -> tuple[subprocess.Popen[str], str]:
        """A server started by a line of `localllm serve`; it and its address."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = ["bash", "-euo", "pipefail", "-c", f"exec {line.partition(' #')[0].rstrip()} --port {port}"]
        server = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, text=True, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        assert server.stderr
        said = []
        for text in server.stderr:
            said.append(text)
            if re.search(r"http://\S+ serves", text):
                return server, f"http://127.0.0.1:{port}"
        raise AssertionError("".join(said))


def here(line: str) -> str:
    """The line with the names of this workplace; a server keeps those that its clients use."""
    if line.startswith("curl"):
        return line
    for pattern, name in NAMES.items():
        line = re.sub(pattern, name, line)
    return line
