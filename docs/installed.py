"""Measures what `pip install .` and each extra bring: packages and megabytes, into docs/figures/installed.json.

    python docs/installed.py [EXTRA...]

Each is installed into a fresh virtual environment, which is deleted again. `python docs/generate.py` writes the table.
"""

from __future__ import annotations

import datetime
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "figures" / "installed.json"
BASE = "localllm"
_COUNT = """
import importlib.metadata as m, json, pathlib
found = {}
for d in m.distributions():
    if d.name not in ("pip", "setuptools"):
        found[d.name] = sum(p.stat().st_size for f in d.files or () if (p := pathlib.Path(d.locate_file(f))).is_file())
print(json.dumps(found))
"""


def main() -> int:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    before = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    found: dict[str, dict[str, float]] = before.get("installed", {})
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        shutil.copytree(ROOT, source, symlinks=True, ignore=shutil.ignore_patterns(".git", "build", "*.egg-info"))
        for name in sys.argv[1:] or (BASE, *extras):
            packages = installed(Path(folder) / "venv", f"{source}[{name}]" if name != BASE else str(source))
            found[name] = {"packages": len(packages), "mb": round(sum(packages.values()) / 1e6)}
            print(name, found[name], file=sys.stderr)
    python = platform.python_version()
    machine = f"{platform.system()} {platform.machine()}"
    about = {"date": datetime.date.today().isoformat(), "python": python, "machine": machine}
    OUT.write_text(json.dumps(about | {"installed": found}, indent=1) + "\n", encoding="utf-8")
    return 0


def installed(folder: Path, what: str) -> dict[str, int]:
    """Package -> bytes, after an installation into a new environment in `folder`, which is gone afterwards."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", what], check=True)
    done = subprocess.run([python, "-c", _COUNT], check=True, capture_output=True, text=True)
    shutil.rmtree(folder)
    sizes: dict[str, int] = json.loads(done.stdout)
    return sizes


if __name__ == "__main__":
    sys.exit(main())
