"""Runs the corpus of malformed files: `python -m tests.malformed [--exec] [--metadata all] [--share 1/4]`.

Prints what is not as it must be, and figures: files, runs, the longest and the largest of each command. Ends with
status 1 where something was wrong.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path

from tests.contained import Outcome
from tests.malformed import corpus, metadata
from tests.malformed.case import Case
from tests.malformed.commands import DOORS, Door, execute, problem_of, run, seconds_of
from tests.recorded import models

_TOGETHER = 64
"""Mutants of one model in one child."""


@dataclass
class Figures:
    """Of many runs; told of what was run, too, when SIGTERM or Ctrl-C ends them."""

    n_files: int = 0
    n_runs: int = 0
    statuses: dict[int | None, int] = field(default_factory=lambda: defaultdict(int))
    longest: dict[str, tuple[float, str]] = field(default_factory=dict)
    largest: dict[str, tuple[int, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, door: str, name: str, outcome: Outcome, problem: str) -> None:
        self.n_runs += 1
        self.statuses[outcome.status] += 1
        self.longest[door] = max(self.longest.get(door, (0.0, "")), (outcome.seconds, name))
        self.largest[door] = max(self.largest.get(door, (0, "")), (outcome.peak_bytes, name))
        if problem:
            self.problems.append(f"{name}: {problem}")
            print(self.problems[-1], flush=True)

    def tell(self) -> int:
        """Prints them; the exit status."""
        ends = ", ".join(f"{n} with status {status}" for status, n in sorted(self.statuses.items(), key=str))
        print(f"{self.n_files} files, {self.n_runs} runs: {ends}; {len(self.problems)} problems")
        for door, (seconds, name) in self.longest.items():
            n_bytes, large = self.largest[door]
            print(f"{door}: at most {seconds:.2f} s ({name}), {n_bytes / 1e6:.0f} MB ({large})")
        return 1 if self.problems else 0


def run_corpus(figures: Figures, cases: list[Case], doors: list[Door], options: argparse.Namespace) -> None:
    program = shlex.split(options.program)

    def one(case: Case) -> list[tuple[Door, Outcome, str]]:
        with tempfile.TemporaryDirectory(prefix="malformed-") as folder:
            path = case.write(Path(folder))
            made = []
            for door in doors:
                limits = (seconds_of(case), options.megabytes)
                if options.exec:
                    outcome = execute(door, path, program, *limits)
                else:
                    outcome = run(door, path, seconds=limits[0], megabytes=limits[1])
                made.append((door, outcome, problem_of(case, door, path, outcome)))
            return made

    with ThreadPoolExecutor(options.jobs) as pool:
        for case, made in zip(cases, pool.map(one, cases), strict=True):
            figures.n_files += 1
            for door, outcome, problem in made:
                figures.add(door.name, case.name, outcome, problem)


def run_metadata(figures: Figures, share: int, n_shares: int) -> None:
    """Of each model first itself, which compiles its kernels, then its mutants, used and shown: many in one child, and
    those with which something is wrong again, each alone."""
    with tempfile.TemporaryDirectory(prefix="malformed-") as name:
        folder = Path(name)
        found = metadata.mutants(folder, share, n_shares)
        for model, group in groupby(found, key=lambda mutant: mutant.model):
            path = models.write(folder / "whole.gguf", models.cases()[model])
            outcome = metadata.run(path)
            figures.add("the model as it is", model, outcome, metadata.problem_of(path, outcome))
            while mutants := list(islice(group, _TOGETHER)):
                for mutant, made in zip(mutants, metadata.run_each(folder, mutants), strict=True):
                    used, shown = made or run_alone(folder, mutant)
                    figures.n_files += 1
                    figures.add("used", str(mutant), used, metadata.problem_of(folder / "bad.gguf", used))
                    figures.add("show", str(mutant), shown, shown.problem((0, 1), names="bad.gguf"))
                    if figures.n_files % 1000 == 0:
                        print(f"{figures.n_files} files, at {mutant}", flush=True)


def run_alone(folder: Path, mutant: metadata.Mutant) -> tuple[Outcome, Outcome]:
    path = metadata.write(folder, mutant)
    return metadata.run(path), run(DOORS[0], path)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.malformed", description=__doc__)
    parser.add_argument("--exec", action="store_true", help="as real processes, not as forked children")
    parser.add_argument("--program", default="localllm", help="what --exec runs")
    parser.add_argument("--megabytes", type=float, default=300.0, help="that a run may take")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time, with --exec")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--list", action="store_true", help="the cases, and nothing else")
    parser.add_argument("--metadata", choices=["all"], help="keys of recorded models with hostile values instead")
    parser.add_argument("--share", default="1/1", help="of the files: the first of four parts is 1/4")
    options = parser.parse_args()
    share, n_shares = (int(number) for number in options.share.split("/"))
    cases = [case for case in corpus.cases() if options.only in case.name][share - 1 :: n_shares]
    if options.list:
        for case in cases:
            print(case.name, case.classes, case.stage.name, case.source)
        return 0
    figures = Figures()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.metadata:
            run_metadata(figures, share - 1, n_shares)
        else:
            run_corpus(figures, cases, list(DOORS), options)
    except KeyboardInterrupt:
        print("ended before all were run")
    return figures.tell()


if __name__ == "__main__":
    sys.exit(main())
