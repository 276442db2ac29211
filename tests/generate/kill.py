"""Processes that keep prompts on disk, killed: python -m tests.generate.kill [--cycles 200] [--seed 1]

Each cycle is a process that reads prompts with a cache and says of each when it is on the disk; it is sent SIGKILL at a
random moment. What it had said must be found by the next process, which goes on in the same folder, and the logits
after every prompt must be those without a cache: no half of a file may count.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from localllm.generate.prompt_cache import PromptCache
from localllm.model.model import LoadedModel
from tests.recorded import models

ROOT = Path(__file__).parents[2]
KINDS = ("llama", "qwen3next")
N = 320
"""Tokens of a prompt."""
DISK = 200 << 20
"""Bytes that the folder may take: the oldest prompts go."""
NEW = 20
"""So many of those that were said last are looked for."""


def work(path: str, folder: str, *seeds: str) -> None:
    """The process: prompts by these numbers, then by those that follow the last one, without end. A line for each:
    number, tokens that were there, digest of the logits."""
    with LoadedModel.load(path, n_ctx=1024, n_threads=1) as model:
        print("ready", flush=True)
        for seed in (*map(int, seeds), *range(int(seeds[-1]) + 1, int(seeds[-1]) + 1000)):
            known, digest, note = read(model, seed, Path(folder))
            assert not note, note
            print(seed, known, digest, flush=True)


def read(model: LoadedModel, seed: int, folder: Path | None) -> tuple[int, str, str]:
    ids = np.random.default_rng(seed).integers(1, 80, N).tolist()
    context = model.context()
    cache = PromptCache(context, 0, folder, DISK)
    known = cache.find(ids).restore_into(context, 0)
    logits = context.forward(ids[known:])
    cache.save(context, 0, ids)
    cache.close(60)
    note = cache.status().note
    context.close()
    return known, hashlib.sha256(logits.tobytes()).hexdigest(), note


def lines(process: subprocess.Popen[str], seconds: float) -> Iterator[str]:
    """What it says within this time."""
    assert process.stdout is not None
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and select.select([process.stdout], [], [], left)[0]:
        line = process.stdout.readline()
        if not line:
            return
        yield line.strip()


def run(folder: Path, cycles: int, seed: int, say: bool = True) -> dict[str, int]:
    """AssertionError where anything was lost, or half of it was used."""
    choice, totals = random.Random(seed), {"cycles": 0, "kept": 0, "found again": 0, "left half-written": 0}
    paths = {kind: models.write(folder / f"{kind}.gguf", models.cases()[kind]) for kind in KINDS}
    loaded = {kind: LoadedModel.load(str(path), n_ctx=1024, n_threads=1) for kind, path in paths.items()}
    kept: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for number in range(cycles):
        kind = KINDS[number % len(KINDS)]
        again = choice.sample(kept[kind][-NEW:], min(2, len(kept[kind])))
        line = [sys.executable, "-m", "tests.generate.kill", "--work", str(paths[kind]), str(folder / "prompts")]
        process = subprocess.Popen(
            [*line, *map(str, [*again, number * 1000])], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert next(lines(process, 60)) == "ready"
        said = list(lines(process, choice.uniform(0.0, 1.0)))
        process.send_signal(signal.SIGKILL)
        said += (process.communicate()[0] or "").splitlines()
        for text in said:
            n, known, digest = text.split()
            assert digest == read(loaded[kind], int(n), None)[1], f"prompt {n}: other logits"
            if int(n) in again:
                assert int(known) == N - 1, f"prompt {n} was kept, {known} of its tokens are there"
                totals["found again"] += 1
            else:
                kept[kind].append(int(n))
                totals["kept"] += 1
        totals["cycles"] += 1
        totals["left half-written"] = max(totals["left half-written"], len(list((folder / "prompts").glob("*.part"))))
        if say and (number + 1) % 20 == 0:
            print(f"{number + 1}: {totals}", flush=True)
    for model in loaded.values():
        model.close()
    return totals


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        work(*sys.argv[2:])
        return
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cycles", type=int, default=200)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        print(run(Path(folder), given.cycles, given.seed), f"in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
