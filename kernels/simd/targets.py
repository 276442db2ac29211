"""Targets: which instructions kernels may use. Chosen from the processor's features, or by LOCALLLM_TARGET.

A target is an explicit pair of an LLVM processor name and features: with the host's own name LLVM would use whatever
the host has. Imports llvmlite's binding alone, and only to ask for the host's features.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache

from localllm.errors import TargetError


@dataclass(frozen=True)
class Target:
    """One row of the table: what a processor must have, what may be used beside it, and the register tile that fits."""

    name: str
    cpu: str
    """LLVM's processor name: the baseline of features, and the model for scheduling."""
    machine: str
    """The architecture it is for."""
    requires: tuple[str, ...]
    optional: tuple[str, ...]
    lowering: str
    """The table in simd/instructions.py."""
    tiles: tuple[tuple[int, int], ...]
    """Matrix product: weight rows and vectors of 16 tokens whose sums stay in registers; the default, and others that
    were the fastest on some processor. Rows divide matmul.BLOCK_ROWS."""
    squares: bool = False
    """An instruction multiplies 16 rows by 16 tokens: the default of quantized formats, before `tiles`."""
    adds_pairs: bool = False
    """It multiplies bytes by pairs alone: sums of four of them take an instruction more."""
    signed_bytes: bool = False
    """It multiplies signed bytes with signed ones faster than codes that can pass 127."""
    signed_supers: bool = False
    """So it does those of super-blocks, whose offset would be taken off in 16 registers at once."""
    adds_neighbours: bool = False
    """An instruction adds neighbouring lanes of two vectors."""
    scales_pairs: bool = False
    """An instruction multiplies pairs of integers of 16 bits, and adds both products to one of 32."""
    scales_by_lane: bool = False
    """An instruction multiplies integers of 32 bits with a lane of another vector."""

    @property
    def tile_rows(self) -> int:
        return self.tiles[0][0]

    @property
    def tile_vectors(self) -> int:
        return self.tiles[0][1]

    def features(self, host: frozenset[str]) -> str:
        """LLVM's feature string on this host; it is part of the object cache's key."""
        return ",".join(f"+{f}" for f in (*self.requires, *(o for o in self.optional if o in host)))


_AVX2 = ("avx2", "fma", "f16c", "bmi", "bmi2", "popcnt", "sse4.2")
_AVX512 = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd", "avx512vnni")

_AMX = ("amx-tile", "amx-int8")

_MACHINE = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
_NEON = ("neon", "fullfp16", "dotprod")
_BASELINE = {"x86_64": ("x86-64", ("sse2",)), "aarch64": ("generic", ("neon",))}.get(_MACHINE, ("generic", ()))

_ON_ARM = {"signed_bytes": True, "signed_supers": True, "adds_neighbours": True, "scales_by_lane": True}
_NARROW = ((4, 1), (2, 2), (2, 1))

_WIDE = ((4, 3), (8, 1), (2, 4), (4, 2))
_BYTES = ("gfni", "avx512vbmi", "avx512vbmi2")

_ROWS = (
    Target("amx", "x86-64-v4", "x86_64", _AVX2 + _AVX512 + _AMX, _BYTES, "AMX", _WIDE, squares=True, scales_pairs=True),
    Target("avx512vnni", "x86-64-v4", "x86_64", _AVX2 + _AVX512, _BYTES, "AVX512VNNI", _WIDE, scales_pairs=True),
    Target("avxvnni", "x86-64-v3", "x86_64", (*_AVX2, "avxvnni"), (), "AVXVNNI", _NARROW, scales_pairs=True),
    Target("avx2", "x86-64-v3", "x86_64", _AVX2, (), "AVX2", _NARROW, adds_pairs=True, signed_bytes=True),
    Target("neoni8mm", "generic", "aarch64", (*_NEON, "i8mm"), (), "NEONI8MM", _NARROW, **_ON_ARM),
    Target("neon", "generic", "aarch64", _NEON, (), "NEON", _NARROW, **_ON_ARM),
    Target("generic", _BASELINE[0], _MACHINE, _BASELINE[1], (), "GENERIC", ((2, 1),)),
)  # fmt: skip

ALL_TARGETS: tuple[Target, ...] = _ROWS
"""Those of other architectures too: tests compile for them."""

TARGETS: dict[str, Target] = {t.name: t for t in _ROWS if t.machine == _MACHINE}
"""What this machine's architecture could have, best first."""


@cache
def host_features() -> frozenset[str]:
    """LLVM's names of what this processor can do, and the system lets this process use."""
    import llvmlite.binding as llvm

    found = frozenset(name for name, present in llvm.get_host_cpu_features().items() if present)
    return found if found.isdisjoint(_AMX) or _tiles_permitted() else found.difference(_AMX)


_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA = 158, 0x1023, 18


def _tiles_permitted() -> bool:
    """Linux lets a process use AMX's registers once it has asked (Documentation/arch/x86/xstate.rst)."""
    import ctypes
    import sys

    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).syscall(_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA) == 0)


@cache
def host_cpu() -> str:
    """LLVM's name of this processor: "znver3"."""
    import llvmlite.binding as llvm

    return str(llvm.get_host_cpu_name())


def current() -> Target:
    """The target of this process: LOCALLLM_TARGET, or the best that the processor can run.

    Raises TargetError for one that does not exist or that this processor cannot run: an instruction it lacks would end
    the process.
    """
    wanted = os.environ.get("LOCALLLM_TARGET", "")
    if not wanted:
        return next(t for t in TARGETS.values() if host_features().issuperset(t.requires))
    if wanted not in TARGETS:
        raise TargetError(f"LOCALLLM_TARGET={wanted}: no such target here; there is {', '.join(TARGETS)}")
    missing = [f for f in TARGETS[wanted].requires if f not in host_features()]
    if missing:
        raise TargetError(
            f"LOCALLLM_TARGET={wanted}: this processor lacks {', '.join(missing)}; unset it to choose by itself"
        )
    return TARGETS[wanted]
