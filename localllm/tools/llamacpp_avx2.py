"""A llama.cpp that uses AVX2 and nothing newer, built from the source of llama-cpp-python: the peer `llamacpp-avx2`.

`python -m localllm.tools.llamacpp_avx2` builds it; `localllm bench -m MODEL --against llamacpp-avx2` compares with it,
as a rule beside LOCALLLM_TARGET=avx2. It takes a C++ compiler and some ten minutes. For measuring alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from localllm.errors import FileError, LocalllmError

PACKAGE = "llama-cpp-python"
MODULE = "llama_cpp"
_ON = ("SSE42", "AVX", "AVX2", "FMA", "F16C", "BMI2")
_OFF = ("NATIVE", "AVX_VNNI", "AVX512", "AVX512_VBMI", "AVX512_VNNI", "AVX512_BF16")


def folder() -> Path:
    """Where the package is, once it was built."""
    from platformdirs import user_cache_path

    return user_cache_path("localllm", appauthor=False) / "peers" / "llamacpp-avx2"


def version() -> str | None:
    """Of the package in the folder; None where none was built."""
    found = metadata.distributions(name=PACKAGE, path=[str(folder())])
    return next((distribution.version for distribution in found), None)


def build() -> None:
    """Build it, in place of an older one. Raises FileError, LocalllmError."""
    target = folder()
    switches = [f"-DGGML_{name}=ON" for name in _ON] + [f"-DGGML_{name}=OFF" for name in _OFF]
    environment = os.environ | {
        "CMAKE_ARGS": " ".join([*switches, "-DLLAVA_BUILD=OFF"]),
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


def main() -> int:
    """The exit status."""
    try:
        build()
    except LocalllmError as error:
        print(f"llamacpp_avx2: {error}", file=sys.stderr)
        return 1
    print(f"{folder()}: {PACKAGE} {version()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
