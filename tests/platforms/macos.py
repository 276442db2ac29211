"""A macOS that is made of Linux, for one process: `python -m tests.platforms.macos [localllm's arguments]`.

What it imitates: sys.platform, what os lacks there, sysctl's answers, F_FULLFSYNC, folders. ARM64=1 makes it a Mac with
Apple's processor: kernels cannot be loaded then. It is Linux otherwise, and proves less than a Mac.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import sys
from typing import Any

from tests.platforms.windows import hide_linux, import_others, put

SYSCTL = {
    b"hw.perflevel0.physicalcpu": 4, b"hw.physicalcpu": 8, b"hw.logicalcpu": 8, b"hw.optional.AdvSIMD": 1,
    b"hw.optional.arm.FEAT_FP16": 1, b"hw.optional.arm.FEAT_DotProd": 1, b"hw.optional.arm.FEAT_I8MM": 1,
}  # fmt: skip
"""Of an M2."""
F_FULLFSYNC = 51
synced: list[int] = []
"""Descriptors that were given to F_FULLFSYNC."""


def become() -> None:
    """This process is on macOS from now on. localllm must not have been imported."""
    assert not any(name.partition(".")[0] == "localllm" for name in sys.modules)
    import platformdirs
    from platformdirs import macos

    import_others()
    sys.platform = "darwin"
    machine = "arm64" if os.environ.get("ARM64") else "x86_64"
    put(platform, _uname_cache=platform.uname_result("Darwin", "mac", "23.0", "Darwin Kernel", machine))
    put(platformdirs, PlatformDirs=macos.MacOS)
    for name in ("sched_getaffinity", "sched_setaffinity", "posix_fadvise", "fdatasync", "O_NOATIME", "O_PATH"):
        delattr(os, name)
    _processor(machine)
    control = fcntl.fcntl

    def fully(fd: int, command: int, *args: Any) -> Any:
        if command != F_FULLFSYNC:
            return control(fd, command, *args)
        synced.append(fd)
        return 0

    put(fcntl, F_FULLFSYNC=F_FULLFSYNC, fcntl=fully)
    hide_linux()


def _processor(machine: str) -> None:
    """sysctl's answers; of LLVM on Arm: none."""
    import llvmlite.binding as llvm

    library = ctypes.CDLL(None)

    class Library:
        sched_yield = library.sched_yield

        def sysctlbyname(self, name: bytes, value: Any, _size: Any, _new: None, _n: int) -> int:
            if name not in SYSCTL:
                return -1
            value._obj.value = SYSCTL[name]
            return 0

    put(ctypes, CDLL=lambda name: Library())
    if machine == "arm64":
        put(llvm, get_host_cpu_features=dict)


if __name__ == "__main__":
    become()
    if sys.argv[1:2] == ["-c"]:
        exec(sys.argv[2])
    else:
        from localllm.cli.main import main

        sys.exit(main(sys.argv[1:]))
