"""Rows of ten matrices of real models, where these are present: dequantized, and moved off the grid of their format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from localllm.gguf.reader import open_gguf
from tests import reference

MODELS = Path.home() / ".cache/localllm-test-models"
MATRICES = {
    "smollm2-135m-instruct-q4_1.gguf": (
        "token_embd", "blk.3.attn_q", "blk.10.ffn_down", "blk.20.ffn_up", "blk.29.attn_output",
    ),
    "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf": (
        "token_embd", "blk.2.attn_v", "blk.5.ffn_down", "blk.12.ffn_gate", "blk.20.attn_q",
    ),
}  # fmt: skip
N_ROWS, K = 24, 512


def present() -> bool:
    return all((MODELS / name).is_file() for name in MATRICES)


def cases() -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    """Name, x float32 [N_ROWS, K], importance."""
    for number, (file, name) in enumerate((f, n) for f, names in MATRICES.items() for n in names):
        rng = np.random.default_rng(number)
        with open_gguf(MODELS / file) as gguf:
            info = gguf.tensors[f"{name}.weight"]
            n_bytes = info.format.row_bytes(info.shape[0])
            raw = np.frombuffer(gguf.map(), np.uint8, N_ROWS * n_bytes, info.offset).reshape(N_ROWS, n_bytes).copy()
        x = reference.dequantize(info.format.name, raw)[:, :K].astype(np.float32)
        x = x + np.float32(0.12 * np.abs(x).mean()) * rng.standard_normal(x.shape).astype(np.float32)
        title = f"{file.partition('-')[0]} {name}"
        yield title, x, None
        yield f"{title} weighted", x, np.exp(1.2 * rng.standard_normal(K)).astype(np.float32)
