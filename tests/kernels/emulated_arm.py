"""An ARM processor: qemu's emulation of a Linux process (Debian: qemu-user-static).

Each call is an executable of the kernel, the arena and a few instructions that call one with the other; it prints the
arena as it is then.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

from localllm.kernels.thread import SCRATCH_BYTES
from tests.kernels.emulated import ARENA, CODE, SCRATCH

_PAGE = 4096


class Arm:
    """See emulated.Machine. `folder` is for the executable."""

    PROGRAM = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")

    def __init__(self, folder: Path) -> None:
        self._file = folder / "kernel"

    def call(self, code: bytes, kernel: int, params: int, thread: int, arena: bytes) -> bytes:
        """See emulated.Machine."""
        at = (CODE + len(code) + 15) // 16 * 16
        start = _start(kernel, params, thread, len(arena))
        self._file.write_bytes(executable(code.ljust(at - CODE, b"\0") + start, at, arena))
        self._file.chmod(0o700)
        done = subprocess.run([str(self.PROGRAM), "-cpu", "max", str(self._file)], capture_output=True, check=False)
        if done.returncode or len(done.stdout) != len(arena):
            raise RuntimeError(f"qemu ended with {done.returncode}: {done.stderr.decode()[-500:]}")
        return done.stdout


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
    """An ELF file of three segments: code at CODE, scratch, the arena."""
    segments = [(5, CODE, code, len(code)), (6, SCRATCH, b"", SCRATCH_BYTES + _PAGE), (6, ARENA, arena, len(arena))]
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, entry, 64, 0, 0, 64, 56,
                                                              len(segments), 0, 0, 0)  # fmt: skip
    table, body, offset = b"", b"", _PAGE
    for flags, address, content, n in segments:
        table += struct.pack("<IIQQQQQQ", 1, flags, offset, address, address, len(content), n, _PAGE)
        body += content + bytes(-len(content) % _PAGE)
        offset = _PAGE + len(body)
    return (header + table).ljust(_PAGE, b"\0") + body
