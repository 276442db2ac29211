"""Runs kernels that are compiled for AArch64, by qemu's emulation of a Linux process (Debian: qemu-user-static).

An Emulator takes the place of the harness's memory and of its `run`: buffers lie in one arena; each run writes an
executable of the kernel, the arena and a few instructions that call one with the other, and takes the arena back from
what that prints. No linker for AArch64 is needed: kernels are complete but for a handful of relocations.
"""

from __future__ import annotations

import base64
import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from localllm.kernels.objects import Key
from localllm.kernels.simd.targets import current
from localllm.kernels.thread import SCRATCH_BYTES, Step, Thread
from localllm.runtime.arrays import SLACK, aligned
from tests.kernels import harness

QEMU = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")

CODE, ARENA, SCRATCH = 0x400000, 0x10000000, 0x80000000
"""Guest addresses."""
_PAGE = 4096
_ADDRESSES = ("tokens", "positions", "seqs", "out_rows", "logits", "runs", "order")
"""Fields of a step block."""


def compiled(target: str, keys: list[Key]) -> dict[Key, bytes]:
    """ELF objects of kernels for a target of another architecture."""
    done = harness.python(current().name, "-m", "tests.kernels.crossed", target, *map(str, keys))
    if done.returncode:
        raise RuntimeError(done.stderr)
    return {Key.parse(k): base64.b64decode(v) for k, v in json.loads(done.stdout).items()}


# --- linking: sections one after another, and the relocations that LLVM's large code model makes


def link(named_object: bytes) -> tuple[bytes, int]:
    """Memory of an object at CODE, and the address of the kernel."""
    name, _, code = named_object.partition(b"\n")
    (table,), (size, count) = struct.unpack_from("<Q", code, 40), struct.unpack_from("<HH", code, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", code, table + i * size) for i in range(count)]
    image, starts = bytearray(), {}
    for i, (_, kind, flags, _, offset, n, _, _, align, _) in enumerate(sections):
        if kind == 1 and flags & 2:  # bytes of the program
            image += bytes(-len(image) % max(align, 1))
            starts[i] = len(image)
            image += code[offset : offset + n]
    at_symbols, at_names = next((s[4], sections[s[6]][4]) for s in sections if s[1] == 2)

    def address(number: int) -> int:
        _, _, _, section, value, _ = struct.unpack_from("<IBBHQQ", code, at_symbols + 24 * number)
        return CODE + starts[section] + value

    for _, kind, _, _, offset, n, _, into, _, _ in sections:
        if kind == 4 and sections[into][2] & 4:  # relocations of code
            for at in range(offset, offset + n, 24):
                place, kind_, number, plus = struct.unpack_from("<QIIq", code, at)
                _relocate(image, starts[into] + place, kind_, address(number) + plus)
    n_symbols = next(s[5] for s in sections if s[1] == 2) // 24
    for number in range(n_symbols):
        at = at_names + struct.unpack_from("<I", code, at_symbols + 24 * number)[0]
        if code[at : code.index(b"\0", at)] == name:
            return bytes(image), address(number)
    raise ValueError(f"no symbol {name!r}")


_MOVW = {263: 0, 264: 0, 265: 16, 266: 16, 267: 32, 268: 32, 269: 48}
"""R_AARCH64_MOVW_UABS_G0 to _G3: how far 16 bits of an address are moved down."""
_BRANCHES = (282, 283)
"""R_AARCH64_JUMP26, R_AARCH64_CALL26."""


def _relocate(image: bytearray, at: int, kind: int, value: int) -> None:
    (word,) = struct.unpack_from("<I", image, at)
    if kind in _MOVW:
        word |= (value >> _MOVW[kind] & 0xFFFF) << 5
    elif kind in _BRANCHES:
        word |= (value - CODE - at) >> 2 & 0x3FFFFFF
    else:
        raise ValueError(f"relocation {kind} is not known here")
    struct.pack_into("<I", image, at, word)


# --- the program: call the kernel, write the arena, end


def _set(register: int, value: int) -> list[int]:
    """movz, movk, movk."""
    return [(0xF2800000 if i else 0xD2800000) | i << 21 | (value >> 16 * i & 0xFFFF) << 5 | register for i in range(3)]


def _start(kernel: int, params: int, thread: int, n_bytes: int) -> bytes:
    call_register_9, system_call = 0xD63F0120, 0xD4000001
    words = [
        *_set(0, params), *_set(1, thread), *_set(9, kernel), call_register_9,
        *_set(0, 1), *_set(1, ARENA), *_set(2, n_bytes), *_set(8, 64), system_call,  # write(1, arena, n_bytes)
        *_set(0, 0), *_set(8, 93), system_call,  # exit(0)
    ]  # fmt: skip
    return struct.pack(f"<{len(words)}I", *words)


def executable(code: bytes, entry: int, arena: bytes) -> bytes:
    """An ELF file of three segments: code at CODE, the arena, scratch."""
    segments = [(5, CODE, code, len(code)), (6, ARENA, arena, len(arena)), (6, SCRATCH, b"", SCRATCH_BYTES + _PAGE)]
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, entry, 64, 0, 0, 64, 56,
                                                              len(segments), 0, 0, 0)  # fmt: skip
    table, body, offset = b"", b"", _PAGE
    for flags, address, content, n in segments:
        table += struct.pack("<IIQQQQQQ", 1, flags, offset, address, address, len(content), n, _PAGE)
        body += content + bytes(-len(content) % _PAGE)
        offset = _PAGE + len(body)
    return (header + table).ljust(_PAGE, b"\0") + body


class Emulator:
    """Memory for tests, and a `run` for kernels of another target. `folder` is for the executable."""

    def __init__(self, folder: Path, objects: dict[Key, bytes], megabytes: int = 64) -> None:
        self._file, self._linked = folder / "kernel", {key: link(o) for key, o in objects.items()}
        self._arena, self._used = aligned(megabytes << 20), 0
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
        at = (CODE + len(code) + 15) // 16 * 16
        start = _start(kernel, self._guest(params), self._guest(thread), self._used)
        self._file.write_bytes(
            executable(code.ljust(at - CODE, b"\0") + start, at, self._arena[: self._used].tobytes())
        )
        self._file.chmod(0o700)
        done = subprocess.run([str(QEMU), "-cpu", "max", str(self._file)], capture_output=True, check=False)
        if done.returncode or len(done.stdout) != self._used:
            raise RuntimeError(f"{name}: qemu ended with {done.returncode}: {done.stderr.decode()[-500:]}")
        self._arena[:kept] = np.frombuffer(done.stdout, np.uint8)[:kept]
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
