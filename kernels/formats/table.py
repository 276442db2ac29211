"""The tensor formats of GGUF: one row each. A row with a module has kernels, in the file of that name beside this one.

Ids, block sizes and names are those of `enum ggml_type` in ggml.h (https://github.com/ggml-org/ggml), version of 2026.
This file imports nothing: `localllm show` reads it without numpy.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """One tensor format: `block` elements of a row are stored together in `bytes` bytes."""

    id: int
    name: str
    block: int
    bytes: int
    module: str = ""
    """File in kernels/formats/ that holds its kernels; empty: such tensors are known, but cannot be computed with."""

    @property
    def supported(self) -> bool:
        return bool(self.module)

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.bytes / self.block

    def row_bytes(self, n_elements: int) -> int:
        """Bytes of a row of `n_elements`, which must be whole blocks."""
        if n_elements % self.block:
            raise ValueError(f"{self.name} rows hold whole blocks of {self.block}, not {n_elements} elements")
        return n_elements // self.block * self.bytes


_ROWS = (
    Format(0, "F32", 1, 4, "f32"),
    Format(1, "F16", 1, 2, "f16"),
    Format(2, "Q4_0", 32, 18, "q4_0"),
    Format(3, "Q4_1", 32, 20, "q4_1"),
    Format(6, "Q5_0", 32, 22, "q5_0"),
    Format(7, "Q5_1", 32, 24, "q5_1"),
    Format(8, "Q8_0", 32, 34, "q8_0"),
    Format(9, "Q8_1", 32, 36),
    Format(10, "Q2_K", 256, 84, "q2_k"),
    Format(11, "Q3_K", 256, 110, "q3_k"),
    Format(12, "Q4_K", 256, 144, "q4_k"),
    Format(13, "Q5_K", 256, 176, "q5_k"),
    Format(14, "Q6_K", 256, 210, "q6_k"),
    Format(15, "Q8_K", 256, 292),
    Format(16, "IQ2_XXS", 256, 66, "iq2_xxs"),
    Format(17, "IQ2_XS", 256, 74, "iq2_xs"),
    Format(18, "IQ3_XXS", 256, 98, "iq3_xxs"),
    Format(19, "IQ1_S", 256, 50, "iq1_s"),
    Format(20, "IQ4_NL", 32, 18, "iq4_nl"),
    Format(21, "IQ3_S", 256, 110, "iq3_s"),
    Format(22, "IQ2_S", 256, 82, "iq2_s"),
    Format(23, "IQ4_XS", 256, 136, "iq4_xs"),
    Format(24, "I8", 1, 1),
    Format(25, "I16", 1, 2),
    Format(26, "I32", 1, 4),
    Format(27, "I64", 1, 8),
    Format(28, "F64", 1, 8),
    Format(29, "IQ1_M", 256, 56, "iq1_m"),
    Format(30, "BF16", 1, 2, "bf16"),
    Format(34, "TQ1_0", 256, 54, "tq1_0"),
    Format(35, "TQ2_0", 256, 66, "tq2_0"),
    Format(39, "MXFP4", 32, 17, "mxfp4"),
    Format(40, "NVFP4", 64, 36, "nvfp4"),
    Format(41, "Q1_0", 128, 18, "q1_0"),
    Format(42, "Q2_0", 64, 18, "q2_0"),
)

FORMATS: dict[str, Format] = {f.name: f for f in _ROWS}
BY_ID: dict[int, Format] = {f.id: f for f in _ROWS}

REMOVED: dict[int, str] = {
    4: "Q4_2 (removed in 2023): convert the original model again, to Q4_0 or Q4_K_M",
    5: "Q4_3 (removed in 2023): convert the original model again, to Q4_1 or Q4_K_M",
    31: "Q4_0_4_4 (removed in 2024): use the Q4_0 file of the same model",
    32: "Q4_0_4_8 (removed in 2024): use the Q4_0 file of the same model",
    33: "Q4_0_8_8 (removed in 2024): use the Q4_0 file of the same model",
    36: "IQ4_NL_4_4 (removed in 2024): use the IQ4_NL file of the same model",
    37: "IQ4_NL_4_8 (removed in 2024): use the IQ4_NL file of the same model",
    38: "IQ4_NL_8_8 (removed in 2024): use the IQ4_NL file of the same model",
}
"""Ids that llama.cpp withdrew: what the tensor was, and what to do."""
