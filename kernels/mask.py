"""Tokens that may not come next: logits of -inf where a bit is not set."""

from .simd import Const, Struct, constant, f32, f32x16, i32x16, less, load, select, splat, store, u16, u32
from .thread import claim

Params = Struct("Mask", ("n", "n_bits", "bits", "logits"))
"""logits: f32 [n], in place. bits: uint32, n_bits of them whole words, the lowest bit first; from n_bits on none is
set."""

_PIECE = 8192
_BIT = Const(i32x16, tuple(1 << i for i in range(16)))
_NONE = float("-inf")


def logits():
    """Threads claim pieces of 8192."""

    def kernel(params, thread):
        p = Params(params)
        first = claim(thread, _PIECE)
        while first < p.n:
            last = min(first + _PIECE, p.n)
            known = max(first, min(last, p.n_bits) // 16 * 16)
            for i in range(first, known, 16):
                bits = load(u16, p.bits + i // 8)
                at = p.logits + 4 * i
                allowed = less(splat(i32x16, 0), splat(i32x16, bits) & constant(_BIT))
                store(at, select(allowed, load(f32x16, at), splat(f32x16, _NONE)))
            for i in range(known, last):
                if i >= p.n_bits or load(u32, p.bits + i // 32 * 4) >> u32(i % 32) & u32(1) == 0:
                    store(p.logits + 4 * i, f32(_NONE))
            first = claim(thread, _PIECE)

    return kernel
