"""Where the time of a forward pass goes: each kind of operation's time, bytes that it reads, GB/s and GMAC/s.

The team's first thread counts cycles from barrier to barrier; their sum is laid over the wall time of the passes. The
operations of one stage run at the same time and share a row. What is read are weights, and the cells of the cache that
attention reads, each counted once a pass.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from localllm.kernels.cells import cell_bytes
from localllm.kernels.variants import chosen

if TYPE_CHECKING:
    from localllm.generate.session import Model
    from localllm.runtime.plan import Operation

_FIRST_TOKEN = 100
_MATRICES = {
    ("matvec", "rows"): "", ("matvec_fours", "rows"): "", ("matmul", "tiles"): "",
    ("experts", "rows"): "n_used", ("heads", "rows"): "n_head",
    ("heads", "tiles"): "n_head",
}  # fmt: skip
"""Products, and the field that says of how many matrices."""
_OVER_CELLS = {("attention", "cells"), ("latent_attention", "cells")}


@dataclass(frozen=True)
class Row:
    """One kind of stage, per forward pass."""

    kind: str
    n: int
    seconds: float
    share: float
    n_bytes: int
    """Bytes of weights, or of the cache, that it reads."""
    n_macs: int

    @property
    def gb_s(self) -> float:
        """Gigabytes read a second."""
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


def profile(model: Model, n_rows: int, repetitions: int, n_depth: int = 0) -> list[Row]:
    """Rows, the slowest first, of passes of n_rows tokens each (1: decoding) after n_depth tokens of context."""
    # All cells are kept, so that the context can be cut back after each pass.
    context = model.context(n_ctx=max(256, n_depth + 2 * n_rows), swa_full=True)
    try:
        model.team.of(n_rows).time_operations()
        tokens = [(_FIRST_TOKEN + i) % model.config.n_vocab for i in range(n_rows)]
        for start in range(0, n_depth, context.n_batch):
            context.forward([_FIRST_TOKEN % model.config.n_vocab] * min(context.n_batch, n_depth - start))
        context.forward(tokens)
        for plan in context.plans.values():
            plan.cycles()[:] = 0
        begun = time.perf_counter()
        for _ in range(repetitions):
            context.cut(0, n_depth)
            context.forward(tokens)
        seconds = (time.perf_counter() - begun) / repetitions
        # The head is computed for the last token alone. Plans that filled the context have no cycles.
        stages = [
            (n_rows if part == "body" else 1, *stage)
            for (part, _), plan in context.plans.items()
            if plan.cycles().any()
            for stage in _stages(plan.operations, plan.cycles().tolist())
        ]
    finally:
        context.close()
    whole = sum(cycles for _, _, cycles in stages) or 1
    rows: dict[str, Row] = {}
    for n_tokens, operations, cycles in stages:
        kind = " + ".join(sorted({str(chosen(o.key)) for o in operations}))
        old = rows.get(kind, Row(kind, 0, 0.0, 0.0, 0, 0))
        share = cycles / whole
        rows[kind] = Row(
            kind, old.n + 1, old.seconds + share * seconds, old.share + share,
            old.n_bytes + sum(weights_work(o)[0] + cells_work(o, n_rows, n_depth)[0] for o in operations),
            old.n_macs + sum(n_tokens * weights_work(o)[1] + cells_work(o, n_rows, n_depth)[1] for o in operations),
        )  # fmt: skip
    return sorted(rows.values(), key=lambda row: -row.seconds)


def _stages(operations: list[Operation], cycles: list[int]) -> Iterator[tuple[list[Operation], int]]:
    """The operations of each stage, and its cycles: counted at its end."""
    numbers = sorted({o.stage for o in operations})
    for number in numbers:
        inside = [i for i, o in enumerate(operations) if o.stage == number]
        yield [operations[i] for i in inside], sum(cycles[i] for i in inside)


def weights_work(operation: Operation) -> tuple[int, int]:
    """Bytes and elements of the matrices that a product reads whole, of a token's experts those that it uses; none for
    other operations, and none for a batch's experts, since nobody knows beforehand which it will use."""
    values, key = operation.values, operation.key
    matrices = _MATRICES.get((key.module, key.factory))
    if matrices is None:
        return 0, 0
    n, k, row_bytes = (int(values[name]) for name in ("n", "k", "row_bytes"))  # type: ignore[arg-type]
    used = int(values.get(matrices, 1))  # type: ignore[arg-type]
    return used * n * row_bytes, used * n * k


def cells_work(operation: Operation, n_rows: int, n_depth: int) -> tuple[int, int]:
    """Bytes of the cache that attention reads, and its products."""
    if (operation.key.module, operation.key.factory) not in _OVER_CELLS:
        return 0, 0
    # Latents are keys with the elements with RoPE, and values without them.
    value = {name: int(v) for name, v in operation.values.items() if isinstance(v, (int, float))}
    window, top_k = value["window"], value.get("top_k", 0)
    seen = [
        position % -window + 1 if window < 0 else min(position + 1, window or top_k or position + 1)
        for position in range(n_depth, n_depth + n_rows)
    ]
    kv_type, n_cells = str(operation.key.arguments[0]), min(n_depth + n_rows, seen[0] + n_rows - 1)
    if "k_dim" in value:
        n_bytes = value["n_head_kv"] * sum(cell_bytes(kv_type, value[name]) for name in ("k_dim", "v_dim"))
        n_macs = value["k_dim"] + value["v_dim"]
    else:
        n_bytes, n_macs = cell_bytes(kv_type, value["dim"] + value["n_rot"]), 2 * value["dim"] + value["n_rot"]
    return n_cells * n_bytes, value["n_head"] * sum(seen) * n_macs


def markdown(rows: list[Row]) -> Iterator[str]:
    yield "| operation | times | ms | share | GB/s | GMAC/s |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for row in rows:
        speeds = f"{row.gb_s:.1f} | {row.gmac_s:.1f}"
        yield f"| {row.kind} | {row.n} | {row.seconds * 1e3:.3f} | {row.share:.1%} | {speeds} |"
