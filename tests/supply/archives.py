"""Wheel and sdist with the same bytes wherever, whenever and by whomever they are built.

setuptools takes modes, times and owners from the files as they lie there. Here an archive that it made is written anew:
entries by name, of one time (SOURCE_DATE_EPOCH, https://reproducible-builds.org/specs/source-date-epoch/), with the
modes 644 and 755, of nobody. A wheel's RECORD holds hashes of contents, which do not change.
"""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

EPOCH = 315_532_800
"""1980, the first year that a zip archive can hold: where SOURCE_DATE_EPOCH is not set."""


def epoch() -> int:
    """Seconds since 1970 that all files have."""
    return max(EPOCH, int(os.environ.get("SOURCE_DATE_EPOCH", EPOCH)))


def build(source: Path, out: Path) -> list[Path]:
    """Builds both in `out`; gives their paths. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        line = [sys.executable, "-m", "build", "--outdir", folder, str(source)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch())}
        environment.pop("PYTHONPATH", None)
        subprocess.run(line, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        out.mkdir(parents=True, exist_ok=True)
        written = []
        for path in sorted(made.iterdir()):
            normal = normal_wheel(path.read_bytes()) if path.suffix == ".whl" else normal_sdist(path.read_bytes())
            (out / path.name).write_bytes(normal)
            written.append(out / path.name)
        return written


def normal_wheel(content: bytes) -> bytes:
    """The same files; those of *.dist-info at the end, as the specification of wheels recommends."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as new:
        for name in sorted(old.namelist(), key=lambda name: (".dist-info/" in name, name)):
            info = zipfile.ZipInfo(name, time.gmtime(epoch())[:6])
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix
            info.external_attr = (0o100644 if not name.endswith("/") else 0o40755) << 16
            new.writestr(info, old.read(name))
    return result.getvalue()


def normal_sdist(content: bytes) -> bytes:
    """The same files and folders."""
    plain = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(content)) as old,
        tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            info = tarfile.TarInfo(member.name)
            info.type, info.linkname, info.mtime = member.type, member.linkname, epoch()
            info.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            file = old.extractfile(member) if member.isfile() else None
            info.size = member.size if file else 0
            new.addfile(info, file)
    result = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=result, compresslevel=9, mtime=epoch()) as packed:
        packed.write(plain.getvalue())
    return result.getvalue()
