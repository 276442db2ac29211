"""kill -9 at random moments of a download: what can be seen is whole, and the next run finishes.

    python -m tests.store.kill --cycles 200 [--seed 1]

A fifth of the kills come at any time from the start of the process, a fifth just after the last byte was sent, the
others while bytes come. After each, every file of a snapshot has the right hash and is owned by us, each reference is
of a commit that is there, huggingface_hub finds nothing broken, and no more was kept than the file has. After every few
kills one run is left alone: it must end well, with the right bytes and nothing left over.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.store.hub_stub import Hub, Repo, running

PART_BYTES = 3 << 20
N_PARTS = 2
KILLS_A_MODEL = 4
"""Kills before a run is left alone."""
REPO = "org/repo"
FIRST = f"m-Q4_K_M-00001-of-0000{N_PARTS}.gguf"
NAMES = (REPO, f"hf.co/{REPO}/{FIRST}")
"""With the list of files by huggingface_hub, and without."""
COMMAND = (sys.executable, "-m", "localllm.cli.main", "pull")


@dataclass
class Figures:
    kills: int = 0
    """Runs that were killed."""
    before: int = 0
    """Of them, before the first byte of the model was kept."""
    finished: int = 0
    """Runs that ended before they were to be killed, and those that were left alone."""
    models: int = 0
    sent: int = 0
    """Bytes of models that the hub sent."""
    needed: int = 0
    """Bytes of the models that were finished."""

    def __str__(self) -> str:
        return (
            f"{self.kills} kills ({self.before} before a byte was kept), {self.finished} runs that finished, "
            f"{self.models} models whole; {self.sent / 1e6:.0f} MB were sent for {self.needed / 1e6:.0f} MB"
        )


class Killer:
    def __init__(self, hub: Hub, folder: Path, seed: int) -> None:
        self._hub, self._folder, self._random = hub, folder, random.Random(seed)
        self._cache = folder / "hf/hub"
        self._models = 0
        self._longest = 0.0
        """Seconds that a run from the beginning takes which is left alone."""
        self.figures = Figures()
        self._begin()

    def run(self, cycles: int) -> Figures:
        self._alone()
        while self.figures.kills < cycles:
            for _ in range(min(KILLS_A_MODEL, cycles - self.figures.kills)):
                self._kill()
            self._alone()
        return self.figures

    def _begin(self) -> None:
        """Another model, and nothing of the one before."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._models += 1
        names = [FIRST.replace("00001-", f"{part + 1:05}-") for part in range(N_PARTS)]
        self._repo = Repo(
            {name: b"GGUF" + random.Random(f"{self._models}{name}").randbytes(PART_BYTES) for name in names}
        )
        self._size = sum(map(len, self._repo.files.values()))
        self._hub.repos[REPO] = self._repo

    def _start(self) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "HF_ENDPOINT": self._hub.url,
            "HF_HOME": str(self._folder / "hf"),
            "HF_HUB_CACHE": str(self._cache),
            "LOCALLLM_HOME": str(self._folder / "home"),
        }
        command = [*COMMAND, self._random.choice(NAMES)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def _kill(self) -> None:
        process = self._start()
        self._moment(process)
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate(timeout=60)
        if process.returncode == 0:
            self._require_whole(out)
            return
        assert process.returncode == -signal.SIGKILL, process.returncode
        self.figures.kills += 1
        self.figures.before += not any(self._cache.rglob("blobs/*"))
        self._require_sane()

    def _moment(self, process: subprocess.Popen[bytes]) -> None:
        """Waits for the moment of a kill."""
        kind = self._random.random()
        if kind < 0.2:
            time.sleep(self._random.uniform(0, self._longest))
            return
        missing = self._size - sum(blob.stat().st_size for blob in self._cache.glob("*/blobs/*"))
        wanted = self._hub.sent + missing * (1.0 if kind < 0.4 else self._random.random())
        self._wait(process, lambda: self._hub.sent >= wanted)
        if kind < 0.4:
            time.sleep(self._random.uniform(0, 0.05))

    def _wait(self, process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
        while not condition() and process.poll() is None:
            time.sleep(0.001)

    def _alone(self) -> None:
        begun = time.monotonic()
        process = self._start()
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, process.returncode
        self._longest = self._longest or time.monotonic() - begun
        self._require_whole(out)

    def _require_sane(self) -> None:
        self._require_hashes()
        for part in self._cache.rglob("*.incomplete"):
            assert part.parent.name != "blobs" or part.stat().st_size <= PART_BYTES + 4, part
        for reference in self._cache.glob("*/refs/*"):
            assert (reference.parents[1] / "snapshots" / reference.read_text()).is_dir(), reference
        if (self._cache / f"models--{REPO.replace('/', '--')}").exists():
            self._require_readable()

    def _require_hashes(self) -> None:
        from localllm.store import records

        os.environ["LOCALLLM_HOME"] = str(self._folder / "home")
        for path in self._cache.glob("*/snapshots/*/*"):
            if path.name.startswith("."):
                continue
            assert hashlib.sha256(path.read_bytes()).hexdigest() == self._repo.etag(path.name), path
            assert records.owns(path), path

    def _require_readable(self) -> None:
        from huggingface_hub import scan_cache_dir

        warnings = [str(warning) for warning in scan_cache_dir(self._cache).warnings]
        assert not [w for w in warnings if "Snapshots dir doesn't exist" not in w], warnings

    def _require_whole(self, out: bytes) -> None:
        path = Path(out.decode().strip())
        assert path.name == FIRST, out
        self._require_sane()
        files = {str(p.relative_to(path.parent)) for p in path.parent.rglob("*")}
        assert files == set(self._repo.files), files
        blobs = {p.name for p in self._cache.glob("*/blobs/*")}
        assert blobs == {self._repo.etag(name) for name in self._repo.files}, blobs
        assert not list(self._cache.rglob("*.incomplete"))
        self.figures.finished += 1
        self.figures.models += 1
        self.figures.sent += self._hub.sent
        self.figures.needed += self._size
        self._hub.sent = 0
        self._begin()


def run(cycles: int, seed: int) -> Figures:
    """Raises AssertionError where something is lost, broken or left over."""
    home = os.environ.get("LOCALLLM_HOME")
    try:
        with tempfile.TemporaryDirectory() as folder, running() as hub:
            hub.slowness = 0.002
            return Killer(hub, Path(folder) / "kill", seed).run(cycles)
    finally:
        if home is None:
            os.environ.pop("LOCALLLM_HOME", None)
        else:
            os.environ["LOCALLLM_HOME"] = home


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    begun = time.monotonic()
    print(f"{run(given.cycles, given.seed)}; {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
