"""What the samplers are asked, of llama.cpp (record_samplers.py) and of this package (test_samplers.py)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

RECORDED = Path(__file__).parent / "data" / "samplers.npz"
N = 288


def rows() -> dict[str, np.ndarray]:
    """Logits: float32 [N], of numbers that float16 holds, but for the large ones, which would have equals then."""
    rng = np.random.default_rng(20)
    made = {
        "random": rng.normal(0, 3, N),
        "peaked": np.where(np.arange(N) == 77, 14.0, rng.normal(0, 1, N)),
        "flat": rng.normal(0, 0.05, N),
        "wide": rng.normal(-5, 30, N),
        "tied": rng.integers(-3, 3, N) * 1.5,
        "equal": np.full(N, -2.0),
        "large": rng.normal(0, 2.5, 20_000),
    }
    return {name: row.astype(np.float32 if name == "large" else np.float16) for name, row in made.items()}


def save(arrays: dict[str, np.ndarray]) -> None:
    """Arrays of any types as two: a name for each, and their bytes one after the other (a member of a zip file for each
    would take more than the figures do)."""
    index = [[name, array.dtype.str, array.size] for name, array in arrays.items()]
    blob = np.frombuffer(b"".join(array.tobytes() for array in arrays.values()), np.uint8)
    RECORDED.parent.mkdir(exist_ok=True)
    np.savez_compressed(RECORDED, index=np.frombuffer(json.dumps(index).encode(), np.uint8), blob=blob)


def load() -> dict[str, np.ndarray]:
    """What `save` was given, each flat."""
    with np.load(RECORDED) as file:
        index, blob = json.loads(file["index"].tobytes()), file["blob"].tobytes()
    arrays, start = {}, 0
    for name, dtype, size in index:
        arrays[name] = np.frombuffer(blob, dtype, size, start)
        start += arrays[name].nbytes
    return arrays


SMALL = ("random", "peaked", "flat", "wide", "tied", "equal")
UNTIED = ("random", "peaked", "flat", "wide")
CALM = ("random", "peaked", "flat")
"""llama.cpp's entropy is no number where a probability is 0."""


@dataclass(frozen=True)
class Case:
    """Fields of Sampling; what is not named does nothing. `samplers` are in the order of their names here."""

    options: dict[str, Any]
    rows: Sequence[str] = SMALL
    history: tuple[int, ...] = ()
    breakers: tuple[str, ...] = ()


_TEXT = (5, 9, 3, 5, 9, 3, 3, 77, 77, 5, 0, 287, 5, 9, 3, 3)
DEFAULTS = {"top_k": 40, "top_p": 0.95, "min_p": 0.05, "temperature": 0.8}


def _each(field: str, *values: Any, rows: Sequence[str] = SMALL, **rest: Any) -> dict[str, Case]:
    return {f"{field}={value}" + "".join(f" {k}={v}" for k, v in rest.items()): Case({field: value, **rest}, rows)
            for value in values}  # fmt: skip


CASES: dict[str, Case] = {
    **_each("top_k", 1, 7, 200, 1000),
    **_each("top_p", 0.0, 0.1, 0.5, 0.95, 0.9999),
    **_each("top_p", 0.3, rows=UNTIED, min_keep=12),
    **_each("top_p", 0.6, 0.9, rows=("large",)),
    **_each("min_p", 0.01, 0.2, 1.0),
    **_each("min_p", 0.5, rows=UNTIED, min_keep=12),
    **_each("typical_p", 0.1, 0.5, 0.95, rows=CALM),
    **_each("typical_p", 0.2, rows=("random", "flat"), min_keep=12),
    **_each("typical_p", 0.3, 0.9, rows=("large",)),
    **_each("top_n_sigma", 0.5, 1.0, 2.5, rows=("random", "peaked", "flat", "wide", "tied", "large")),
    **_each("temperature", 0.0, 0.1, 0.7, 3.0, rows=("random", "peaked", "flat", "wide")),
    **_each("dynatemp_range", 0.3, 2.0, temperature=0.9, rows=SMALL),
    **_each("dynatemp_range", 0.5, temperature=0.8, dynatemp_exponent=2.5, rows=UNTIED),
    **_each("xtc_threshold", 0.0, 0.005, 0.1, 0.5, rows=UNTIED, xtc_probability=1.0),
    **_each("xtc_threshold", 0.003, rows=UNTIED, xtc_probability=1.0, min_keep=280),
    "repeat": Case({"repeat_penalty": 1.3}, UNTIED, _TEXT),
    "repeat below 1": Case({"repeat_penalty": 0.7}, UNTIED, _TEXT),
    "frequency": Case({"frequency_penalty": 0.7}, UNTIED, _TEXT),
    "presence": Case({"presence_penalty": -0.4}, UNTIED, _TEXT),
    "all penalties, a window": Case(
        {"repeat_penalty": 1.1, "frequency_penalty": 0.2, "presence_penalty": 0.3, "repeat_last_n": 6}, UNTIED, _TEXT
    ),
    "penalties of few": Case(
        {"top_k": 30, "frequency_penalty": 0.7, "samplers": ("top_k", "penalties")}, ("random", "flat"), _TEXT
    ),
    "dry": Case({"dry_multiplier": 0.8}, UNTIED, _TEXT),
    "dry, nothing allowed": Case({"dry_multiplier": 0.8, "dry_allowed_length": 0}, ("random",), _TEXT),
    "dry, one allowed": Case({"dry_multiplier": 0.5, "dry_allowed_length": 1, "dry_base": 1.2}, ("random",), _TEXT),
    "dry, a window": Case({"dry_multiplier": 2.0, "dry_penalty_last_n": 9}, ("random",), _TEXT),
    "dry, a long one": Case({"dry_multiplier": 0.1, "dry_base": 3.0}, ("random",), (7, 8, 9) * 21),
    "dry, all the same": Case({"dry_multiplier": 0.1, "dry_base": 3.0}, ("random",), (7,) * 100),
    "dry, one word": Case({"dry_multiplier": 1.0, "dry_base": 1.0}, ("random",), (7, 7)),
    "bias": Case({"logit_bias": ((0, 3.0), (77, -100.0), (287, 0.5))}, ("random", "peaked")),
    "default": Case(DEFAULTS, (*UNTIED, "large")),
    "default with all": Case(
        {
            **DEFAULTS, "repeat_penalty": 1.1, "frequency_penalty": 0.1, "presence_penalty": 0.1,
            "dry_multiplier": 0.8, "top_n_sigma": 2.0, "top_k": 10, "typical_p": 0.97, "xtc_probability": 1.0,
            "xtc_threshold": 0.2,
        },
        ("random", "flat", "large"), _TEXT,
    ),
    "temperature first": Case(
        {**DEFAULTS, "temperature": 2.0, "samplers": ("temperature", "top_p", "min_p", "top_k")}, (*UNTIED, "large")
    ),
}  # fmt: skip

BREAKERS: dict[str, Case] = {
    "defaults": Case({"dry_multiplier": 1.0}, ("flat",), breakers=("\n", ":", '"', "*")),
    "a word": Case({"dry_multiplier": 1.0, "dry_allowed_length": 1}, ("flat",), breakers=("xyz",)),
    "nested": Case({"dry_multiplier": 1.0, "dry_allowed_length": 1}, ("flat",), breakers=("abc", "b")),
    "none": Case({"dry_multiplier": 1.0, "dry_allowed_length": 1}, ("flat",)),
}
"""DRY with breakers, over TEXTS in the vocabulary of PIECES."""
PIECES = [*"abcdxyz:*", '"', "ab", "bx", "xy", "c:", "yz", "dab", "a*b", "▁", "▁a", "xyzc"]
TEXTS = (
    "dabcdabc", "ab:cdab:c", "abxyzcabxyzc", "bxyzdbxyzd", "a*bca*bc", "c:abc:ab", "abcbabcb", "dabdab", "ab\nab\nab"
)  # fmt: skip

WALKS: dict[str, dict[str, Any]] = {
    "mirostat 1": {"mirostat": 1, "mirostat_tau": 3.0, "mirostat_eta": 0.3, "temperature": 0.9},
    "mirostat 1, wide": {"mirostat": 1, "mirostat_tau": 6.5, "mirostat_eta": 0.1, "temperature": 1.0},
    "mirostat 2": {"mirostat": 2, "mirostat_tau": 3.0, "mirostat_eta": 0.3, "temperature": 0.9},
    "mirostat 2, low": {"mirostat": 2, "mirostat_tau": 0.4, "mirostat_eta": 0.5, "temperature": 1.0},
    "adaptive": {"adaptive_target": 0.3, "adaptive_decay": 0.8},
    "adaptive, far": {"adaptive_target": 0.9, "adaptive_decay": 0.5},
}
"""Samplers that learn from what they drew: a step for each row of `walk`."""


def walk() -> np.ndarray:
    """Logits of 12 steps: float32 [12, N]. None is so flat that the number that mirostat 1 keeps is no int32, which
    llama.cpp takes for 1."""
    rng = np.random.default_rng(21)
    spread = np.linspace(1.0, 5.0, 12)[:, None]
    return (rng.normal(0, 1, (12, N)) * spread).astype(np.float16).astype(np.float32)
