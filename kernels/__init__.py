"""Kernels: plain Python over the vector vocabulary in `simd`, compiled by `jit` for this processor."""

if __name__ == "kernels":
    raise ImportError("import localllm.kernels: the folder kernels/ is that package, not one of its own")
