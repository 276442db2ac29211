"""A llama.cpp for chosen instructions, built from the source of llama-cpp-python: the peers `llamacpp-avx2` and others.

`python -m localllm.tools.llamacpp_built NAME` builds one of BUILDS; `localllm bench -m MODEL --against llamacpp-NAME`
compares with it, as a rule beside LOCALLLM_TARGET of the same instructions. The wheels that an index has are for AVX2
as a rule, whatever the processor. It takes a C++ compiler and some ten minutes. For measuring alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from localllm.errors import FileError, LocalllmError, UsageError

PACKAGE = "llama-cpp-python"
MODULE = "llama_cpp"
_AVX2 = ("SSE42", "AVX", "AVX2", "FMA", "F16C", "BMI2")
_AVX512 = ("AVX512", "AVX512_VBMI", "AVX512_VNNI", "AVX512_BF16")
_AMX = ("AMX_TILE", "AMX_INT8", "AMX_BF16")
_ALL = ("NATIVE", *_AVX2, "AVX_VNNI", *_AVX512, *_AMX)
BUILDS = {"avx2": _AVX2, "avx512": _AVX2 + _AVX512, "native": ("NATIVE",)}
"""Name -> llama.cpp's switches that are on, all others off. native: all that the compiler finds in this processor, AMX
among it."""


def folder(build: str) -> Path:
    """Where the package is, once it was built."""
    from platformdirs import user_cache_path

    return user_cache_path("localllm", appauthor=False) / "peers" / f"llamacpp-{build}"


def version(build: str) -> str | None:
    """Of the package in the folder; None where none was built."""
    found = metadata.distributions(name=PACKAGE, path=[str(folder(build))])
    return next((distribution.version for distribution in found), None)


def switches(build: str) -> list[str]:
    """For CMake. With NATIVE, llama.cpp looks at the processor for all that nothing is said about."""
    on = BUILDS[build]
    off = () if "NATIVE" in on else tuple(name for name in _ALL if name not in on)
    return [f"-DGGML_{name}=ON" for name in on] + [f"-DGGML_{name}=OFF" for name in off]


def make(build: str) -> None:
    """Build it, in place of an older one. Raises FileError, LocalllmError."""
    target = folder(build)
    environment = os.environ | {
        "CMAKE_ARGS": " ".join([*switches(build), "-DLLAVA_BUILD=OFF"]),
        "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1),
    }
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as fresh:
            # In a folder of its own: the package may be installed in this environment, built for another processor.
            pip = [sys.executable, "-P", "-m", "pip", "install", "--no-binary", PACKAGE, "--no-cache-dir"]
            done = subprocess.run([*pip, "--target", f"{fresh}/built", PACKAGE], env=environment, check=False)
            if done.returncode:
                raise LocalllmError("llama.cpp could not be built: pip says why above; it needs a compiler of C++")
            shutil.rmtree(target, ignore_errors=True)
            os.replace(f"{fresh}/built", target)
    except OSError as error:
        raise FileError(f"{error.filename or target}: llama.cpp cannot be kept there ({error.strerror})") from None


def main(arguments: list[str]) -> int:
    """The exit status."""
    try:
        if len(arguments) != 1 or arguments[0] not in BUILDS:
            raise UsageError(f"which? One of {', '.join(BUILDS)}")
        make(arguments[0])
    except LocalllmError as error:
        print(f"llamacpp_built: {error}", file=sys.stderr)
        return error.status
    print(f"{folder(arguments[0])}: {PACKAGE} {version(arguments[0])}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
