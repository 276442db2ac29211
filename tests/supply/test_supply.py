"""Reproducible archives, licences on the list, an audit that is never clean by silence, and a lock file that fits."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.supply import __main__ as supply
from tests.supply.archives import normal_sdist, normal_wheel
from tests.supply.dependencies import EXTRAS, Dependency, dependencies

ROOT = Path(__file__).parents[2]


def wheel(mode: int, year: int, names: list[str]) -> bytes:
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as file:
        for name in names:
            info = zipfile.ZipInfo(name, (year, 1, 2, 3, 4, 6))
            info.external_attr = mode << 16
            file.writestr(info, name * 100)
    return result.getvalue()


def sdist(mode: int, mtime: int, owner: str, names: list[str]) -> bytes:
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w:gz") as file:
        for name in names:
            info = tarfile.TarInfo(name)
            info.mode, info.mtime, info.uname, info.uid, info.size = mode, mtime, owner, mtime % 1000, len(name)
            file.addfile(info, io.BytesIO(name.encode()))
    return result.getvalue()


def test_wheels_of_other_modes_times_and_orders():
    names = ["localllm/a.py", "localllm/b.py", "localllm-1.dist-info/RECORD"]
    one = normal_wheel(wheel(0o100644, 1999, names))
    assert one == normal_wheel(wheel(0o100600, 2020, names[::-1])) == normal_wheel(one)
    with zipfile.ZipFile(io.BytesIO(one)) as file:
        assert file.namelist() == names
        assert file.read(names[0]) == names[0].encode() * 100


def test_sdists_of_other_modes_times_owners_and_orders():
    names = ["x-1/PKG-INFO", "x-1/a.py"]
    one = normal_sdist(sdist(0o644, 1, "me", names))
    assert one == normal_sdist(sdist(0o600, 999, "you", names[::-1])) == normal_sdist(one)
    with tarfile.open(fileobj=io.BytesIO(one)) as file:
        assert [(m.name, m.mode, m.uname) for m in file] == [(name, 0o644, "") for name in names]
    assert gzip.decompress(one)


@pytest.mark.slow
def test_both_are_the_same_bytes_wherever_they_are_built(tmp_path, monkeypatch):
    """Two copies: other folders, other modes, other times, another umask."""
    pytest.importorskip("build")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    sums = []
    for name, umask, time in (("one", 0o022, 1_000_000_000), ("a longer name", 0o077, 1_600_000_000)):
        folder = tmp_path / name
        before = os.umask(umask)
        try:
            _copy(folder, time)
            line = "import sys; from pathlib import Path; from tests.supply.archives import build; "
            line += "build(Path(sys.argv[1]), Path(sys.argv[2]))"
            subprocess.run([sys.executable, "-c", line, str(folder), str(folder / "out")], cwd=ROOT, check=True)
        finally:
            os.umask(before)
        sums.append({p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (folder / "out").iterdir()})
    assert len(sums[0]) == 2
    assert sums[0] == sums[1]


def _copy(folder: Path, time: int) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if not name.startswith(("tests/", "docs/")) and (ROOT / name).exists():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_symlink():
                path.symlink_to(os.readlink(ROOT / name))
            else:
                path.write_bytes((ROOT / name).read_bytes())
                os.utime(path, (time, time))


def test_licences_are_on_the_list():
    found = dependencies()
    assert {"numpy", "numba", "jinja2", "starlette"} <= {d.name for d in found}
    assert [d for d in found if not d.is_allowed] == []


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True), ("MIT OR GPL-3.0-only", True), ("MIT AND GPL-3.0-only", False), ("", False),
        ("BSD-2-Clause AND Apache-2.0 WITH LLVM-exception", True), ("(MIT OR X) AND Zlib", True),
        ("Proprietary", False), ("GPL-3.0-only", False),
    ],
)  # fmt: skip
def test_expressions_of_licences(licence, allowed):
    assert Dependency("x", "1", licence).is_allowed is allowed


ANSWERS = {
    '{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}': (0, "no known"),
    '{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1"}]}]}': (1, "a 1: CVE-1"),
    '{"dependencies": [{"name": "a", "skip_reason": "not found"}]}': (3, "not audited"),
    "": (3, "not audited"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_audit_is_clean_only_where_everything_was_looked_up(answer, monkeypatch):
    done = subprocess.CompletedProcess([], 0, stdout=answer, stderr="no network\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: done)
    status, said = supply.audit(["a==1"])
    assert status == ANSWERS[answer][0]
    assert ANSWERS[answer][1] in said


def test_the_lock_file_fits_the_project():
    """Every dependency is pinned within what pyproject.toml asks for, and has hashes."""
    text = supply.LOCKED.read_text(encoding="utf-8").replace("\\\n", " ")
    pins = {}
    for line in text.splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==(\S+)(.*)", line):
            pins[canonicalize_name(match[1])] = match[2]
            assert "--hash=sha256:" in match[3], line
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement
