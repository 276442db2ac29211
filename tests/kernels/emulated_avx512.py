"""An x86 processor with AVX-512: Bochs (Debian: bochs), which emulates a whole computer.

Each call starts it anew with memory filled from a file, and in the place of a BIOS a program that sets the processor
up, calls the kernel, writes what has changed to a port that Bochs prints, and turns the computer off.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np

from localllm.kernels.thread import SCRATCH_BYTES
from tests.kernels.emulated import ARENA, CODE, SCRATCH
from tests.kernels.guest_memory import PAGE, Content, GuestMemory

_CALL, _STACK = 0x100000, 0x200000
"""Where the memory's file begins, with what the firmware must know; where the stack begins, which grows towards it."""
_ROM, _ROM_BYTES = 0xFFFF0000, 0x10000
_LINE = 64
_RECORD = np.dtype([("address", "<u8"), ("line", "u1", _LINE)])
"""What the guest prints of a line that has changed; the end is one at address 0."""

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
  movl $CALL, %esi                 # Bochs finds a place for a part of memory when it is first used, but had read
touch:                             # the image into one part's place and beyond: places must be given in order
  movl (%esi), %eax
  addl $0x10000, %esi
  cmpl CALL + 8, %esi
  jb touch
  movl %cr4, %eax
  orl $0x40620, %eax               # PAE, OSFXSR, OSXMMEXCPT, OSXSAVE
  movl %eax, %cr4
  movl CALL, %eax
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
  movq CALL + 16, %rax             # kernel, params, thread
  movq CALL + 24, %rdi
  movq CALL + 32, %rsi
  call *%rax
  movl $0xE9, %edx                 # Bochs prints what this port is given
  movq CALL + 40, %r15             # regions: where they are, where their copies are, lines
  movl $CALL + 48, %r14d
region:
  decq %r15
  js end
  movq (%r14), %rsi
  movq 8(%r14), %rdi
  movq 16(%r14), %rbx
  addq $24, %r14
line:
  vmovdqu64 (%rsi), %zmm0
  vpcmpneqd (%rdi), %zmm0, %k1
  kortestw %k1, %k1
  jz same
  movq %rsi, %rax
  movl $8, %ecx
address:
  outb %al, %dx
  shrq $8, %rax
  loop address
  movl $64, %ecx
  rep outsb
  jmp after
same:
  addq $64, %rsi
after:
  addq $64, %rdi
  decq %rbx
  jnz line
  jmp region
end:
  xorl %eax, %eax                  # no line has this address
  movl $72, %ecx
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

_SETTINGS = """
plugin_ctrl: unmapped=1, speaker=0, serial=0, parallel=0, gameport=0, biosdev=0
cpu: model=corei7_icelake_u, ips=200000000, reset_on_triple_fault=0
memory: guest=MEGABYTES, host=MEGABYTES
romimage: file=FOLDER/rom
optramimage1: file=FOLDER/memory, address=CALL
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
    names = {"CALL": _CALL, "STACK": _STACK}
    lines = [f"  .set {name}, {value}" for name, value in names.items()] + _FIRMWARE.splitlines()
    quoted = [line.partition("#")[0].rstrip().replace('"', r"\22") for line in lines]
    module = llvm.parse_assembly("\n".join(f'module asm "{line}"' for line in quoted))
    machine = llvm.Target.from_triple("x86_64-unknown-linux-gnu").create_target_machine(features="+avx512f,+avx512bw")
    code = machine.emit_object(module)
    (table,), (size, count) = struct.unpack_from("<Q", code, 40), struct.unpack_from("<HH", code, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", code, table + i * size) for i in range(count)]
    (at,) = [offset for _, kind, flags, _, offset, n, *_ in sections if kind == 1 and flags & 4 and n]
    return code[at : at + _ROM_BYTES]


class Avx512:
    """See emulated.Machine. `folder` is for what Bochs reads and writes; `seconds` what a call may take."""

    PROGRAM = shutil.which("bochs")

    def __init__(self, folder: Path, seconds: float = 600) -> None:
        self._folder, self._seconds = folder, seconds
        (folder / "rom").write_bytes(firmware())

    def call(self, code: bytes, kernel: int, params: int, thread: int, arena: bytes) -> bytes:
        """See emulated.Machine."""
        out = bytearray(arena)
        fixed = [(CODE, [code]), (SCRATCH, [bytes(SCRATCH_BYTES + PAGE)])]
        for address, _, lines in self.run((kernel, params, thread), fixed, [(ARENA, [arena])]):
            out[address - ARENA : address - ARENA + lines.size] = lines.tobytes()
        return bytes(out)

    def run(
        self, call: tuple[int, int, int], fixed: Iterable[tuple[int, Content]], changing: Iterable[tuple[int, Content]]
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Call a kernel: its address, and those of its parameters and its thread. Memory that does not change and
        memory that may: addresses, which begin pages and ascend, and what lies there. Yields what has changed: an
        address, and the bytes from there on, before and after. Raises RuntimeError where the guest ends otherwise."""
        with (self._folder / "memory").open("w+b") as file:
            memory = GuestMemory(file, _CALL)
            memory.place(_CALL, [bytes(_STACK - _CALL)])
            memory.show(_ROM, _ROM, _ROM_BYTES)
            for address, content in fixed:
                memory.place(address, content)
            for address, content in changing:
                memory.watch(address, content)
            root = memory.finish()
            regions = np.array([(w.address, w.copy, w.n // _LINE) for w in memory.watched], "<u8")
            memory.begin_with(struct.pack("<6Q", root, memory.end, *call, len(regions)) + regions.tobytes())
            for address, after in _runs(self._printed(memory.end)):
                yield address, np.frombuffer(memory.before(address, after.size), np.uint8), after

    def _printed(self, end: int) -> np.ndarray:
        """Lines that have changed, _RECORD, as a computer prints them whose memory ends there."""
        values = {"FOLDER": str(self._folder), "MEGABYTES": str((end >> 20) + 2), "CALL": hex(_CALL)}
        settings = re.sub("FOLDER|MEGABYTES|CALL", lambda name: values[name[0]], _SETTINGS)
        (self._folder / "settings").write_text(settings)
        done = subprocess.run(
            [str(self.PROGRAM), "-q", "-f", str(self._folder / "settings")], timeout=self._seconds,
            input=b"c\n", capture_output=True, check=False,  # "c": Debian's has a debugger, which waits
        )  # fmt: skip
        _, _, printed = done.stdout.partition(b"<bochs:1> c\n")
        records = np.frombuffer(printed, _RECORD, len(printed) // _RECORD.itemsize)
        ends = np.flatnonzero(records["address"] == 0)
        if not len(ends):
            log = (self._folder / "log").read_text(errors="replace")
            raise RuntimeError("bochs: " + "; ".join(re.findall(r">>PANIC<< (.*)", log)))
        return records[: ends[0]]


def _runs(lines: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Lines that follow one another as one: its address, its bytes."""
    ends = np.flatnonzero(np.diff(lines["address"]) != _LINE) + 1
    for run in np.split(lines, ends):
        if len(run):
            yield int(run[0]["address"]), run["line"].reshape(-1)
