"""How keys and values lie in the cache, in f32, f16, Q8_0 or Q4_0.

Keys lie in tiles of 16 cells, so that cells are lanes when scores are computed: [k_dim][16]; in Q8_0 int8 codes
[k_dim][16], then scales [k_dim / 32][16] in f16. Values lie a cell a row, [v_dim]; in Q8_0 the row is codes [v_dim],
then scales [v_dim / 32] in f16. A scale is the greatest magnitude of 32 elements of one cell / 127.

In Q4_0 a row is 16 bytes for each 32 elements, then their scales in f16: byte j holds element j (low nibble) and
element j + 16 (high nibble), element = scale * (nibble - 8), as in GGUF's blocks (formats/q4_0.py). A tile has four
bytes of each cell side by side, [k_dim / 8][16][4], then scales [k_dim / 32][16]. A scale is the element of the
greatest magnitude, the first of equals, with its sign, / -8; a nibble is min(15, trunc(element / scale + 8.5))
(quantize_row_q4_0_ref of llama.cpp's ggml-quants.c). Keys in tiles are turned before, see hadamard.py.
"""

KV_TYPES = ("f16", "f32", "q8_0", "q4_0")
GROUP = 32
"""Elements that share a scale: heads must be whole multiples of it."""
CODE_BITS = {"q8_0": 8, "q4_0": 4}
"""Types with scales, and the bits of an element's code."""
_SIZES = {"f16": 2, "f32": 4}


def cell_bytes(kv_type: str, dim: int) -> int:
    """Bytes that a cell takes for `dim` elements of a head; of keys, a sixteenth of a tile."""
    return int(bytes_of(kv_type)(dim))


def bytes_of(kv_type: str):
    """The same as a function of `dim`, for kernels."""
    if kv_type in CODE_BITS:
        bits = CODE_BITS[kv_type]

        def code_bytes(dim):
            return dim * bits // 8 + dim // GROUP * 2

        return code_bytes
    size = _SIZES[kv_type]

    def plain_bytes(dim):
        return dim * size

    return plain_bytes
