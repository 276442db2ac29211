"""Real clients, unchanged, against `localllm serve`: each by a script of this folder, in a venv of its own.

    python -m tests.clients.run                          all of them
    python -m tests.clients.run openai ollama            some
    python -m tests.clients.run --venvs FOLDER           venvs are looked for in FOLDER, and made there

A venv that is not there is made with the versions of CLIENTS, which needs a package index; the checks themselves stay
on this machine. SmolLM2-135M answers, or a tiny random model where that file is not here; clients whose model must
know how to call tools get Qwen2.5-Coder-1.5B, and are skipped without it. Prints a line for each client, and last how
many passed and failed; exit status 1 where one failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import gguf
import platformdirs

from tests.clients.likelihoods import verify
from tests.server import tiny

ROOT = Path(__file__).resolve().parents[2]
MODELS = Path.home() / ".cache/localllm-test-models"
SMALL = MODELS / "smollm2-135m-instruct-q4_1.gguf"
ABLE = MODELS / "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
KEY = "a-key-of-the-suite"
N_CTX = 8192
N_CTX_TINY = 4096
MINUTES = 15
"""After so long a client is given up."""


@dataclass(frozen=True)
class Client:
    """`packages`: as pip takes them; `able`: it needs the model that calls tools; `env`: variables for its script;
    `likelihoods`: a file that the script writes, which is compared with the model's logits."""

    packages: tuple[str, ...]
    able: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    likelihoods: str = ""


CLIENTS = {
    "openai": Client(("openai==3.57.0",)),
    "ollama": Client(("ollama==0.6.3",)),
    "anthropic": Client(("anthropic==2.14.0",)),
    "litellm": Client(("litellm==1.110.2",), env={"LITELLM_LOCAL_MODEL_COST_MAP": "True"}),
    "llm": Client(("llm==0.36",)),
    "langchain": Client(("langchain-openai==1.7.4",)),
    "lmeval": Client(("lm-eval[api]==0.4.13",), likelihoods="likelihoods.json"),
    "inspect": Client(("inspect-ai==0.3.285", "openai==3.57.0"), able=True),
    "ray": Client((f"{ROOT}[ray]", "httpx>=0.27"), env={"RAY_USAGE_STATS_ENABLED": "0"}),
    "aider": Client(("aider-chat==0.86.2",), able=True, env={"LITELLM_LOCAL_MODEL_COST_MAP": "True"}),
}
"""Name -> what it needs (Ray's is localllm itself); its script is with_NAME.py. The first three are those of continuous
integration."""

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "NO_PROXY": "127.0.0.1,localhost",
}


@dataclass(frozen=True)
class Outcome:
    """`text`: after the client's name, in its line."""

    passed: bool
    text: str
    output: str = ""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The URL of a server: SmolLM2 or a tiny model as "small", "embedder", "thinker", and "able" where
    that is here."""
    models = folder / "models"
    models.mkdir()
    tiny.write(models / "embedder.gguf", "qwen2", pooling=gguf.PoolingType.MEAN)
    tiny.write(models / "thinker.gguf", template=tiny.THINKING)
    if ABLE.exists():
        (models / "able.gguf").symlink_to(ABLE)
    small = small_model(folder)
    if not small.exists():
        tiny.write(small)
    command = [
        sys.executable, "-m", "localllm.cli.main", "serve", str(small), "--alias", "small", "--models-dir", str(models),
        "--port", "0", "--api-key", KEY, "-c", str(n_ctx()), "--no-cache", "-np", "2",
    ]  # fmt: skip
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log, cwd=ROOT, env=os.environ | OFFLINE)
    try:
        yield _address(process, folder / "server.log")
    finally:
        process.terminate()
        process.wait()


def small_model(folder: Path) -> Path:
    """Where the model "small" is."""
    return SMALL if SMALL.exists() else folder / "small.gguf"


def n_ctx() -> int:
    """Tokens of a context."""
    return N_CTX if SMALL.exists() else N_CTX_TINY


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Once the model is there."""
    while process.poll() is None:
        if found := re.search(r"^(http://[\d.:]+) serves", log.read_text(), re.M):
            return found[1]
        time.sleep(0.1)
    raise SystemExit(f"the server has ended:\n{log.read_text()}")


def python_of(name: str, venvs: Path) -> Path:
    """The Python of a client's venv, which is made where there is none. Raises CalledProcessError."""
    python = venvs / name / "bin/python"
    if not (venvs / name / "pyvenv.cfg").exists() or not python.exists():
        quiet = ["-q", "--disable-pip-version-check"]
        subprocess.run([sys.executable, "-m", "venv", str(venvs / name)], check=True)
        try:
            subprocess.run([str(python), "-m", "pip", "install", *quiet, *CLIENTS[name].packages], check=True)
        except BaseException:
            (venvs / name / "pyvenv.cfg").unlink()  # half a venv is none
            raise
    return python


def check(name: str, python: Path, url: str, folder: Path) -> Outcome:
    """Run the script of a client."""
    client = CLIENTS[name]
    home = folder / name
    home.mkdir()
    given = {
        "url": url, "key": KEY, "model": "able" if client.able else "small", "able": "able" if ABLE.exists() else "",
        "path": str(ABLE if client.able else small_model(folder)), "embedder": "embedder", "thinker": "thinker",
        "folder": str(home), "n_ctx": n_ctx(),
    }  # fmt: skip
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "OPENAI_", "ANTHROPIC_", "OLLAMA_"))}
    env["LOCALLLM_CACHE"] = os.environ.get("LOCALLLM_CACHE") or platformdirs.user_cache_dir("localllm")
    env |= {**OFFLINE, **client.env} | {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    begun = time.monotonic()
    with open(home / "output.log", "w+") as output:
        status = _run([str(python), "-m", f"tests.clients.with_{name}", json.dumps(given)], env, output)
        output.seek(0)
        text = output.read()
    try:
        told = json.loads(text.rstrip().rpartition("\n")[2])
    except ValueError:
        return Outcome(False, f"ended with status {status}", text)
    seconds = f"{time.monotonic() - begun:.0f} s"
    if client.likelihoods and not told["failed"]:
        try:
            verify(home / client.likelihoods, small_model(folder))
        except AssertionError as error:
            return Outcome(False, f"{told['version']}: failed: likelihoods differ", str(error))
    if told["failed"]:
        return Outcome(False, f"{told['version']}: failed: {', '.join(told['failed'])} ({seconds})", text)
    return Outcome(status == 0, f"{told['version']}: {', '.join(told['passed'])} ({seconds})", text)


def _run(command: Sequence[str], env: Mapping[str, str], output: IO[str]) -> int | str:
    try:
        return subprocess.run(
            command, env=env, cwd=ROOT, stdout=output, stderr=output, timeout=60 * MINUTES
        ).returncode  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"none after {MINUTES} minutes"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CLIENTS))
    own = Path(platformdirs.user_cache_dir("localllm")) / "test-clients"
    parser.add_argument("--venvs", type=Path, default=own, help="folder of the venvs [%(default)s]")
    args = parser.parse_args()
    for name in args.names:
        if name not in CLIENTS:
            parser.error(f"{name} is not among the clients: {', '.join(CLIENTS)}")
    return args


def main() -> int:
    args = arguments()
    passed = failed = 0
    with tempfile.TemporaryDirectory() as work, serving(Path(work)) as url:
        for name in args.names or CLIENTS:
            if CLIENTS[name].able and not ABLE.exists():
                print(f"{name}: skipped, as {ABLE} is not here", flush=True)
                continue
            outcome = check(name, python_of(name, args.venvs.absolute()), url, Path(work))
            if not outcome.passed:
                print(outcome.output)
            print(f"{name} {outcome.text}", flush=True)
            passed, failed = passed + outcome.passed, failed + (not outcome.passed)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
