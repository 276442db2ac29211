"""Kernels under guard pages, whole: python -m tests.kernels.guard [PART ...] [--target T] [--side S] [--every N]

Parts: "kernels" (the tests of this folder), "sweep" (products of odd shapes), "models" (each recorded model, plain and
quantized, with each kind of cache), "files" (files that end with a page, of every format). --all: every part on every
target of this processor, areas at both sides. --every N: each Nth of the models and shapes. Each target and side is a
process of its own; it writes what it ran as a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.kernels import guarded, guarded_files, guarded_models, guarded_sweep, harness

PARTS = ("kernels", "sweep", "models", "files")
_NOT = (
    *("test_objects", "test_targets", "test_aarch64", "test_emulated"),
    *("test_table", "test_guarded", "test_rounding_grids"),
)
"""Tests of this folder that call no kernel, or none that the harness lays out."""


def arguments_of(part: str) -> list[str]:
    """The command line of a part, for this Python."""
    if part != "kernels":
        return ["-m", "tests.kernels.guard", "--here", part]
    tests = sorted(p for p in Path(__file__).parent.glob("test_*.py") if p.stem not in _NOT)
    return ["-m", "pytest", "-q", "-p", "tests.kernels.guarded", "-p", "no:cacheprovider", *map(str, tests)]


def run_part(part: str, target: str, side: str, *more: str) -> tuple[int, str]:
    """Exit status and what was written, in a process of its own."""
    done = harness.python(target, *arguments_of(part), *more, **{guarded.SIDE: side})
    return done.returncode, done.stdout + done.stderr


def here(part: str, every: int) -> Counter[str]:
    """Run a part in this process."""
    side = os.environ[guarded.SIDE]
    if part == "sweep":
        return guarded_sweep.run_all(side, every)
    areas = guarded.Memory(side)
    guarded.watch(areas)
    with tempfile.TemporaryDirectory() as folder:
        run_all = guarded_models.run_all if part == "models" else guarded_files.run_all
        return run_all(areas, Path(folder), every)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--here", choices=PARTS)
    parser.add_argument("--target", choices=harness.runnable_targets(), action="append")
    parser.add_argument("--side", choices=guarded.SIDES, action="append")
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(here(options.here, options.every)))
        return 0
    failed = 0
    for target in options.target or harness.runnable_targets():
        for side in options.side or guarded.SIDES:
            for part in PARTS if options.all else options.parts:
                start = time.monotonic()
                more = () if part == "kernels" else ("--every", str(options.every))
                status, text = run_part(part, target, side, *more)
                failed += status != 0
                last = text.strip().splitlines()[-1:] if status == 0 else text[-6000:].splitlines()
                print(
                    f"{target} {side} {part}: {time.monotonic() - start:.0f} s, exit {status}",
                    *last,
                    sep="\n  ",
                    flush=True,
                )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
