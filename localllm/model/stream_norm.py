"""RMSNorm of several streams that follow each other in a row, each with weights of its own."""

from __future__ import annotations

from dataclasses import dataclass

from localllm.model.recorder import F32, Norm, Recorder
from localllm.model.weights import Weights
from localllm.runtime.plan import Buffer, Place, Value


@dataclass(frozen=True)
class StreamNorm:
    norms: tuple[Norm, ...]
    n: int

    def record(self, r: Recorder, name: str, x: Value, out: Value) -> None:
        """x, out: f32 [n_rows][streams][n]; out may be x."""
        with r.plan.stage():
            for c, norm in enumerate(self.norms):
                at = c * self.n * F32
                r.norm(name, _place(x, at), norm, _place(out, at), self.n, stride=self.n * len(self.norms))


def _place(x: Value, at: int) -> Value:
    if isinstance(x, Buffer):
        return Place(x, at)
    return Place(x.buffer, x.offset + at) if isinstance(x, Place) else x + at


def read_stream_norm(weights: Weights, name: str, n: int, count: int, eps: float) -> StreamNorm:
    """Weights [count][n], which may stand in one row."""
    shape = (n * count,) if len(weights.shape(name)) == 1 else (n, count)
    w = weights.vector(name, *shape)
    return StreamNorm(tuple(Norm(w.part(c * n, n), None, eps, "rms") for c in range(count)), n)
