"""Mutated models are run: python -m tests.mutants --count 1000000 --seed 1

Each is opened, its text encoded, a prompt read and a few tokens written, unless a check refuses it. None may end the
process, take more than 2 s of processor time or 300 MB, read behind a matrix, or raise another error than ours.
Findings are printed as they come, figures at the end, and every minute into the file of --state, from which a run that
was stopped goes on. Exit status 1: there were findings.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.mutant import make
from tests.mutants.supervisor import Finding, Supervisor, Tally

_EVERY = 60.0
"""Seconds between two lines of progress."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000, help="mutants 0 to COUNT")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--from", dest="first", type=int, default=0, metavar="K", help="begin with mutant K")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", type=int, metavar="I", help="run mutant I alone, here, and tell what happens")
    parser.add_argument("--write", type=Path, metavar="FILE", help="with --only: write it there and do not run it")
    parser.add_argument("--state", type=Path, metavar="FILE", help="figures so far; go on where they end")
    chosen = parser.parse_args()
    if chosen.only is not None:
        return only(chosen.seed, chosen.only, chosen.write)
    return run(chosen.seed, chosen.first, chosen.count, chosen.processes, chosen.state)


def only(seed: int, i: int, target: Path | None) -> int:
    """One mutant."""
    from tests.mutants.use import shared_threads
    from tests.mutants.worker import Runner

    mutant = make(seed, i)
    print(f"mutant {i} of seed {seed}: {mutant.name}, {', '.join(mutant.edits)}, {len(mutant.content)} bytes")
    if target:
        target.write_bytes(mutant.content)
        return 0
    with tempfile.TemporaryDirectory() as folder, shared_threads():
        outcome = Runner(Path(folder)).run(mutant)
    print(outcome.kind, outcome.where, outcome.text, sep="\n")
    return outcome.kind == "failed"


def run(seed: int, first: int, stop: int, processes: int, state: Path | None) -> int:
    """All of them."""
    findings: list[Finding] = []
    start = last = time.monotonic()

    def told(finding: Finding | None) -> None:
        nonlocal last
        if finding:
            findings.append(finding)
            print(f"FOUND mutant {finding.number} of seed {seed}: {finding.what}\n{finding.text}", flush=True)
        if time.monotonic() - last > _EVERY:
            last = time.monotonic()
            print(_progress(supervisor, start), flush=True)
            if state:
                _save(state, supervisor, findings)

    supervisor = Supervisor(seed, first, stop, processes, told)
    if state and state.exists():
        supervisor = Supervisor(seed, max(first, _restore(state, supervisor.tally, findings)), stop, processes, told)
        _restore(state, supervisor.tally, [])
    supervisor.run()
    if state:
        _save(state, supervisor, findings)
    print(_progress(supervisor, start), *_report(supervisor.tally), sep="\n")
    print(f"{len(findings)} findings")
    return bool(findings)


def _save(path: Path, supervisor: Supervisor, findings: list[Finding]) -> None:
    content = {"next": supervisor.next, "tally": dataclasses.asdict(supervisor.tally)}
    content["findings"] = [dataclasses.asdict(finding) for finding in findings]
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content))
    part.replace(path)


def _restore(path: Path, tally: Tally, findings: list[Finding]) -> int:
    content = json.loads(path.read_text())
    for name, value in content["tally"].items():
        setattr(tally, name, value)
    findings += [Finding(**finding) for finding in content["findings"]]
    return int(content["next"])


def _progress(supervisor: Supervisor, start: float) -> str:
    tally = supervisor.tally
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(tally.kinds.items()))
    each = 1000 * tally.seconds / max(tally.n, 1)
    return (
        f"{time.strftime('%H:%M:%S')} {time.monotonic() - start:.0f} s: {tally.n} mutants ({kinds}), "
        f"{each:.2f} ms of processor time each, all before {supervisor.next}"
    )


def _report(tally: Tally) -> list[str]:
    lines = ["", "by model:"]
    lines += [f"  {name:18} {_counts(kinds)}" for name, kinds in sorted(tally.models.items())]
    lines += ["", "by change, where it was the only one:"]
    lines += [f"  {name:18} {_counts(kinds)}" for name, kinds in sorted(tally.edits.items())]
    lines += ["", "refused by:"]
    return lines + [f"  {n:8} {name}" for name, n in sorted(tally.checks.items(), key=lambda item: -item[1])]


def _counts(kinds: dict[str, int]) -> str:
    return ", ".join(f"{kinds[kind]} {kind}" for kind in sorted(kinds))


if __name__ == "__main__":
    sys.exit(main())
