"""Kernels: plain Python over the vector vocabulary in `simd`, compiled by `jit` for this processor."""

import platform
import sys

if __name__ == "kernels":
    raise ImportError("import localllm.kernels: the folder kernels/ is that package, not one of its own")

if sys.platform == "darwin" and platform.machine() == "arm64":
    # Not in targets.py itself until all kernels are compiled anew for another reason.
    from . import apple
    from .simd import targets

    targets.host_features = apple.host_features
