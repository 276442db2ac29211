"""Files whose last tensor ends with them, at the end of a page, in front of a page that nobody may touch."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np

from localllm.kernels.formats.table import FORMATS
from localllm.model.model import LoadedModel
from tests.gguf import build
from tests.kernels import blocks, guarded, guarded_models, harness

N_VOCAB, N_EMBD, N_FF, N_HEAD = 96, 256, 512, 4
SIZES = (1, 3, 8, 9, 17)
"""Rows of which all logits are wanted: each way in which the last matrix is multiplied."""


def content(fmt: str, tied: bool) -> bytes:
    """A Llama of one layer with matrices of this format; the last tensor is the output matrix, or the embedding."""
    matrices = {
        "blk.0.attn_q.weight": N_EMBD, "blk.0.attn_k.weight": N_EMBD, "blk.0.attn_v.weight": N_EMBD,
        "blk.0.attn_output.weight": N_EMBD, "blk.0.ffn_gate.weight": N_FF, "blk.0.ffn_up.weight": N_FF,
    }  # fmt: skip
    last = {"token_embd.weight": N_VOCAB} | ({} if tied else {"output.weight": N_VOCAB})
    shapes = {name: (N_EMBD, n) for name, n in matrices.items()} | {"blk.0.ffn_down.weight": (N_FF, N_EMBD)}
    shapes |= {name: (N_EMBD, n) for name, n in last.items()}
    rng, data, tensors = np.random.default_rng(1), b"", []
    for name in ("output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"):
        tensors.append(build.tensor(name, (N_EMBD,), FORMATS["F32"].id, len(data)))
        data += np.ones(N_EMBD, np.float32).tobytes()
    for name, (k, n) in shapes.items():
        tensors.append(build.tensor(name, (k, n), FORMATS[fmt].id, len(data)))
        data += blocks.weights(fmt, n, k, rng).tobytes()
        assert len(data) % 32 == 0, f"{fmt}: {name} is not whole 32 bytes"
    numbers = {
        "context_length": 64, "embedding_length": N_EMBD, "block_count": 1, "feed_forward_length": N_FF,
        "attention.head_count": N_HEAD, "rope.dimension_count": N_EMBD // N_HEAD, "vocab_size": N_VOCAB,
    }  # fmt: skip
    keys = [
        build.kv("general.architecture", build.STR, "llama"),
        build.kv("tokenizer.ggml.model", build.STR, "no_vocab"),
    ]
    keys += [build.kv(f"llama.{key}", build.U32, value) for key, value in numbers.items()]
    keys += [build.kv("llama.attention.layer_norm_rms_epsilon", build.F32, 1e-5)]
    whole = build.gguf([*keys, build.kv("pad", build.STR, "")], tensors, data)
    return build.gguf([*keys, build.kv("pad", build.STR, " " * (-len(whole) % guarded.PAGE))], tensors, data)


def run_one(areas: guarded.Memory, path: Path, fmt: str, tied: bool) -> int:
    """Feed a model of such a file; batches."""
    path.unlink(missing_ok=True)
    path.write_bytes(content(fmt, tied))
    assert os.stat(path).st_size % guarded.PAGE == 0
    with guarded_models.mapping_to_the_end(areas), LoadedModel.load(path, n_ctx=64, n_threads=1) as model:
        context = model.context()
        for n in SIZES:
            areas.operation = f"{fmt}, {'embedding' if tied else 'output'} last, {n} rows"
            logits = context.forward([N_VOCAB - 1] * n, want_logits=[True] * n)
            areas.check()
            assert np.isfinite(logits).all(), areas.operation
    return len(SIZES)


def run_all(areas: guarded.Memory, folder: Path, every: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    for fmt in [f.name for f in harness.SUPPORTED][::every]:
        for tied in (False, True):
            counts["batches"] += run_one(areas, folder / "m.gguf", fmt, tied)
            counts["files"] += 1
        counts["formats"] += 1
    return counts
