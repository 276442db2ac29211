"""Tiny models whose logits were recorded from llama.cpp: what is in them, and how they are written.

A file of cases/ has CASES, a Case for each name. `record.py` writes logits/NAME.npy for it. Weights come from the bits
of PCG64, seeded by the tensor's name: the same on every platform and for every NumPy.
"""

from __future__ import annotations

import importlib
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np

HERE = Path(__file__).parent
N_VOCAB, N_CTX = 96, 512
N_IDS = 40


def ids_of(n: int) -> list[int]:
    """The first n tokens of what is fed to each model."""
    return [int(i) for i in np.random.PCG64(7).random_raw(n) % N_VOCAB]


IDS = ids_of(N_IDS)


@dataclass(frozen=True)
class Case:
    """A model. kv: metadata without the architecture's prefix ("general.", "tokenizer." and "xielu." keys in full); a
    float is a FLOAT32, an int a UINT32 (a list of them INT32, an array UINT64), None leaves the key out. tensors:
    shapes in GGML's order, the contiguous first."""

    architecture: str
    kv: dict[str, Any]
    tensors: dict[str, list[int]]
    n_ids: int = N_IDS
    """What is fed: more where a mechanism needs them to bind; logits of the last N_IDS at most are recorded."""
    scales: dict[str, float] = field(default_factory=dict)
    """Factors for tensors whose names contain a text, where the usual size makes a poor model."""
    values: dict[str, Any] = field(default_factory=dict)
    """Tensors that are not random: lists of numbers, or arrays."""
    poolings: tuple[str, ...] = ()
    """An encoder, or a decoder used as one: each token's hidden state is recorded in place of logits, and what these
    make of them."""
    flash_attention: bool = False
    """llama.cpp is recorded with it: sparse attention that it leaves out otherwise."""
    first_logit: int = 0
    """The first token of the vocabulary whose logit is recorded."""
    positions: tuple[int, ...] = ()
    """Those whose logits are recorded; otherwise the last N_IDS."""

    def recorded(self, logits: np.ndarray) -> np.ndarray:
        """The rows that are recorded, of those of all ids."""
        return logits[list(self.positions)] if self.positions else logits[-N_IDS:]


@cache
def cases() -> dict[str, Case]:
    """All cases by name."""
    found: dict[str, Case] = {}
    for path in sorted((HERE / "cases").glob("*.py")):
        found |= importlib.import_module(f"tests.recorded.cases.{path.stem}").CASES
    return found


def logits_path(name: str, pooling: str = "") -> Path:
    return HERE / "logits" / (f"{name}.{pooling}.npy" if pooling else f"{name}.npy")


def recorded(name: str, pooling: str = "") -> np.ndarray:
    """What llama.cpp computed: logits, hidden states or what a pooling makes of them."""
    path = logits_path(name, pooling)
    assert path.exists(), f"no logits of {name}: python -m tests.recorded.record {name}"
    found: np.ndarray = np.load(path)
    return found


def evaluate(case, context, ids, positions=None, seq_ids=None) -> np.ndarray:
    """What is recorded of a case, for a batch: logits of all rows, or hidden states."""
    if case.poolings:
        rows = context.embed(ids, positions, seq_ids)
        return context.project("dense", rows) if context.model.network.pooling.dense else rows
    return context.forward(ids, positions, seq_ids, [True] * len(ids))[:, case.first_logit :]


def outputs(case, model, ids) -> np.ndarray:
    """The same for a text alone."""
    return model.hidden_states(ids) if case.poolings else model.logits(ids)[:, case.first_logit :]


def tensor(name: str, shape: list[int], scales: dict[str, float] | None = None) -> np.ndarray:
    """Random weights of a size that suits their role, float32 (int32 for a table), rows first."""
    raw = np.random.PCG64(zlib.crc32(name.encode())).random_raw(math.prod(shape))
    u = ((raw >> np.uint64(40)).astype(np.float64) / (1 << 23) - 1.0).astype(np.float32)
    if "tid2eid" in name:  # a table of experts, of which there are 4 or more
        return (raw % 4).astype(np.int32).reshape(shape[::-1])
    if "norm" in name and name.endswith("weight"):
        x = 1 + np.float32(0.2) * u
    elif "ssm_a" in name:  # decays are negative
        x = -np.abs(u) - np.float32(0.05)
    elif name.startswith("rope_freqs") or "rope_factors" in name:
        x = np.float32(1.5) + np.float32(0.5) * u
    elif name.endswith(".bias") or "ssm_dt" in name or "sinks" in name:
        x = np.float32(0.2) * u
    elif name.startswith("token_embd"):
        x = u
    else:
        x = u * np.float32(1.5 / np.sqrt(shape[0]))
    factor = math.prod(f for part, f in (scales or {}).items() if part in name)
    return (x * np.float32(factor)).astype(np.float32).reshape(shape[::-1])


Quantize = Callable[[str, np.ndarray], tuple[np.ndarray, gguf.GGMLQuantizationType] | None]
"""(name, float32 tensor) -> its bytes and their format, or None to leave it in F32."""


def write(path: Path, case: Case, quantize: Quantize = lambda name, x: None, **more: Any) -> Path:
    """Write the model. more: further metadata."""
    writer = gguf.GGUFWriter(str(path), case.architecture)
    kv = {"vocab_size": N_VOCAB, "context_length": 256, "tokenizer.ggml.model": "no_vocab"} | case.kv
    kv |= more
    for key, value in kv.items():
        full = key if key.startswith(("general.", "tokenizer.", "xielu.")) else f"{case.architecture}.{key}"
        if value is None:
            continue
        if isinstance(value, np.ndarray):
            array = gguf.GGUFValueType.ARRAY
            writer.add_key_value(full, value.tolist(), array, sub_type=gguf.GGUFValueType.UINT64)
        elif isinstance(value, list):
            writer.add_array(full, value)
        else:
            kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
            kinds[type(value)](full, value)
    for name, shape in case.tensors.items():
        x = np.array(case.values[name], np.float32) if name in case.values else tensor(name, shape, case.scales)
        if made := quantize(name, x):
            writer.add_tensor(name, made[0], raw_dtype=made[1])
        else:
            writer.add_tensor(name, x)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
