"""Where floats stand in a tensor's bytes, and which of them are NaN or infinite. Nothing is dequantized."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from localllm.gguf.header import TensorInfo
from localllm.gguf.reader import GGUFFile

SCALES: dict[str, tuple[int, ...]] = {
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,),
    "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
    "IQ1_S": (0,), "IQ1_M": (48,), "IQ2_XXS": (0,), "IQ2_XS": (0,), "IQ2_S": (0,), "IQ3_XXS": (0,), "IQ3_S": (0,),
    "IQ4_NL": (0,), "IQ4_XS": (0,), "TQ1_0": (52,), "TQ2_0": (64,), "MXFP4": (0,), "NVFP4": (0,),
    "Q1_0": (0,), "Q2_0": (0,),
}  # fmt: skip
"""Where the scales of a block stand: binary16 numbers, but for IQ1_M (four bits at the top of each of four words) and
for MXFP4 and NVFP4, whose scales of 8 bits are finite numbers always."""

_ALWAYS_FINITE = {"MXFP4", "NVFP4"}
_EXPONENTS = {"F32": ("<u4", 0x7F800000), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80), "F64": ("<u8", 0x7FF << 52)}
"""Type of an element, and the bits that are all set in NaN and infinity."""
_HALF = 0x7C00
_PIECE = 1 << 24
"""Bytes that are looked at together."""


def not_finite(file: GGUFFile, info: TensorInfo) -> int:
    """How many floats of a tensor are NaN or infinite: its elements, or the scales and minimums of its blocks. Raises
    FileError."""
    return sum(_of_piece(info.format.name, piece) for piece in _pieces(file, info))


def damaged(file: GGUFFile) -> Iterator[tuple[str, int]]:
    """Names of the tensors with floats that are NaN or infinite, and how many. Reads all; raises FileError."""
    for info in file.tensors.values():
        if n := not_finite(file, info):
            yield info.name, n


def _pieces(file: GGUFFile, info: TensorInfo) -> Iterator[np.ndarray]:
    """Whole blocks: uint8 [n, bytes of a block]."""
    raw = np.frombuffer(file.data(info), np.uint8)
    step = _PIECE // info.format.bytes * info.format.bytes
    for at in range(0, len(raw), step):
        yield raw[at : at + step].reshape(-1, info.format.bytes)


def _of_piece(name: str, blocks: np.ndarray) -> int:
    if name in _EXPONENTS:
        dtype, bits = _EXPONENTS[name]
        return _count(np.ascontiguousarray(blocks).view(dtype), bits)
    if name in _ALWAYS_FINITE or name not in SCALES:
        return 0
    if name == "IQ1_M":
        words = np.ascontiguousarray(blocks[:, 48:56]).view("<u2") >> 12
        return _count(words[:, 0] | words[:, 1] << 4 | words[:, 2] << 8 | words[:, 3] << 12, _HALF)
    return sum(_count(np.ascontiguousarray(blocks[:, at : at + 2]).view("<u2"), _HALF) for at in SCALES[name])


def _count(words: np.ndarray, bits: int) -> int:
    return int(np.count_nonzero((words & words.dtype.type(bits)) == bits))
