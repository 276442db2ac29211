"""Runs kernels that are compiled for other processors than this one, on emulated ones: emulated_arm, emulated_avx512.

An Emulator takes the place of the harness's memory and of its `run`: buffers lie in one arena; each run gives a machine
the kernel's code, the arena and the addresses to call it with, and takes the arena back. No linker is needed: kernels
are complete but for a handful of relocations.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike

from localllm.kernels.objects import Key
from localllm.kernels.simd.targets import current
from localllm.kernels.thread import Step, Thread
from localllm.runtime.arrays import SLACK, aligned
from tests.kernels import harness

CODE, SCRATCH, ARENA = 0x400000, 0x800000, 0xA00000
"""Guest addresses; the arena's is followed by MEGABYTES at most."""
MEGABYTES = 64
_ADDRESSES = ("tokens", "positions", "seqs", "out_rows", "logits", "runs", "order")
"""Fields of a step block."""


def compiled(target: str, keys: list[Key]) -> dict[Key, bytes]:
    """ELF objects of kernels for a target that this processor need not have; `target`: see crossed."""

    def part(keys: list[Key]) -> dict[str, str]:
        done = harness.python(current().name, "-m", "tests.kernels.crossed", target, *map(str, keys))
        if done.returncode:
            raise RuntimeError(done.stderr)
        return json.loads(done.stdout)

    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(part, [half for half in (keys[::2], keys[1::2]) if half]))
    return {Key.parse(k): base64.b64decode(v) for found in parts for k, v in found.items()}


@contextmanager
def in_place_of(**functions) -> Iterator[None]:
    """The harness with other functions than its own."""
    before = {name: getattr(harness, name) for name in functions}
    try:
        for name, function in functions.items():
            setattr(harness, name, function)
        yield
    finally:
        for name, function in before.items():
            setattr(harness, name, function)


@contextmanager
def noted_keys() -> Iterator[list[Key]]:
    """Gains the key of each kernel that the harness runs."""
    keys: list[Key] = []
    run = harness.run

    def noting(name: str, *arguments: str | int, **fields) -> None:
        module, factory = name.split(".")
        key = Key(module, factory, arguments)
        if key not in keys:
            keys.append(key)
        run(name, *arguments, **fields)

    with in_place_of(run=noting):
        yield keys


@contextmanager
def emulating(machine: Machine, objects: dict[Key, bytes]) -> Iterator[None]:
    """The harness's kernels are emulated."""
    emulator = Emulator(machine, objects)
    with in_place_of(buffer=emulator.buffer, run=emulator.run, margin=emulator.margin):
        yield


# --- linking: sections one after another, and the relocations that LLVM's large code model makes


def link(named_object: bytes, base: int = CODE) -> tuple[bytes, int]:
    """Memory of an object at `base`, and the address of the kernel."""
    name, _, code = named_object.partition(b"\n")
    (table,), (size, count, names) = struct.unpack_from("<Q", code, 40), struct.unpack_from("<HHH", code, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", code, table + i * size) for i in range(count)]

    def text(at: int) -> bytes:
        return code[at : code.index(b"\0", at)]

    image, starts = bytearray(), {}
    for i, (called, kind, flags, _, offset, n, _, _, align, _) in enumerate(sections):
        if kind == 1 and flags & 2 and text(sections[names][4] + called) != b".eh_frame":  # bytes of the program
            image += bytes(-len(image) % max(align, 1))
            starts[i] = len(image)
            image += code[offset : offset + n]
    at_symbols, at_names = next((s[4], sections[s[6]][4]) for s in sections if s[1] == 2)

    def address(number: int) -> int:
        _, _, _, section, value, _ = struct.unpack_from("<IBBHQQ", code, at_symbols + 24 * number)
        return base + starts[section] + value

    for _, kind, _, _, offset, n, _, into, _, _ in sections:
        if kind == 4 and into in starts:
            for at in range(offset, offset + n, 24):
                place, kind_, number, plus = struct.unpack_from("<QIIq", code, at)
                _relocate(image, base, starts[into] + place, kind_, address(number) + plus)
    n_symbols = next(s[5] for s in sections if s[1] == 2) // 24
    for number in range(n_symbols):
        if text(at_names + struct.unpack_from("<I", code, at_symbols + 24 * number)[0]) == name:
            return bytes(image), address(number)
    raise ValueError(f"no symbol {name!r}")


_WHOLE = 1
"""R_X86_64_64: an address of 8 bytes."""
_MOVW = {263: 0, 264: 0, 265: 16, 266: 16, 267: 32, 268: 32, 269: 48}
"""R_AARCH64_MOVW_UABS_G0 to _G3: how far 16 bits of an address are moved down."""
_BRANCHES = (282, 283)
"""R_AARCH64_JUMP26, R_AARCH64_CALL26."""


def _relocate(image: bytearray, base: int, at: int, kind: int, value: int) -> None:
    if kind == _WHOLE:
        struct.pack_into("<Q", image, at, value)
        return
    (word,) = struct.unpack_from("<I", image, at)
    if kind in _MOVW:
        word |= (value >> _MOVW[kind] & 0xFFFF) << 5
    elif kind in _BRANCHES:
        word |= (value - base - at) >> 2 & 0x3FFFFFF
    else:
        raise ValueError(f"relocation {kind} is not known here")
    struct.pack_into("<I", image, at, word)


class Machine(Protocol):
    """An emulated processor."""

    def call(self, code: bytes, kernel: int, params: int, thread: int, arena: bytes) -> bytes:
        """The arena after the kernel's call. code: what lies at CODE; the rest are guest addresses. Raises RuntimeError
        where the guest ends otherwise."""


class Emulator:
    """Memory for tests, and a `run` for kernels of another target."""

    def __init__(self, machine: Machine, objects: dict[Key, bytes]) -> None:
        self._machine, self._linked = machine, {key: link(o) for key, o in objects.items()}
        self._arena, self._used = aligned(MEGABYTES << 20), 0
        self._base = int(self._arena.ctypes.data)

    def buffer(self, shape: int | tuple[int, ...], dtype: DTypeLike = np.float32, fill: int = 0xA5) -> np.ndarray:
        """See harness.buffer."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        start = self._used
        self._used += -(-(size + SLACK) // 64) * 64
        if self._used > self._arena.size:
            raise MemoryError(f"the arena has {self._arena.size} bytes")
        self._arena[start : self._used] = fill
        return self._arena[start : start + size].view(dtype).reshape(shape)

    def margin(self, array: np.ndarray) -> np.ndarray:
        """See harness.margin."""
        end = int(array.ctypes.data) + array.nbytes - self._base
        return self._arena[end : end + SLACK]

    def run(self, name: str, *arguments: str | int, **fields: int | np.ndarray) -> None:
        """See harness.run."""
        kept = self._used
        module, factory = name.split(".")
        code, kernel = self._linked[Key(module, factory, arguments)]
        params = self._block(harness.params_of(name), fields)
        counter, cancel = self.buffer(8, np.uint8, 0), self.buffer(8, np.uint8, 0)
        scratch = {"nth": 1, "scratch": SCRATCH, "counter": counter, "cancel": cancel}
        thread = self._block(Thread, scratch)
        arena = self._arena[: self._used].tobytes()
        try:
            out = self._machine.call(code, kernel, self._guest(params), self._guest(thread), arena)
        except RuntimeError as error:
            raise RuntimeError(f"{name} {arguments}: {error}") from None
        self._arena[:kept] = np.frombuffer(out, np.uint8)[:kept]
        self._used = kept

    def _block(self, struct_, fields: dict) -> np.ndarray:
        """A parameter block in the arena, its addresses the guest's."""
        out = self.buffer(1, struct_.dtype, 0)
        for name, value in fields.items():
            if isinstance(value, np.ndarray):
                out[name] = self._guest(value if self._has(int(value.ctypes.data)) else self._copied(value))
            else:
                out[name] = value
        return out

    def _copied(self, array: np.ndarray) -> np.ndarray:
        """What lies outside of the arena; a step block with the guest's addresses in the place of the arena's."""
        copy = self.buffer(array.shape, array.dtype, 0)
        copy[...] = array
        if array.dtype == Step.dtype:
            for name in _ADDRESSES:
                if address := int(array[name][0]):
                    if not self._has(address):  # the guest would end there, at an address of ours
                        raise ValueError(f"{name} of a step block is not in the arena")
                    copy[name] = address - self._base + ARENA
        return copy

    def _has(self, address: int) -> bool:
        return self._base <= address < self._base + self._arena.size

    def _guest(self, array: np.ndarray) -> int:
        return int(array.ctypes.data) - self._base + ARENA
