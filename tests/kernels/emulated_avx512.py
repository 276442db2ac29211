"""An x86 processor with AVX-512: Bochs (Debian: bochs), which emulates a whole computer.

Each call starts it anew with memory filled from files, and in the place of a BIOS a program that sets the processor up,
calls the kernel, writes what has changed in the arena to a port that Bochs prints, and turns the computer off.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from functools import cache
from pathlib import Path

import numpy as np

from tests.kernels.emulated import ARENA, CODE, MEGABYTES

_TABLES = 0x100000
"""Where the image of memory begins: page tables, and behind them what the firmware must know."""
_CALL, _STACK = _TABLES + 0x6000, _TABLES + 0x20000
_LINE = 64
_GUEST_MEGABYTES = (ARENA >> 20) + 2 * MEGABYTES + 1

_FIRMWARE = """
  .set rom, 0xFFFF0000
  .code16
start:
  cli
  lgdtl %cs:(gdtr - start)
  movl %cr0, %eax
  orl $1, %eax                     # PE
  movl %eax, %cr0
  ljmpl $8, $(protected - start + rom)
  .code32
protected:
  movl $16, %eax
  movl %eax, %ds
  movl %eax, %es
  movl %eax, %ss
  movl $TABLES, %esi               # Bochs finds a place for a part of memory when it is first used, but had read
touch:                             # the image into one part's place and beyond: places must be given in order
  movl (%esi), %eax
  addl $0x10000, %esi
  cmpl CALL + 20, %esi
  jb touch
  movl %cr4, %eax
  orl $0x40620, %eax               # PAE, OSFXSR, OSXMMEXCPT, OSXSAVE
  movl %eax, %cr4
  movl $TABLES, %eax
  movl %eax, %cr3
  movl $0xC0000080, %ecx
  rdmsr
  orl $0x100, %eax                 # EFER.LME
  wrmsr
  movl %cr0, %eax
  andl $~12, %eax                  # neither EM nor TS
  orl $0x80000002, %eax            # PG, MP
  movl %eax, %cr0
  ljmpl $24, $(long - start + rom)
  .code64
long:
  xorl %ecx, %ecx
  xorl %edx, %edx
  movl $0xE7, %eax                 # x87, SSE, AVX, AVX-512
  xsetbv
  movl $STACK, %esp
  movl CALL, %eax                  # kernel, params, thread; lines of the arena, its copy, the end
  movl CALL + 4, %edi
  movl CALL + 8, %esi
  call *%rax
  movl $ARENA, %esi
  movl CALL + 12, %ebx
  movl CALL + 16, %edi
  movl $0xE9, %edx                 # Bochs prints what this port is given
line:
  vmovdqu64 (%rsi), %zmm0
  vpcmpneqd (%rdi), %zmm0, %k1
  kortestw %k1, %k1
  jz same
  movl %esi, %eax
  movl $4, %ecx
address:
  outb %al, %dx
  shrl $8, %eax
  loop address
  movl $64, %ecx
  rep outsb
  jmp after
same:
  addq $64, %rsi
after:
  addq $64, %rdi
  decl %ebx
  jnz line
  xorl %eax, %eax                  # no line has this address
  movl $4, %ecx
last:
  outb %al, %dx
  loop last
  leaq shutdown(%rip), %rsi
  movl $8, %ecx
  movl $0x8900, %edx               # Bochs ends when this port is given this word
  rep outsb
  hlt
shutdown:
  .ascii "Shutdown"
  .balign 8
gdt: # none, code of 32 bits, data, code of 64 bits
  .quad 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF, 0x00AF9B000000FFFF
gdtr:
  .word 31
  .long gdt - start + rom
  .org 0xFFF0                      # where a processor begins
  .byte 0xE9, 0x0D, 0              # jmp start
  .org 0x10000
"""

_SETTINGS = f"""
plugin_ctrl: unmapped=1, speaker=0, serial=0, parallel=0, gameport=0, biosdev=0
cpu: model=corei7_icelake_u, ips=200000000, reset_on_triple_fault=0
memory: guest={_GUEST_MEGABYTES}, host={_GUEST_MEGABYTES}
romimage: file=FOLDER/rom
optramimage1: file=FOLDER/memory, address={_TABLES:#x}
port_e9_hack: enabled=1
display_library: rfb, options="timeout=0"
log: FOLDER/log
panic: action=fatal
"""


@cache
def firmware() -> bytes:
    """64 KB that end at 4 GB."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()
    names = {"TABLES": _TABLES, "CALL": _CALL, "STACK": _STACK, "ARENA": ARENA}
    lines = [f"  .set {name}, {value}" for name, value in names.items()] + _FIRMWARE.splitlines()
    quoted = [line.partition("#")[0].rstrip().replace('"', r"\22") for line in lines]
    module = llvm.parse_assembly("\n".join(f'module asm "{line}"' for line in quoted))
    machine = llvm.Target.from_triple("x86_64-unknown-linux-gnu").create_target_machine(features="+avx512f,+avx512bw")
    code = machine.emit_object(module)
    (table,), (size, count) = struct.unpack_from("<Q", code, 40), struct.unpack_from("<HH", code, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", code, table + i * size) for i in range(count)]
    (at,) = [offset for _, kind, flags, _, offset, n, *_ in sections if kind == 1 and flags & 4 and n]
    return code[at : at + 0x10000]


@cache
def _tables() -> bytes:
    """Pages of 2 MB for addresses below 4 GB, each at its own address: three levels."""
    pages = np.arange(2048, dtype="<u8") << 21 | 0x83
    upper = np.zeros((2, 512), "<u8")
    upper[0, 0] = _TABLES + 0x1000 | 3
    upper[1, :4] = np.arange(_TABLES + 0x2000, _TABLES + 0x6000, 0x1000) | 3
    return upper.tobytes() + pages.tobytes()


class Avx512:
    """See emulated.Machine. `folder` is for what Bochs reads and writes."""

    PROGRAM = shutil.which("bochs")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "settings").write_text(_SETTINGS.replace("FOLDER", str(folder)))
        (folder / "rom").write_bytes(firmware())

    def call(self, code: bytes, kernel: int, params: int, thread: int, arena: bytes) -> bytes:
        """See emulated.Machine."""
        copy = ARENA + len(arena)
        call = struct.pack("<6I", kernel, params, thread, len(arena) // _LINE, copy, copy + len(arena))
        with (self._folder / "memory").open("wb") as memory:
            for at, content in ((_TABLES, _tables() + call), (CODE, code), (ARENA, arena), (copy, arena)):
                memory.seek(at - _TABLES)
                memory.write(content)
        done = subprocess.run(
            [str(self.PROGRAM), "-q", "-f", str(self._folder / "settings")],
            input=b"c\n", capture_output=True, check=False, timeout=600,  # "c": Debian's has a debugger, which waits
        )  # fmt: skip
        out, record = bytearray(arena), np.dtype([("address", "<u4"), ("line", "u1", _LINE)])
        _, _, printed = done.stdout.partition(b"<bochs:1> c\n")
        while len(printed) >= record.itemsize and printed[:4] != bytes(4):
            at = int.from_bytes(printed[:4], "little") - ARENA
            out[at : at + _LINE] = printed[4 : record.itemsize]
            printed = printed[record.itemsize :]
        if printed[:4] != bytes(4):
            log = (self._folder / "log").read_text(errors="replace")
            raise RuntimeError("bochs: " + "; ".join(re.findall(r">>PANIC<< (.*)", log)))
        return bytes(out)
