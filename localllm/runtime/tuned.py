"""The numbers of threads that `localllm bench --tune` found, kept in a small file for later runs.

They hold for a machine (processor, target, what the process may use of it) and a class of models by size: small models
wait for threads, large ones for memory. Who gives a number is obeyed; this file stands in for those who give none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from localllm.errors import FileError
from localllm.kernels.simd.targets import current
from localllm.runtime.processors import processor_name, processors
from localllm.runtime.whole import write_whole

SIZES = (("up to 256 MB", 256 << 20), ("up to 2 GB", 2 << 30), ("over 2 GB", 1 << 63))
"""Classes of models: name, and the bytes of weights that one may have."""
_VERSION = 1
_MAX_BYTES = 1 << 20
"""Of the file: more was not written here."""


@dataclass(frozen=True)
class Threads:
    """Numbers of threads: for passes of few rows, which wait for memory, and for those of many, which compute."""

    decode: int
    prompt: int


def size_class(n_bytes: int) -> str:
    """The class of a model with so many bytes of weights."""
    return next(name for name, most in SIZES if n_bytes <= most)


def path() -> Path:
    """The file: in $LOCALLLM_HOME, or the user's state folder. It need not exist."""
    home = os.environ.get("LOCALLLM_HOME")
    if home:
        return Path(home).expanduser() / "threads.json"
    from platformdirs import user_state_path

    return user_state_path("localllm", appauthor=False) / "threads.json"


def machine() -> str:
    """What the numbers hold for: a process that may use fewer processors is another machine."""
    p = processors()
    quota = f", {p.quota:g} cores of time" if p.quota else ""
    return f"{processor_name()}, {current().name}, {p.logical} threads of {p.physical} cores ({p.fast} fast){quota}"


def threads(
    n_bytes: int, decode: int | None = None, prompt: int | None = None, say: Callable[[str], None] | None = None
) -> Threads:
    """What a model with so many bytes of weights runs on: what was given (one number holds for both), or else what is
    kept, or else one a core. say(text): called with what is wrong with the file, which is then passed over."""
    if decode is not None:
        return Threads(decode, prompt or decode)
    found = kept(say).get(size_class(n_bytes)) or Threads(processors().default, processors().default)
    return Threads(found.decode, prompt or found.prompt)


def kept(say: Callable[[str], None] | None = None) -> dict[str, Threads]:
    """Class of models -> what was found on this machine. say: see `threads`."""
    try:
        text = _read()
        machines = _machines(text) if text else {}
        return _checked(machines.get(machine(), {})) if machines else {}
    except (OSError, ValueError) as error:
        if say:
            what = (error.strerror if isinstance(error, OSError) else "") or error
            say(f"{path()}: is passed over: {what}; `localllm bench --tune --forget` removes it")
        return {}


def keep(n_bytes: int, found: Threads) -> Path:
    """Keep numbers for this machine and the class of such a model; where. What others kept stays, unless the file is no
    good. Raises FileError."""
    file = path()
    try:
        machines = _machines(_read())
    except (OSError, ValueError):
        machines = {}
    machines.setdefault(machine(), {})[size_class(n_bytes)] = asdict(found)
    text = json.dumps({"version": _VERSION, "machines": machines}, indent=2, ensure_ascii=False) + "\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{file}: cannot be written: {error.strerror}") from None
    write_whole(file, text)
    return file


def forget() -> bool:
    """Remove all that is kept; False where nothing was. Raises FileError."""
    try:
        path().unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise FileError(f"{path()}: cannot be removed: {error.strerror}") from None
    return True


def _read() -> str:
    """Empty where nothing is kept. Raises OSError, ValueError."""
    try:
        with path().open(encoding="utf-8") as file:
            text = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return ""
    if len(text) > _MAX_BYTES:
        raise ValueError("it is too large to be ours")
    return text


def _machines(text: str) -> dict[str, Any]:
    """Machine -> class -> numbers, as yet unchecked. Raises ValueError."""
    try:
        whole = json.loads(text or f'{{"version": {_VERSION}, "machines": {{}}}}')
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(whole, dict) or whole.get("version") != _VERSION or not isinstance(whole.get("machines"), dict):
        raise ValueError(f"it is not of the form of version {_VERSION}")
    machines: dict[str, Any] = whole["machines"]
    return machines


def _checked(classes: Any) -> dict[str, Threads]:
    """Raises ValueError for numbers that this machine cannot have."""
    most = processors().most
    out = {}
    for name, numbers in classes.items() if isinstance(classes, dict) else [("", None)]:
        given: list[Any] = [numbers.get(key) for key in ("decode", "prompt")] if isinstance(numbers, dict) else []
        if not given or not all(type(n) is int and 1 <= n <= most for n in given):
            raise ValueError(f"{name or 'an entry'}: its numbers of threads must lie between 1 and {most}")
        out[name] = Threads(*given)
    return out
