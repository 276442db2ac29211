"""Speed of each tensor format's two products beside the machine's limits, on random weights.

Decoding reads a matrix larger than the caches once (GB/s of weights); a prompt of 512 tokens multiplies a small one
by all of them (GMAC/s). The limits are plain loops: kernels/limits.py. Each number is the best of a few runs: other
work on the machine only ever makes them slower.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from localllm.kernels import formats, limits, matmul, matvec, quantize
from localllm.kernels.formats.table import FORMATS, Format
from localllm.kernels.objects import Key
from localllm.kernels.simd.targets import current
from localllm.model.recorder import chunk
from localllm.model.weights import Weight
from localllm.runtime.arrays import aligned
from localllm.runtime.plan import Bound, Plan
from localllm.runtime.processors import default_threads
from localllm.runtime.team import Team
from localllm.tools import blocks

_K = 4096
_N_TOKENS = 512
_N_ROWS = 512
"""Of the matrix that a prompt multiplies."""
_GROUPS = {"block32": 32, "super": 256}
_RUNS = 5
MATMUL_MACS = _N_ROWS * _N_TOKENS * _K
"""Of a product of a prompt, in memory that holds so many rows."""


@dataclass(frozen=True)
class Speed:
    """One format, or with an empty name the limits."""

    format: str
    bits_per_weight: float
    decode_gb_s: float
    decode_gmac_s: float
    prompt_gmac_s: float

    def fields(self) -> dict[str, Any]:
        return asdict(self)


class Bench:
    """The memory and the threads that all measurements share. `megabytes` of weights are read a run of decoding."""

    def __init__(self, n_threads: int | None = None, megabytes: int = 256, runs: int = _RUNS) -> None:
        self.n_threads = n_threads or default_threads()
        self.target = current().name
        self._team = Team(self.n_threads)
        self._runs = runs
        self._size = megabytes << 20
        chance = np.random.default_rng(1)
        self._memory = aligned(self._size)
        self._memory[:] = 1
        self._cancel = np.zeros(1, np.int64)
        self._arrays: list[np.ndarray] = []
        """What the plans of a format read and write."""
        self._x = chance.standard_normal((_N_TOKENS, _K)).astype(np.float32)

    def limits(self) -> Speed:
        """What plain loops reach."""
        read, dots = Plan("read"), Plan("dots")
        read.op("read", Key("limits", "read"), limits.ReadParams, (), x=self._memory.ctypes.data, n=self._size)
        units = 64 * self.n_threads
        dots.op("dots", Key("limits", "dots"), limits.DotsParams, (), n=units)
        products = units * limits.macs() / self._best(dots) / 1e9
        return Speed("", 0.0, self._size / self._best(read) / 1e9, products, products)

    def speed(self, fmt: Format) -> Speed:
        """Both products of one format."""
        row_bytes, n = fmt.row_bytes(_K), self.rows(fmt)
        self.fill(fmt)
        decode = self._best(self.matvec(fmt))
        prompt = self._best(self.matmul(fmt))
        macs = self.rows(fmt, many=True) * _N_TOKENS * _K
        reads, products = n * row_bytes / decode / 1e9, n * _K / decode / 1e9
        return Speed(fmt.name, fmt.bits_per_weight, reads, products, macs / prompt / 1e9)

    def fill(self, fmt: Format) -> None:
        """The memory holds rows of the format as models have them: a few, again and again. Older plans are over."""
        self._arrays.clear()
        rows = blocks.weights(fmt.name, 256, _K, np.random.default_rng(1)).reshape(-1)
        for at in range(0, self._size, rows.size):
            self._memory[at : at + rows.size] = rows[: self._size - at]

    def rows(self, fmt: Format, many: bool = False) -> int:
        """Rows of the matrix that decoding reads, or that a prompt multiplies (many)."""
        n = self._size // fmt.row_bytes(_K)
        return min(n, _N_ROWS) if many else n

    def matvec(self, fmt: Format, key: Key | None = None) -> Plan:
        """The product of decoding; key: a variant of its kernel."""
        values, w, _ = self._values(fmt, self.rows(fmt), 1)
        plan = Plan(f"{fmt.name} matvec")
        plan.op(
            "matvec", key or Key("matvec", "rows", (fmt.module,)), matvec.Params, (),
            **values, x_row=0, d_row=0, s_row=0, chunk=chunk(w),
        )  # fmt: skip
        return plan

    def matmul(self, fmt: Format, key: Key | None = None) -> Plan:
        """The product of a prompt; key: a variant of its kernel."""
        values, _, x_p = self._values(fmt, self.rows(fmt, many=True), _N_TOKENS)
        plan = Plan(f"{fmt.name} matmul")
        plan.op("matmul", key or Key("matmul", "tiles", (fmt.module,)), matmul.Params, (), **values, x_p=x_p)
        return plan

    def _values(self, fmt: Format, n: int, n_tokens: int) -> tuple[dict[str, int], Weight, int]:
        """The parameters that both products share, the weights, and the sums in pairs; activations are made ready."""
        kind = formats.module(fmt.module).KIND
        counts = aligned(8).view(np.int64)
        counts[0] = n_tokens
        self._arrays.append(counts)
        at, row = int(counts.ctypes.data), fmt.row_bytes(_K)
        kept: dict[str, int] = {"x": int(self._x.ctypes.data), "x_d": 0, "x_s": 0, "x_p": 0}
        if kind != "float":
            arrays = [aligned(size) for size in (n_tokens * _K + 256, n_tokens * _K, n_tokens * _K, n_tokens * _K)]
            self._arrays += arrays
            kept = dict(zip(kept, (int(a.ctypes.data) for a in arrays), strict=True))
            ready = Plan("quantize")
            key = Key("quantize", "tiles" if n_tokens > 1 else "rows", (_GROUPS[kind],))
            ready.op(
                "quantize", key, quantize.Params, (), n_rows_at=at, k=_K, x=int(self._x.ctypes.data), stride=4 * _K,
                q=kept["x"], d=kept["x_d"], s=kept["x_s"], p=kept["x_p"], middles=0,
            )  # fmt: skip
            self.run(ready.bind(0))
        out = aligned(4 * n * n_tokens + 256)
        self._arrays.append(out)
        w = Weight("weights", fmt, _K, n, row, int(self._memory.ctypes.data))
        values = {
            "w": w.address, "row_bytes": row, "n": n, "k": _K, "x": kept["x"], "x_d": kept["x_d"],
            "x_s": kept["x_s"], "bias": 0, "add": 0, "out": int(out.ctypes.data), "step": 0, "n_rows_at": at,
            "stride": 4 * n,
        }  # fmt: skip
        return values, w, kept["x_p"]

    def run(self, bound: Bound) -> None:
        self._team.run(bound, self._cancel)

    def _best(self, plan: Plan) -> float:
        """Seconds of the fastest run, after one to warm up."""
        bound, seconds = plan.bind(0), []
        for _ in range(self._runs + 1):
            start = time.perf_counter()
            self.run(bound)
            seconds.append(time.perf_counter() - start)
        return min(seconds[1:])

    def close(self) -> None:
        self._team.close()


def run(n_threads: int | None = None, megabytes: int = 256, runs: int = _RUNS) -> Iterator[Speed]:
    """The limits first, then every supported format, each as soon as it is known."""
    bench = Bench(n_threads, megabytes, runs)
    try:
        yield bench.limits()
        for fmt in FORMATS.values():
            if fmt.supported:
                yield bench.speed(fmt)
    finally:
        bench.close()


def markdown(speeds: Iterator[Speed], n_threads: int) -> Iterator[str]:
    """A table; percentages are of the limits."""
    top = next(speeds)
    reads, products = f"{top.decode_gb_s:.1f} GB/s", f"{top.prompt_gmac_s:.0f} GMAC/s"
    yield f"{current().name}, {n_threads} threads: reads {reads}, products {products}"
    yield ""
    yield "| format | bits a weight | decode GB/s | of reading | decode GMAC/s | prompt GMAC/s | of products |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for s in speeds:
        cells = (
            s.format, f"{s.bits_per_weight:.4g}", f"{s.decode_gb_s:.1f}", f"{s.decode_gb_s / top.decode_gb_s:.0%}",
            f"{s.decode_gmac_s:.0f}", f"{s.prompt_gmac_s:.0f}", f"{s.prompt_gmac_s / top.prompt_gmac_s:.0%}",
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"
