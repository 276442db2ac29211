"""Memory between pages that nobody may touch: what a kernel reads or writes beyond it is noted, with the operation.

An area lies flush against the page behind it (side "end") or before it ("begin"). A touch of such a page raises
SIGSEGV; the handler notes it, opens the page, and the kernel goes on: one run finds all. As a plugin of pytest
(`-p tests.kernels.guarded`, side by LOCALLLM_TEST_GUARD) it lays all arrays of tests.kernels.harness so, and checks
each call.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import os
import signal
import sys
import threading
import traceback
import weakref
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from localllm.runtime.arrays import SLACK

SIDES = ("end", "begin")
SIDE = "LOCALLLM_TEST_GUARD"
"""The variable of the environment that says how areas lie."""
PAGE = mmap.PAGESIZE
GUARD = 16 * PAGE
"""Bytes before and behind each area that nobody may touch."""
_NONE, _READ_WRITE = 0, mmap.PROT_READ | mmap.PROT_WRITE
_MAP_FIXED = 0x10
_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def _up(n: int) -> int:
    return -(-n // PAGE) * PAGE


def _map(address: int | None, n_bytes: int, protection: int, flags: int, file: int = -1) -> int:
    at = _libc.mmap(address, n_bytes, protection, flags, file, 0)
    if at == _FAILED:
        raise OSError(ctypes.get_errno(), f"mmap of {n_bytes} bytes")
    return int(at)


def _protect(address: int, n_bytes: int, protection: int) -> None:
    if _libc.mprotect(address, n_bytes, protection):
        raise OSError(ctypes.get_errno(), "mprotect")


def reserve(n_bytes: int) -> int:
    """The address of so many whole pages, of any content, between guards."""
    at = _map(None, n_bytes + 2 * GUARD, _NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if n_bytes:
        _protect(at + GUARD, n_bytes, _READ_WRITE)
    return at + GUARD


def map_file(at: int, n_bytes: int, descriptor: int) -> None:
    """Lay a file over pages that were reserved."""
    _map(at, n_bytes, mmap.PROT_READ, mmap.MAP_PRIVATE | _MAP_FIXED, descriptor)


def release(at: int, n_bytes: int) -> None:
    """Give back what `reserve` gave."""
    _libc.munmap(at - GUARD, n_bytes + 2 * GUARD)


@dataclass
class Area:
    """`size` bytes at `address` and `slack` behind them that may be read, in whole pages from `first` on."""

    name: str
    address: int
    size: int
    slack: int
    fill: int
    first: int
    n_bytes: int
    around: tuple[np.ndarray, np.ndarray] = field(repr=False)
    """What lies before the area in its pages, and behind it, the slack at its start; all hold `fill`."""

    def where(self, address: int) -> str:
        if address < self.address:
            return f"{self.address - address} bytes before its beginning"
        return f"{address - self.address - self.size} bytes behind its end (slack {self.slack})"


@dataclass(frozen=True)
class Trespass:
    """A touch of memory that is not the kernel's."""

    operation: str
    area: str
    where: str
    wrote: bool

    def __str__(self) -> str:
        return f"{self.operation}: {'writes' if self.wrote else 'reads'} {self.area} {self.where}"


class Memory:
    """Areas between guards. There is one a process at a time that watches: see `watch`."""

    def __init__(self, side: str) -> None:
        assert side in SIDES
        self.side = side
        self.areas: dict[int, Area] = {}
        """By address of the first page."""
        self.found: list[Trespass] = []
        self.operation = ""
        """What is about to be called."""
        self._opened: set[int] = set()
        self._gone: deque[tuple[int, int]] = deque()
        """Areas whose arrays have ended: their pages stay until nobody looks at them."""
        self._looking = threading.Lock()

    def allocate(self, n_bytes: int, slack: int = SLACK, fill: int = 0xA5, name: str = "") -> np.ndarray:
        """uint8 [n_bytes + slack], all `fill`; of them the first n_bytes are the array, the others may be read. The
        memory goes with the array."""
        with self._looking:
            self._let_go()
        whole = max(_up(n_bytes + slack), PAGE)
        first = reserve(whole)
        raw = (ctypes.c_uint8 * whole).from_address(first)
        # An array may end in any thread, and in the middle of a look.
        weakref.finalize(raw, self._gone.append, (first, whole))
        pages = np.ctypeslib.as_array(raw)
        pages.fill(fill)
        # Where there are no bytes, any address is past the end.
        start = whole - n_bytes - slack if self.side == "end" else 0
        # Areas without owner: views of all that is around would keep it alive.
        around = [
            np.ctypeslib.as_array((ctypes.c_uint8 * (b - a)).from_address(first + a))
            for a, b in ((0, start), (start + n_bytes, whole))
        ]
        self.areas[first] = Area(name, first + start, n_bytes, slack, fill, first, whole, (around[0], around[1]))
        return pages[start : start + n_bytes + slack]

    def add(self, name: str, address: int, n_bytes: int) -> None:
        """Whole pages that were reserved, and are not given back."""
        none = np.zeros(0, np.uint8)
        self.areas[address] = Area(name, address, n_bytes, 0, 0, address, n_bytes, (none, none))

    def _let_go(self) -> None:
        """Give back what nobody has any more."""
        while self._gone:
            first, whole = self._gone.popleft()
            self.areas.pop(first, None)
            release(first, whole)

    def has(self, address: int) -> Area | None:
        """The area that an address is in, its slack and the rest of its pages among them."""
        return next((a for a in self.areas.values() if a.first <= address < a.first + a.n_bytes), None)

    # --- what happens when a guard is touched

    def touched(self, address: int, wrote: bool) -> bool:
        """Note it and open the page; False where it is no guard's."""
        for area in list(self.areas.values()):
            if area.first - GUARD <= address < area.first + area.n_bytes + GUARD:
                self.found.append(Trespass(self.operation, area.name or "an array", area.where(address), wrote))
                page = address // PAGE * PAGE
                self._opened.add(page)
                _protect(page, PAGE, _READ_WRITE)
                return True
        return False

    def check(self) -> None:
        """Close what was opened. Raises AssertionError for what was touched since, and for what was written around the
        areas."""
        with self._looking:
            self._let_go()
            self._check()

    def _check(self) -> None:
        for page in self._opened:
            _protect(page, PAGE, _NONE)
        self._opened.clear()
        found, self.found = self.found, []
        for area in list(self.areas.values()):
            before, behind = area.around
            first = area.address - before.size
            for part, start in ((before, first), (behind, area.address + area.size)):
                changed = np.flatnonzero(part != area.fill)
                if changed.size:
                    where = area.where(start + int(changed[0]))
                    found.append(Trespass(self.operation, area.name or "an array", where, True))
                    part.fill(area.fill)
        assert not found, "\n".join(dict.fromkeys(map(str, found)))


# --- the handler

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class _Action(ctypes.Structure):
    """struct sigaction of glibc for x86-64 and AArch64."""

    _fields_ = (("handler", ctypes.c_void_p), ("mask", ctypes.c_ulong * 16), ("flags", ctypes.c_int),
                ("restorer", ctypes.c_void_p))  # fmt: skip


_SA_SIGINFO = 4
_ADDRESS_AT = 16
"""Of siginfo_t: si_addr."""
_ERROR_AT = 40 + 8 * 19
"""Of ucontext_t on x86-64: gregs[REG_ERR]; bit 1 of a page fault's is set for a write."""
_watching: list[Any] = []
"""What must live as long as the handler."""


def watch(memory: Memory) -> None:
    """From now on touches of guards are noted; any other SIGSEGV ends the process, and says where and in what."""
    faulthandler.enable()
    before = _Action()

    def handle(number: int, info: int, context: int) -> None:
        try:
            address = ctypes.c_uint64.from_address(info + _ADDRESS_AT).value
            wrote = os.uname().machine == "x86_64" and bool(ctypes.c_uint64.from_address(context + _ERROR_AT).value & 2)
            if not memory.touched(address, wrote):
                os.write(2, f"SIGSEGV at {address:#x} in {memory.operation}\n".encode())
                _libc.sigaction(number, ctypes.byref(before), None)
        except BaseException:
            traceback.print_exc()
            os._exit(128 + number)

    callback = _HANDLER(handle)
    action = _Action(ctypes.cast(callback, ctypes.c_void_p), (ctypes.c_ulong * 16)(), _SA_SIGINFO, None)
    _watching.extend((callback, before))
    if _libc.sigaction(signal.SIGSEGV, ctypes.byref(action), ctypes.byref(before)):
        raise OSError(ctypes.get_errno(), "sigaction")


# --- the harness's memory

EXACT = {
    "matvec.w", "matvec_fours.w", "matmul.w", "experts.rows.w", "experts.tiles.w", "heads.rows.w", "heads.tiles.w",
    "embed.table", "hash_experts.table",
}  # fmt: skip
"""Parameters that are matrices of a mapped file, which may end with them: there is no slack."""


def _root(array: np.ndarray) -> np.ndarray:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


class Guards:
    """Takes the place of the harness's memory, of its `run` and of its teams' calls."""

    def __init__(self, side: str) -> None:
        from tests.kernels import harness

        self.memory, self.harness, self.calls = Memory(side), harness, 0
        self.shapes: dict[str, set[str]] = {}
        """What each kernel was called with."""
        self._call = harness.Team.call
        self._run = harness.run
        self._addresses: dict[int, str] = {}

    def install(self) -> None:
        guards, harness = self, self.harness

        def call(team: Any, address: int, params: np.ndarray) -> None:
            if not guards.memory.operation:
                guards.memory.operation = f"the kernel at {address:#x}"
            guards._call(team, address, guards._copy(params, 0, "parameters"))
            guards.calls += 1
            guards.memory.check()

        watch(self.memory)
        for owner, name, value in (
            (harness, "buffer", self.buffer), (harness, "run", self.run), (harness.Team, "call", call),
        ):  # fmt: skip
            setattr(owner, name, value)
        team = harness.team()
        for field_, array in (("scratch", team.scratch), ("counter", team.counter), ("cancel", team.cancel)):
            setattr(team, field_, self._copy(array, 0, field_))
            team.block[field_] = getattr(team, field_).ctypes.data
        team.block = self._copy(team.block, 0, "thread")

    def buffer(self, shape: int | tuple[int, ...], dtype: Any = np.float32, fill: int = 0xA5) -> np.ndarray:
        """See harness.buffer."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.memory.allocate(size, fill=fill)[:size].view(dtype).reshape(shape)

    def _copy(self, array: np.ndarray, slack: int, name: str) -> np.ndarray:
        """Its bytes in memory of their own."""
        made = self.memory.allocate(array.nbytes, slack, name=name)[: array.nbytes]
        made = made.view(array.dtype).reshape(array.shape)
        made[...] = array
        return made

    def run(self, name: str, *arguments: str | int, **fields: int | np.ndarray) -> None:
        """See harness.run. Matrices are laid out without slack, arrays of NumPy with it; what a kernel writes there
        goes back."""
        moved: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        placed = dict(fields)
        module, _ = name.split(".")
        for field_, array in fields.items():
            if not isinstance(array, np.ndarray):
                continue
            exact = f"{name}.{field_}" in EXACT or f"{module}.{field_}" in EXACT
            area = self.memory.has(int(array.ctypes.data))
            if area is not None and not exact:
                area.name = field_
                continue
            root = array if exact and array.flags.c_contiguous else _root(array)
            if id(root) not in moved:
                moved[id(root)] = root, self._copy(root, 0 if exact else SLACK, field_)
            copy = moved[id(root)][1]
            # An address: the array is a part of its root, which the kernel may use beside it.
            placed[field_] = int(copy.ctypes.data) + int(array.ctypes.data) - int(root.ctypes.data)
        shapes = [
            f"{key}={value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else f"{key}={value}"
            for key, value in fields.items()
        ]
        self.memory.operation = f"{name}({', '.join(map(str, arguments))}) {' '.join(shapes)}"
        sizes = " ".join(s for s in shapes if "[" in s or s.partition("=")[0] in _SIZES)
        self.shapes.setdefault(f"{name}({', '.join(map(str, arguments))})", set()).add(sizes)
        try:
            self._run(name, *arguments, **placed)
        finally:
            self.memory.operation = ""
            for array, copy in moved.values():
                if array.flags.writeable:
                    array[...] = copy


_SIZES = {"n", "k", "n_head", "dim", "head_dim", "k_dim", "v_dim", "window", "width", "n_used", "n_expert", "count"}


_installed: list[Guards] = []


def pytest_configure(config: Any) -> None:
    guards = Guards(os.environ[SIDE])
    guards.install()
    _installed.append(guards)


def pytest_unconfigure(config: Any) -> None:
    """Tell what was run, for people and for the command."""
    for guards in _installed:
        n = sum(map(len, guards.shapes.values()))
        sys.stderr.write(f"guarded: {len(guards.shapes)} kernels, {n} shapes, {guards.calls} calls\n")
