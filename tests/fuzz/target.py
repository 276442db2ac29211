"""What a fuzzing target is, and what holds for every input of every target."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.fuzz.mutators import of_bytes

SECONDS = 2.0
"""Processor time that an input may take."""
MEGABYTES = 300
"""Memory that an input may take, beside what the process has."""

Mutate = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Target:
    """`run` takes any bytes: it returns, or raises an error of localllm.errors; anything else is a finding. `seeds` are
    valid inputs, made by code; `mutate` knows what their records are. max_len: bytes of an input."""

    seeds: Callable[[], Iterable[bytes]]
    run: Callable[[bytes], None]
    mutate: Mutate = of_bytes
    max_len: int = 1 << 16
    seconds: float = SECONDS


class Finding(AssertionError):
    """An input broke a promise."""


def examine(target: Target, data: bytes) -> None:
    """Runs a target on an input. Raises what is a finding."""
    from localllm.errors import LocalllmError

    start = time.thread_time()
    try:
        target.run(data)
    except LocalllmError as error:
        _check_error(error)
    taken = time.thread_time() - start
    if taken > target.seconds:
        raise Finding(f"took {taken:.1f} s, at most {target.seconds} are allowed")


def _check_error(error: Exception) -> None:
    text = str(error)
    if not text or len(text) > 4096 or any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text):
        raise Finding(f"an error must be one line of moderate length, without control characters: {text!r}") from error


def written(data: bytes, name: str) -> Path:
    """A file of this process that holds `data`; it is overwritten by the next of the same name."""
    path = Path(_folder()) / name
    path.write_bytes(data)
    return path


@cache
def _folder() -> str:
    import atexit
    import shutil

    folder = tempfile.mkdtemp(prefix="localllm-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
