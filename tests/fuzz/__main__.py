"""Coverage-guided fuzzing with atheris (pip install -e '.[dev,fuzz]'):

    python -m tests.fuzz TARGET --seconds 300 --seed 1      # or `all`: one target after another
    python -m tests.fuzz TARGET --replay FILE               # a finding again, with its traceback

It prints runs, seconds and the branches that were found, and stops at the first finding: with the file that shows it
and the command that replays it. --corpus FOLDER keeps what was found for the next time.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.table import TARGETS, target
from tests.fuzz.target import MEGABYTES, examine

_HANG = 20
"""Seconds after which an input that does not come back is a finding; see target.SECONDS for those that do."""
_BASE_MEGABYTES = 400
"""Memory of the process before its first input, at the most."""
_STATUS = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+) ft: \d+ corp: (\d+)")
_DONE = re.compile(r"Done (\d+) runs in")
_WRITTEN = re.compile(r"Test unit written to (\S+)")


def main() -> int:
    args = _arguments()
    if args.replay:
        examine(target(args.target), args.replay.read_bytes())
        print(f"{args.target}: {args.replay}: no finding")
        return 0
    for name in TARGETS if args.target == "all" else (args.target,):
        if not _fuzz(name, args):
            return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="a folder; one of its own for each target is made in it")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="where inputs that break go")
    parser.add_argument("--replay", type=Path)
    return parser.parse_args()


def _fuzz(name: str, args: argparse.Namespace) -> bool:
    """Whether nothing was found. Prints one line, or the finding."""
    args.findings.mkdir(parents=True, exist_ok=True)
    with _corpus(name, args.corpus) as corpus:
        chosen = target(name)
        for i, seed in enumerate(chosen.seeds()):
            (corpus / f"seed-{i}").write_bytes(seed)
        options = {
            "max_total_time": args.seconds, "seed": args.seed, "max_len": chosen.max_len, "timeout": _HANG,
            "rss_limit_mb": _BASE_MEGABYTES + MEGABYTES, "artifact_prefix": f"{args.findings}/{name}-",
        }  # fmt: skip
        command = [sys.executable, "-m", "tests.fuzz.child", name, str(corpus)]
        command += [f"-{key}={value}" for key, value in options.items()]
        start = time.monotonic()
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        try:
            lines = list(child.stdout or ())
            failed = child.wait() != 0
        finally:
            child.kill()
        seconds = time.monotonic() - start
    status = [match for line in lines if (match := _STATUS.match(line))]
    runs, branches, inputs = map(int, status[-1].groups()) if status else (0, 0, 0)
    runs = max([runs, *(int(match[1]) for line in lines if (match := _DONE.match(line)))])
    print(
        f"{name}: {runs} runs in {seconds:.0f} s, {branches} branches, {inputs} inputs kept, seed {args.seed}",
        flush=True,
    )
    if failed or not runs:
        _show(name, lines)
    return not failed and runs > 0


@contextlib.contextmanager
def _corpus(name: str, kept: Path | None) -> Iterator[Path]:
    if kept:
        (kept / name).mkdir(parents=True, exist_ok=True)
        yield kept / name
        return
    with tempfile.TemporaryDirectory(prefix="localllm-corpus-") as folder:
        yield Path(folder)


def _show(name: str, lines: list[str]) -> None:
    ours = [i for i, line in enumerate(lines) if "=== Uncaught" in line or "ERROR: " in line or "Traceback" in line]
    print("".join(lines[ours[0] if ours else -40 :][:120]))
    for line in lines:
        if match := _WRITTEN.search(line):
            print(f"replay: python -m tests.fuzz {name} --replay {match[1]}")


if __name__ == "__main__":
    sys.exit(main())
