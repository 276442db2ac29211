"""What macOS tells of its processor.

LLVM has no answer there on Arm: getHostCPUFeatures of llvm/lib/TargetParser/Host.cpp finds nothing, also in the LLVM 22
of llvmlite 0.50 (its 16 bytes of machine code return an empty table). The system has one: sysctl's hw.optional.*
(https://developer.apple.com/documentation/kernel/1387446-sysctlbyname/determining_instruction_set_characteristics).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

_FEATURES = {
    "neon": (b"hw.optional.AdvSIMD", b"hw.optional.neon"),
    "fullfp16": (b"hw.optional.arm.FEAT_FP16", b"hw.optional.neon_fp16"),
    "dotprod": (b"hw.optional.arm.FEAT_DotProd",),
    "i8mm": (b"hw.optional.arm.FEAT_I8MM",),
}
"""LLVM's name of a feature that `simd.targets` asks for -> sysctl's names of it, of newer systems and older."""


def sysctl(name: bytes) -> int:
    """A 32-bit number that the system tells, or 0."""
    number, size = ctypes.c_int32(0), ctypes.c_size_t(4)
    failed = ctypes.CDLL(None).sysctlbyname(name, ctypes.byref(number), ctypes.byref(size), None, 0)
    return 0 if failed else number.value


def features(told: Callable[[bytes], int] = sysctl) -> frozenset[str]:
    """LLVM's names of what the processor can do, as far as kernels ask for it."""
    return frozenset(feature for feature, names in _FEATURES.items() if any(map(told, names)))


@cache
def host_features() -> frozenset[str]:
    """Stands in for that of `simd.targets`."""
    return features() | {"neon"}  # which every processor of 64-bit Arm has
