"""Reading what a mapped file has lost: a page of zeros and a flag in the place of a signal that ends the process.

A page of a mapped file that was cut, or that the disk cannot read, gives SIGBUS to the thread that reads it, in the
middle of a kernel. The handler installed here is machine code of a few instructions, made with LLVM: no Python runs in
it, no lock is taken, nothing is allocated. It looks the address up in a table of the mappings that `watch` was told of.
For one of these it puts a page of zeros there (mmap with MAP_FIXED, a system call), sets the mapping's flag, and
returns; the kernel goes on, with zeros, and who reads the flag after the pass throws its results away. All other
faults go where they went before: to the handler that was there (faulthandler's), or to the system's, which ends the
process. Linux alone, on x86-64 and AArch64, whose `struct sigaction` and `siginfo_t` this file knows.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import signal
import sys
import threading
from typing import Any

import numpy as np

CAPACITY = 1024
"""Mappings at a time; what comes beyond is not watched."""
_WORDS = 4
"""Of a mapping: its first address, the one behind it, its flag, unused."""
_table = np.zeros((CAPACITY, _WORDS), np.int64)
_old = np.zeros(160 // 8, np.int64)
"""The `struct sigaction` that was there before: the handler's address comes first."""
_default = np.zeros(160 // 8, np.int64)
"""One that says: the system's own action (SIG_DFL is 0)."""
_lock = threading.Lock()
_kept: list[Any] = []
"""The machine code, for as long as the process lives."""
_SA_SIGINFO, _FLAGS_AT = 4, (8 + 128) // 4

_IR = """
define void @handle(i32 %signal, ptr %info, ptr %context) {{
start:
  %at = getelementptr i8, ptr %info, i64 16
  %address = load i64, ptr %at
  br label %look
look:
  %i = phi i64 [ 0, %start ], [ %next, %on ]
  %slot = mul i64 %i, 32
  %place = add i64 %slot, {table}
  %entry = inttoptr i64 %place to ptr
  %first = load atomic i64, ptr %entry acquire, align 8
  %end_at = getelementptr i8, ptr %entry, i64 8
  %end = load atomic i64, ptr %end_at acquire, align 8
  %is_behind = icmp uge i64 %address, %first
  %is_before = icmp ult i64 %address, %end
  %is_inside = and i1 %is_behind, %is_before
  br i1 %is_inside, label %found, label %on
on:
  %next = add i64 %i, 1
  %is_more = icmp ult i64 %next, {capacity}
  br i1 %is_more, label %look, label %other
found:
  %page = and i64 %address, {page_mask}
  %map = inttoptr i64 {mmap} to ptr
  %got = call i64 %map(i64 %page, i64 {page}, i32 1, i32 50, i32 -1, i64 0)
  %failed = icmp eq i64 %got, -1
  br i1 %failed, label %other, label %mapped
mapped:
  %flag = getelementptr i8, ptr %entry, i64 16
  store atomic i64 1, ptr %flag release, align 8
  ret void
other:
  %old_at = inttoptr i64 {old} to ptr
  %old = load i64, ptr %old_at
  %is_plain = icmp ule i64 %old, 1
  br i1 %is_plain, label %default, label %chain
chain:
  %handler = inttoptr i64 %old to ptr
  call void %handler(i32 %signal, ptr %info, ptr %context)
  ret void
default:
  %act = inttoptr i64 {sigaction} to ptr
  %new = inttoptr i64 {default} to ptr
  %done = call i32 %act(i32 %signal, ptr %new, ptr null)
  %raise = inttoptr i64 {raise_} to ptr
  %raised = call i32 %raise(i32 %signal)
  ret void
}}
"""
"""mmap: PROT_READ is 1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED 50, on both processors. A fault at an address is tried
again once the handler returns; `raise` is for a signal that somebody sent."""


def is_possible() -> bool:
    return sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64") and sys.maxsize > 2**32


def watch(address: int, n_bytes: int) -> int:
    """Watch a mapping; its number, for `is_hit` and `unwatch`, or -1 where it cannot be watched."""
    with _lock:
        if not is_possible() or not _install():
            return -1
        free = np.flatnonzero(_table[:, 1] == 0)
        if not len(free):
            return -1
        i = int(free[0])
        _table[i, 2], _table[i, 0] = 0, address
        _table[i, 1] = address + n_bytes  # last: from now on it is one
        return i


def is_hit(number: int) -> bool:
    """Zeros stand in the place of a page that could not be read."""
    return number >= 0 and bool(_table[number, 2])


def unwatch(number: int) -> None:
    """Before the mapping goes: its addresses may be somebody else's then."""
    if number >= 0:
        _table[number, 1] = 0


def _install() -> bool:
    """Once a process; a child that was forked has it, too."""
    if _kept:
        return bool(_kept[0])
    try:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        libc = ctypes.CDLL(None, use_errno=True)
        ir = _IR.format(
            table=_table.ctypes.data, capacity=CAPACITY, page_mask=-mmap.PAGESIZE, page=mmap.PAGESIZE,
            old=_old.ctypes.data, default=_default.ctypes.data, mmap=_address(libc.mmap),
            sigaction=_address(libc.sigaction), raise_=_address(getattr(libc, "raise")),
        )  # fmt: skip
        module = llvm.parse_assembly(ir)
        module.verify()
        machine = llvm.Target.from_default_triple().create_target_machine()
        engine = llvm.create_mcjit_compiler(module, machine)
        engine.finalize_object()
        handler = engine.get_function_address("handle")
        new = np.zeros(160 // 8, np.int64)
        new[0] = handler
        new.view(np.int32)[_FLAGS_AT] = _SA_SIGINFO
        ok = (
            libc.sigaction(int(signal.SIGBUS), ctypes.c_void_p(new.ctypes.data), ctypes.c_void_p(_old.ctypes.data)) == 0
        )
    except (OSError, RuntimeError, AttributeError):
        ok, engine = False, None
    _kept.extend([ok, engine])
    return ok


def _address(function: Any) -> int:
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)
