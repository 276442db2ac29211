"""Which source files a kernel is made from: its object code is stale when one of them changes, and only then."""

from __future__ import annotations

import hashlib
import os
import re
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent
_COMPILER = ("jit", "simd")
"""What every kernel is compiled by."""
_NOT_CODE = ("compiler", "objects", "sources", "workers")
"""What `jit` imports as a program: it moves object code around, and has no part in it."""
_IMPORT = re.compile(r"^ *from \.(\.?)([\w.]*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)


def digest(module: str, arguments: tuple[str | int, ...]) -> str:
    """Of all the sources of a kernel."""
    total = hashlib.sha256()
    for name in sorted(sources_of(module, arguments)):
        total.update(f"{name}\0".encode() + _content(name) + b"\0")
    return total.hexdigest()[:16]


def sources_of(module: str, arguments: tuple[str | int, ...] = ()) -> set[str]:
    """Modules of this folder: the kernel's own, all that it imports, and the format that its arguments name."""
    folders = ("formats", "encoders") if "encoders" in _reached(module) else ("formats",)
    formats = (f"{f}.{a}" for f in folders for a in arguments if f"{f}.{a}" in _files())
    return set().union(*(_reached(name) for name in (module, *_COMPILER, *formats)))


@cache
def _reached(module: str) -> frozenset[str]:
    """A module and what it imports from this folder, at any distance."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen and name not in _NOT_CODE:
            seen.add(name)
            waiting += _imports(name)
    return frozenset(seen)


@cache
def _imports(module: str) -> tuple[str, ...]:
    package = module if _files()[module].name == "__init__.py" else module.rpartition(".")[0]
    found = []
    for up, name, imported in _IMPORT.findall(_content(module).decode()):
        base = package.rpartition(".")[0] if up else package
        target = ".".join(part for part in (base, name) if part)
        names = [word.split(" as ")[0].strip() for word in imported.strip("()").split(",")]
        parts = [".".join(part for part in (target, name) if part) for name in names]
        found += [part for part in (*parts, target) if part in _files()]
    if module == "simd":  # its own files make up its vocabulary
        found += [name for name in _files() if name.startswith("simd.")]
    return tuple(dict.fromkeys(found))


@cache
def _files() -> dict[str, Path]:
    """The file of each module of this folder; a package's is its __init__.py."""
    found = {}
    for folder, _, names in os.walk(_HERE):
        package = folder[len(str(_HERE)) :].replace(os.sep, ".")[1:]
        for name in names:
            stem, ending = os.path.splitext(name)
            if ending == ".py":
                found[package if stem == "__init__" else f"{package}.{stem}".lstrip(".")] = Path(folder, name)
    del found[""]  # this folder's own
    return found


@cache
def _content(module: str) -> bytes:
    return _files()[module].read_bytes()
