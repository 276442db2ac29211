"""Numbers that are not finite: found in what a pass leaves, and traced to the operation and the tensor they came from.

No kernel hides such a number (`localllm.kernels.math`, `quantize`, `attention`): what is NaN or infinite anywhere in a
row is so in its hidden state and its logits, too, which are looked at after each pass. Only then is the batch computed
once more, a stage at a time, to find where it began.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from localllm.model.outputs import Outputs
from localllm.runtime.plan import Operation

_BLOCK = re.compile(r"blk\.(\d+)\.")
FETCH = "fetch the file again, or compare its SHA-256"


def is_finite(x: np.ndarray) -> bool:
    """Of float32 of any shape. NaN spreads to both the greatest and the least."""
    return not x.size or bool(np.isfinite(x.max()) and np.isfinite(x.min()))


def wrong_rows(x: np.ndarray) -> np.ndarray:
    """Numbers of the rows of x, [n_rows, ...], that hold a number that is not finite."""
    return np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1))


def wrong_sequences(
    ids: Sequence[int], hidden: np.ndarray, out_rows: np.ndarray, logits: np.ndarray | None, kept: np.ndarray
) -> tuple[int, ...]:
    """Sequences with rows that are not finite. ids: of each row; hidden: its state; out_rows: numbers of the rows that
    have logits; kept: 0 a row, or NaN (see `kernels.kept`). A row's logits show what its hidden state does."""
    rows: list[int] = np.flatnonzero(kept).tolist() if kept.any() else []
    if (logits is None or len(out_rows) < len(ids)) and not is_finite(hidden[: len(ids)]):
        rows += wrong_rows(hidden[: len(ids)]).tolist()
    if logits is not None and not is_finite(logits):
        rows += out_rows[wrong_rows(logits)].tolist()
    return tuple(sorted({ids[row] for row in rows}))


@dataclass(frozen=True)
class Finding:
    """Where a batch first has numbers that are not finite. row: of the batch."""

    operation: Operation
    layer: int
    """-1: none."""
    row: int
    n_wrong: int
    """Of its n results."""
    n: int
    kind: str
    """"NaN", "infinite", "NaN or infinite"."""

    @property
    def place(self) -> str:
        name = self.operation.name.removesuffix(".weight")
        return f"layer {self.layer}, {name}" if self.layer >= 0 else name


@dataclass(frozen=True)
class Stage:
    """Operations that were just run, of `n_rows` rows; rows: their numbers in the batch."""

    operations: Sequence[Operation]
    layer: int
    rows: Sequence[int]


def search(stages: Iterator[Stage], logits: np.ndarray | None) -> Finding | None:
    """The first operation whose results are not finite; each stage must have run when it is taken."""
    outputs = Outputs(logits)
    for stage in stages:
        for operation in stage.operations:
            x = outputs.of(operation, len(stage.rows))
            if x is not None and not is_finite(x):
                return _finding(operation, stage, x)
    return None


def _finding(operation: Operation, stage: Stage, x: np.ndarray) -> Finding:
    i = int(wrong_rows(x)[0])
    row = x[i].ravel()
    is_nan, n_wrong = np.isnan(row), int(np.count_nonzero(~np.isfinite(row)))
    kind = "NaN" if is_nan.sum() == n_wrong else "NaN or infinite" if is_nan.any() else "infinite"
    return Finding(operation, stage.layer, stage.rows[i], n_wrong, row.size, kind)


def layers_of(operations: Sequence[Operation]) -> list[int]:
    """The layer of each operation: that of its name, or of the nearest before it that has one; -1 before all."""
    layers, layer = [], -1
    for o in operations:
        found = _BLOCK.match(o.name)
        layer = int(found[1]) if found else -1 if o.name.startswith("output") else layer
        layers.append(layer)
    return layers


def explain(path: str, finding: Finding | None, positions: np.ndarray, damage: str) -> str:
    """The error's line. positions: of the batch's rows in their sequences; damage: what is wrong with the tensors that
    the operation reads, or ""."""
    if finding is None:
        return (
            f"{path}: results were NaN or infinite, and are not when the same batch is computed again: the file, or "
            "the memory, changed while it was read: load the model again"
        )
    what = f"{finding.n_wrong} of {finding.n} results are {finding.kind}"
    text = f"{path}: {finding.place}: {what}; first at token position {positions[finding.row]}"
    if damage:
        return f"{text}; {damage}: {FETCH}"
    return (
        f"{text}; what it reads is finite: the numbers outgrow 32-bit floats (or keys and values the cache's: try "
        "--kv-type f32): fetch the file again, or try another file of this model"
    )
