"""SIMD vectors as values of Numba kernels, and what each target lowers them to."""
