"""The supply chain, as commands (`pip install -e '.[supply]'` brings what they need):

python -m tests.supply build FOLDER    # wheel and sdist, the same bytes each time
python -m tests.supply licences        # of all that localllm needs at run time; 1 where one is not on the list
python -m tests.supply audit           # known vulnerabilities (pip-audit); 1 where there are any, 3 if not reachable
python -m tests.supply sbom FILE       # what is installed beside localllm here, as CycloneDX JSON
python -m tests.supply lock            # tests/supply/locked.txt anew: versions and hashes of what is tested
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.supply.archives import build
from tests.supply.dependencies import EXTRAS, ROOT, dependencies

LOCKED = Path(__file__).parent / "locked.txt"
UNREACHABLE = 3


def _build(folder: str) -> int:
    for path in build(ROOT, Path(folder)):
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}")
    return 0


def _licences() -> int:
    status = 0
    for found in dependencies():
        print(
            f"{'  ' if found.is_allowed else '! '}{found.name:24} {found.version:16} {found.licence or 'says nothing'}"
        )
        status |= not found.is_allowed
    return int(status)


def audit(known: list[str] | None = None) -> tuple[int, str]:
    """The status and what to say. known: lines `name==version` in the place of what is installed.

    A package that the service does not know counts as not audited, never as clean.
    """
    lines = known if known is not None else [f"{found.name}=={found.version}" for found in dependencies()]
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        line = [sys.executable, "-m", "pip_audit", "-r", file.name, "--no-deps", "--disable-pip", "-f", "json"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=600)
    try:
        rows = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        return UNREACHABLE, f"not audited: pip-audit gave no answer: {said[0]}"
    bad = [f"{row['name']} {row['version']}: {v['id']}" for row in rows for v in row.get("vulns", ())]
    if bad:
        return 1, "\n".join(bad)
    skipped = [row["name"] for row in rows if "skip_reason" in row]
    if skipped:
        return UNREACHABLE, f"not audited: the service knows nothing of {len(skipped)} of {len(rows)} packages"
    return 0, f"{len(rows)} packages, no known vulnerability"


def _audit() -> int:
    status, said = audit()
    print(said, file=sys.stderr if status else sys.stdout)
    return status


def _sbom(path: str) -> int:
    line = ["cyclonedx_py", "environment", "--output-reproducible", "--pyproject", str(ROOT / "pyproject.toml")]
    return subprocess.run([sys.executable, "-m", *line, "-o", path, sys.executable]).returncode


def _lock() -> int:
    line = ["piptools", "compile", "-q", "--generate-hashes", "--strip-extras", "--no-header", "--no-emit-find-links"]
    line += ["--no-emit-index-url", "--annotation-style", "line", *(f"--extra={extra}" for extra in EXTRAS)]
    return subprocess.run([sys.executable, "-m", *line, "-o", str(LOCKED), str(ROOT / "pyproject.toml")]).returncode


def main() -> int:
    assert __doc__
    parser = argparse.ArgumentParser("tests.supply", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function, argument in (
        ("build", _build, "folder"), ("licences", _licences, ""), ("audit", _audit, ""), ("sbom", _sbom, "path"),
        ("lock", _lock, ""),
    ):  # fmt: skip
        command = commands.add_parser(name)
        if argument:
            command.add_argument(argument)
        command.set_defaults(function=function)
    given = vars(parser.parse_args())
    function = given.pop("function")
    return int(function(**given))


if __name__ == "__main__":
    sys.exit(main())
