"""How keys and values lie in the cache, in f32, f16 or Q8_0.

Keys lie in tiles of 16 cells, so that cells are lanes when scores are computed: [k_dim][16]; in Q8_0 int8 codes
[k_dim][16], then scales [k_dim / 32][16] in f16. Values lie a cell a row, [v_dim]; in Q8_0 the row is codes [v_dim],
then scales [v_dim / 32] in f16. A scale is the greatest magnitude of 32 elements of one cell / 127.
"""

KV_TYPES = ("f16", "f32", "q8_0")
GROUP = 32
"""Elements that share a scale: heads must be whole multiples of it."""
_SIZES = {"f16": 2, "f32": 4}


def cell_bytes(kv_type: str, dim: int) -> int:
    """Bytes that a cell takes for `dim` elements of a head; of keys, a sixteenth of a tile."""
    return int(bytes_of(kv_type)(dim))


def bytes_of(kv_type: str):
    """The same as a function of `dim`, for kernels."""
    if kv_type == "q8_0":
        return _q8_bytes
    size = _SIZES[kv_type]

    def plain_bytes(dim):
        return dim * size

    return plain_bytes


def _q8_bytes(dim):
    return dim + dim // GROUP * 2
