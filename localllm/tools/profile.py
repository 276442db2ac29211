"""Where the time of a forward pass goes: each kind of operation's time, bytes of weights, GB/s and GMAC/s.

The team's first thread counts cycles from barrier to barrier; their sum is laid over the wall time of the passes. The
operations of one stage run at the same time and share a row.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localllm.generate.session import Model
    from localllm.runtime.plan import Operation

_FIRST_TOKEN = 100


@dataclass(frozen=True)
class Row:
    """One kind of stage, per forward pass."""

    kind: str
    n: int
    seconds: float
    share: float
    n_bytes: int
    """Bytes of weights that it reads."""
    n_macs: int

    @property
    def gb_s(self) -> float:
        """Gigabytes of weights a second."""
        return self.n_bytes / self.seconds / 1e9 if self.seconds else 0.0

    @property
    def gmac_s(self) -> float:
        """Multiplications with addition, in thousand millions a second."""
        return self.n_macs / self.seconds / 1e9 if self.seconds else 0.0

    def fields(self) -> dict[str, str | int | float]:
        return {
            "kind": self.kind,
            "n": self.n,
            "ms": self.seconds * 1e3,
            "share": self.share,
            "gb_s": self.gb_s,
            "gmac_s": self.gmac_s,
        }


def profile(model: Model, n_rows: int, repetitions: int) -> list[Row]:
    """Rows, the slowest first, of passes of n_rows tokens each (1: decoding) from an empty context."""
    context = model.context(n_ctx=max(256, 2 * n_rows))
    try:
        model.team.time_operations()
        tokens = [(_FIRST_TOKEN + i) % model.config.n_vocab for i in range(n_rows)]
        context.forward(tokens)
        for plan in context.plans.values():
            plan.cycles()[:] = 0
        start = time.perf_counter()
        for _ in range(repetitions):
            context.clear()
            context.forward(tokens)
        seconds = (time.perf_counter() - start) / repetitions
        # The head is computed for the last token alone.
        stages = [
            (n_rows if part == "body" else 1, *stage)
            for (part, _), plan in context.plans.items()
            for stage in _stages(plan.operations, plan.cycles().tolist())
        ]
    finally:
        context.close()
    whole = sum(cycles for _, _, cycles in stages) or 1
    rows: dict[str, Row] = {}
    for n_tokens, operations, cycles in stages:
        kind = " + ".join(sorted({str(o.key) for o in operations}))
        old = rows.get(kind, Row(kind, 0, 0.0, 0.0, 0, 0))
        share = cycles / whole
        rows[kind] = Row(
            kind, old.n + 1, old.seconds + share * seconds, old.share + share,
            old.n_bytes + sum(_weights(o)[0] for o in operations),
            old.n_macs + n_tokens * sum(_weights(o)[1] for o in operations),
        )  # fmt: skip
    return sorted(rows.values(), key=lambda row: -row.seconds)


def _stages(operations: list[Operation], cycles: list[int]) -> Iterator[tuple[list[Operation], int]]:
    """The operations of each stage, and its cycles: counted at its end."""
    numbers = sorted({o.stage for o in operations})
    for number in numbers:
        inside = [i for i, o in enumerate(operations) if o.stage == number]
        yield [operations[i] for i in inside], sum(cycles[i] for i in inside)


def _weights(operation: Operation) -> tuple[int, int]:
    """Bytes and elements of the matrix that a product reads whole; none for other operations."""
    values = operation.values
    if operation.key.module not in ("matvec", "matmul"):
        return 0, 0
    n, k, row_bytes = (int(values[name]) for name in ("n", "k", "row_bytes"))  # type: ignore[arg-type]
    return n * row_bytes, n * k


def markdown(rows: list[Row]) -> Iterator[str]:
    yield "| operation | times | ms | share | GB/s | GMAC/s |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for row in rows:
        speeds = f"{row.gb_s:.1f} | {row.gmac_s:.1f}"
        yield f"| {row.kind} | {row.n} | {row.seconds * 1e3:.3f} | {row.share:.1%} | {speeds} |"
