"""Which source files a kernel is made from: its object code is stale when one of them changes, and only then."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent
_COMPILER = ("jit", "simd")
"""What every kernel is compiled by."""
_NOT_CODE = ("compiler", "objects", "sources", "workers")
"""What `jit` imports as a program: it moves object code around, and has no part in it."""
_IMPORT = re.compile(r"^\s*from \.(\.?)([\w.]*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)


def digest(module: str, arguments: tuple[str | int, ...]) -> str:
    """Of all the sources of a kernel."""
    total = hashlib.sha256()
    for name in sorted(sources_of(module, arguments)):
        total.update(f"{name}\0".encode() + _content(name) + b"\0")
    return total.hexdigest()[:16]


def sources_of(module: str, arguments: tuple[str | int, ...] = ()) -> set[str]:
    """Modules of this folder: the kernel's own, all that it imports, and the format that its arguments name."""
    folders = ("formats", "encoders") if "encoders" in _reached(module) else ("formats",)
    formats = (f"{f}.{a}" for f in folders for a in arguments if (_HERE / f / f"{a}.py").is_file())
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
    package = module if _path(module).name == "__init__.py" else module.rpartition(".")[0]
    found = []
    for up, name, imported in _IMPORT.findall(_content(module).decode()):
        base = package.rpartition(".")[0] if up else package
        target = ".".join(part for part in (base, name) if part)
        names = [word.split(" as ")[0].strip() for word in imported.strip("()").split(",")]
        parts = [".".join(part for part in (target, name) if part) for name in names]
        found += [part for part in (*parts, target) if part and _path(part).is_file()]
    if package == module:  # a package's own files make up its vocabulary
        found += [f"{module}.{path.stem}" for path in _path(module).parent.glob("*.py") if module == "simd"]
    return tuple(dict.fromkeys(name for name in found if not name.endswith("__init__")))


def _path(module: str) -> Path:
    base = _HERE.joinpath(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


@cache
def _content(module: str) -> bytes:
    return _path(module).read_bytes()
