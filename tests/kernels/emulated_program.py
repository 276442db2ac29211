"""Runs a Python program with the kernels of AVX-512 on an emulated processor; all else of it runs as ever.

    python -m tests.kernels.emulated_program avx512vnni SCRIPT [ARGUMENT ...]
    python -m tests.kernels.emulated_program avx512vnni ../shared/conformance/check.py quants

A kernel that the program loads gets an address that only the guest knows, and a call of one, be it the team's replay of
a whole plan, starts the computer of emulated_avx512.py with this process's memory at its own addresses. So plans,
networks and caches for a processor that is not at hand can be held against what they should compute. More features go
behind the target, with commas, as in emulated_bits.py.

What asks for the target when it is imported is imported in functions: by then this process takes itself for another.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from localllm.kernels import objects
from localllm.kernels.objects import Key
from localllm.kernels.simd import targets
from tests.kernels.guest_memory import Content

_CODE, _MAX_CODE = 1 << 40, 1 << 30
"""Where the guest finds kernels. Linux gives a process no addresses near it."""
_CHUNK = 1 << 24
_MEMORY = Path("/dev/shm")

Kernel = Callable[[int, int], None]


class Guest:
    """Takes the places of the object cache's linker, of its compilers, and of ctypes' functions by address."""

    def __init__(self, target: str, folder: Path) -> None:
        from tests.kernels.emulated_avx512 import Avx512

        self._target, self._machine = target, Avx512(folder, seconds=4 * 3600)
        self._code = bytearray()
        self.addresses: dict[Key, int] = {}

    def compile(self, keys: Sequence[Key], *_: object) -> None:
        """See workers.compile_all."""
        from tests.kernels.emulated import compiled

        for key, named_object in compiled(self._target, list(keys)).items():
            objects.write(objects.path(key), named_object)

    def add(self, found: dict[Key, tuple[str, bytes]]) -> None:
        """See objects."""
        from tests.kernels.emulated import link

        for key, (symbol, code) in found.items():
            image, self.addresses[key] = link(symbol.encode() + b"\n" + code, _CODE + len(self._code))
            self._code += image + bytes(-len(image) % 64)
        if len(self._code) > _MAX_CODE:
            raise MemoryError("too many kernels")

    def kernel(self, address: int) -> Kernel:
        """The kernel there, for the guest to call."""
        from localllm.runtime.plan import memory

        def call(params: int, thread: int) -> None:
            parts: dict[bool, list[tuple[int, Content]]] = {False: [(_CODE, [self._code])], True: []}
            for at, end, may_change in _memory():
                parts[may_change].append((at, _content(at, end)))
            for at, before, after in self._machine.run((address, params, thread), parts[False], parts[True]):
                changed = before != after  # Python may have changed what lies beside it
                memory(at, after.size, np.uint8)[changed] = after[changed]

        return call

    def prototype(self, made: Callable) -> Callable:
        """A type of functions as ctypes makes it, but for those of the guest."""

        def function(given: int | Callable) -> Callable:
            if isinstance(given, int) and _CODE <= given < _CODE + _MAX_CODE:
                return self.kernel(given)
            return made(given)

        return function


def _memory() -> Iterator[tuple[int, int, bool]]:
    """Memory of this process in which kernels may work: from, to, and whether it may be written. Neither programs and
    their libraries nor stacks."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, rights, *rest = line.split(maxsplit=5)
        path = rest[3] if len(rest) > 3 else ""
        if rights.startswith("r") and (path.endswith(".gguf") or (rights[1] == "w" and path in ("", "[heap]"))):
            start, end = (int(address, 16) for address in place.split("-"))
            yield start, end, rights[1] == "w"


def _content(start: int, end: int) -> Iterator[bytes]:
    """Read as a file, which tells of memory that is gone meanwhile by an error."""
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        for at in range(start, end, _CHUNK):
            yield os.pread(memory.fileno(), min(_CHUNK, end - at), at)


def _enter(target: str, folder: Path) -> None:
    """Make this process one whose kernels the guest runs."""
    name, *more = target.split(",")
    requires = next(t.requires for t in targets.ALL_TARGETS if t.name == name)
    os.environ |= {"LOCALLLM_TARGET": name, "LOCALLLM_VARIANTS": "default"}
    os.environ["LOCALLLM_CACHE"] = str(objects.root().parent / "emulated")
    targets.host_features = objects.host_features = lambda: frozenset(requires).union(more)  # type: ignore[assignment]
    guest = Guest(target, folder)
    objects.compile_all, objects._linker = guest.compile, lambda: guest  # type: ignore[assignment]
    of_ctypes = ctypes.CFUNCTYPE
    ctypes.CFUNCTYPE = lambda *types, **named: guest.prototype(of_ctypes(*types, **named))  # type: ignore[assignment]

    from localllm.kernels.team import CALLER
    from localllm.runtime.team import Team

    def replay(self: Team, cancel: np.ndarray) -> None:
        self._job[3] = CALLER
        self._call(self._job_address, self._first)

    def start_none(self: Team, first: int) -> None:
        pass

    Team._watch, Team._start = replay, start_none  # type: ignore[method-assign]


def main() -> None:
    if len(sys.argv) < 3 or sys.argv[1].partition(",")[0] != "avx512vnni":
        sys.exit("usage: python -m tests.kernels.emulated_program avx512vnni SCRIPT [ARGUMENT ...]")
    if shutil.which("bochs") is None:
        sys.exit("no emulator: Debian's package bochs")
    _, target, script, *arguments = sys.argv
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        _enter(target, Path(folder))
        sys.argv = [script, *arguments]
        runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
