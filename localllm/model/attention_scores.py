"""The twin in NumPy of what attention kernels make of queries and cells before values are weighted: shares of
attention, which the kernels (an online softmax) never have in one place. See kernels/attention.py, kernels/scores.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from localllm.kernels.cells import CODE_BITS, GROUP, cell_bytes
from localllm.kernels.scores import DISTANCES, FAR
from localllm.runtime.plan import memory

Numbers = Mapping[str, int | float]
"""Parameters of the kernel (kernels.attention.Params), memory as addresses."""


def scores_of(p: Numbers, key: Sequence[object], positions: np.ndarray, seqs: np.ndarray) -> np.ndarray:
    """float32 [n_rows, n_head, n_seen]: element j is the share of position j of the row's own sequence, 0 for what the
    row does not see. Where there are attention sinks, the shares of a row add up to less than 1.

    key: arguments of the kernel's factory. positions, seqs: int32 [n_rows], of the batch's rows, whose keys are stored.
    """
    n_head, n_kv, n_seen = int(p["n_head"]), int(p["n_head_kv"]), int(positions.max()) + 1
    kv_type, change = str(key[0]), str(key[2]) if len(key) > 2 else "plain"
    q = _floats(int(p["q"]), len(positions) * n_head * int(p["k_dim"])).reshape(len(positions), n_head, -1)
    q = _as_multiplied(kv_type, q * np.float32(p["scale"])).astype(np.float64)
    out = np.zeros((len(positions), n_head, n_seen), np.float32)
    for seq in np.unique(seqs):
        rows = np.flatnonzero(seqs == seq)
        reach = int(positions[rows].max())
        at, seen = _seen(p, positions[rows], reach)
        keys = _keys(p, kv_type, int(seq))[:, at % int(p["n_cells"])].astype(np.float64)
        distance = at[None] - positions[rows, None].astype(np.int64)
        for head in range(n_head):
            scores = q[rows, head] @ keys[head // (n_head // n_kv)].T
            scores = _CHANGES[change](p, scores, distance, head)
            allowed = seen & _chosen(p, rows, at, head) if change == "blocks" else seen
            sink = _floats(int(p["sinks"]), n_head)[head] if p["sinks"] else -np.inf
            out[rows[:, None], head, at] = _softmax(scores, allowed, float(sink))
    return out


def _seen(p: Numbers, positions: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions that any of the rows sees, int64 [n], and which of them each row sees, bool [n_rows, n]."""
    window, ahead = int(p["window"]), int(p["ahead"])
    position = positions.astype(np.int64)
    first = np.zeros_like(position)
    if window < 0:
        first = position - position % -window
    elif window > 0:
        first = np.maximum(0, position + 1 - window)
    last = np.minimum(position + ahead, np.maximum(position, reach if ahead else 0))
    at = np.arange(first.min(), last.max() + 1)
    return at, (at >= first[:, None]) & (at <= last[:, None])


def _keys(p: Numbers, kv_type: str, seq: int) -> np.ndarray:
    """All cells of a sequence, float32 [n_head_kv, n_cells, k_dim]; they lie in tiles of 16."""
    n_kv, dim, n_cells = int(p["n_head_kv"]), int(p["k_dim"]), int(p["n_cells"])
    tile = 16 * cell_bytes(kv_type, dim)
    n_bytes = n_kv * n_cells // 16 * tile
    tiles = memory(int(p["k_cache"]) + seq * n_bytes, n_bytes, np.uint8).reshape(n_kv, n_cells // 16, tile)
    if kv_type in CODE_BITS:
        # 16 scales of two bytes for each 32 elements.
        d = tiles[..., -dim:].copy().view(np.float16).reshape(n_kv, -1, dim // GROUP, 16)
        keys = _CODES[kv_type](tiles, dim) * np.repeat(d.astype(np.float32), GROUP, axis=2)
    else:
        of = np.float16 if kv_type == "f16" else np.float32
        keys = tiles.copy().view(of).reshape(n_kv, -1, dim, 16).astype(np.float32)
    return np.asarray(keys.transpose(0, 1, 3, 2).reshape(n_kv, n_cells, dim))


def _bytes(tiles: np.ndarray, dim: int) -> np.ndarray:
    """Codes of tiles of Q8_0, float32 [n_head_kv, n_tiles, dim, 16]."""
    codes = tiles[..., : 16 * dim].copy().view(np.int8).reshape(len(tiles), -1, dim, 16)
    return codes.astype(np.float32)


def _nibbles(tiles: np.ndarray, dim: int) -> np.ndarray:
    """The same of Q4_0: four bytes of each of 16 cells, low nibbles of which come 16 elements before high ones."""
    b = tiles[..., : 8 * dim].reshape(len(tiles), -1, dim // GROUP, 4, 16, 4)
    codes = np.stack([b & 15, b >> 4], 3).astype(np.float32) - 8
    return np.asarray(codes.swapaxes(-1, -2).reshape(len(tiles), -1, dim, 16))


_CODES = {"q8_0": _bytes, "q4_0": _nibbles}


def _as_multiplied(kv_type: str, q: np.ndarray) -> np.ndarray:
    """Queries [..., k_dim], already scaled, as products with keys take them: see kernels/cell_products.py."""
    if kv_type != "q4_0":
        return q
    q = _turned(q)
    groups = q.reshape(*q.shape[:-1], -1, GROUP)
    d = np.abs(groups).max(-1, keepdims=True) / np.float32(127)
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.where(d >= 2.0**-126, np.float32(1) / d, np.float32(0))
    return np.asarray((np.rint(groups * inverse) * d).reshape(q.shape))


def _turned(q: np.ndarray) -> np.ndarray:
    """As keys are that lie turned: see kernels/hadamard.py."""
    size = q.shape[-1] & -q.shape[-1]
    log2, out = size.bit_length() - 1, q
    for step in (1 << i for i in range(log2)):
        pairs = out.reshape(*q.shape[:-1], -1, 2, step)
        a, b = pairs[..., 0, :], pairs[..., 1, :]
        out = np.stack([a + b, a - b], -2).reshape(q.shape)
    return np.asarray(out * np.float32(0.5 ** ((log2 + 1) // 2)))


def _plain(p: Numbers, scores: np.ndarray, distance: np.ndarray, head: int) -> np.ndarray:
    return scores


def _capped(p: Numbers, scores: np.ndarray, distance: np.ndarray, head: int) -> np.ndarray:
    cap = float(p["cap"])
    return np.asarray(np.tanh(scores / cap) * cap)


def _alibi(p: Numbers, scores: np.ndarray, distance: np.ndarray, head: int) -> np.ndarray:
    return np.asarray(scores - np.abs(distance) * float(_floats(int(p["slopes"]), int(p["n_head"]))[head]))


def _relative(p: Numbers, scores: np.ndarray, distance: np.ndarray, head: int) -> np.ndarray:
    biases = _floats(int(p["slopes"]), int(p["n_head"]) * DISTANCES).reshape(-1, DISTANCES)
    return np.asarray(scores + biases[head, np.clip(distance, -FAR - 16, FAR + 16) + FAR + 16])


_CHANGES = {"plain": _plain, "capped": _capped, "alibi": _alibi, "relative": _relative, "blocks": _plain}


def _chosen(p: Numbers, rows: np.ndarray, at: np.ndarray, head: int) -> np.ndarray:
    """Which positions lie in blocks that each row has chosen, bool [n_rows, n]."""
    n_lists, n_blocks = int(p["n_lists"]), int(p["n_blocks"])
    size = (int(rows.max()) + 1) * n_lists * n_blocks
    flags = memory(int(p["chosen"]), size, np.uint8).reshape(-1, n_lists, n_blocks)
    of = head // (int(p["n_head"]) // int(p["n_head_kv"])) % n_lists
    return np.asarray(flags[rows, of][:, at // int(p["size"])] != 0)


def _softmax(scores: np.ndarray, allowed: np.ndarray, sink: float) -> np.ndarray:
    """Along the last axis, over what is allowed, and a sink that has no element of its own."""
    masked = np.where(allowed, scores, -np.inf)
    greatest = np.maximum(masked.max(-1, keepdims=True), sink)
    e = np.exp(masked - greatest)
    return np.asarray(e / (e.sum(-1, keepdims=True) + np.exp(sink - greatest)), np.float32)


def _floats(address: int, n: int) -> np.ndarray:
    return memory(address, n, np.float32)
