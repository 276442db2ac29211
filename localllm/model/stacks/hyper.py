"""Four residual streams (see kernels.hyper): a block reads a weighted sum of them, normed, and its result is spread
over them. The last layer's streams become one by weights of their own ("hyper"), or by their mean ("hyper_mean"). In
"hyper_independent" (llama.cpp's hy-v4.cpp) streams are not mixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from localllm.gate import numbers
from localllm.gguf.config import Config
from localllm.kernels import hyper
from localllm.kernels.hyper import MIXES, STREAMS
from localllm.kernels.objects import Key
from localllm.model.layer import Layer
from localllm.model.recorder import F32, Linear, Norm, Recorder, Residual
from localllm.model.spec import Spec
from localllm.model.weights import Weight, Weights
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True)
class Mixes:
    """What makes weights of the normed streams, all in one row: a product, then a factor and a summand each."""

    fn: Linear
    scale: Weight
    base: Weight


@dataclass(frozen=True)
class Hyper:
    layers: tuple[Layer, ...]
    of_attention: tuple[Mixes, ...]
    of_ffn: tuple[Mixes, ...]
    head: Mixes | None
    quarters: Weight
    """A quarter, for each stream's part of their mean."""
    norm: Norm
    """Of all streams of a row as one, without weights."""
    eps: float
    n_iter: int
    """Of Sinkhorn; 0: streams are not mixed."""
    magnitude: float = 0.0
    """Then: the most of a block's result that a stream may take."""

    def record(self, r: Recorder, x: Value, tables: Sequence[Buffer | None]) -> None:
        n = r.config.n_embd
        streams = r.floats("streams", STREAMS * n)
        r.pieces("streams", STREAMS, n, x, (n, 0), streams, (STREAMS * n, n))
        for i, layer in enumerate(self.layers):
            y, weights, to = self._open(r, f"blk.{i}.hc_attn", self.of_attention[i], streams)
            normed = r.normed(f"blk.{i}.attn_norm", y, layer.attn_norm, n)
            for mixer in layer.mixers:
                mixer.record(r, normed, to, tables[i])
            self._close(r, f"blk.{i}.hc_attn", weights, to, streams)
            if layer.ffn:
                y, weights, to = self._open(r, f"blk.{i}.hc_ffn", self.of_ffn[i], streams)
                layer.ffn.record(r, r.normed(f"blk.{i}.ffn_norm", y, layer.ffn_norm, n), to)
                self._close(r, f"blk.{i}.hc_ffn", weights, to, streams)
        self._join(r, streams, x)

    def _mixes(self, r: Recorder, name: str, mixes: Mixes, streams: Buffer) -> Buffer:
        n = STREAMS * r.config.n_embd
        normed, out = r.floats(f"{name} norm", n), r.floats(f"{name} mixes", mixes.fn.w.n)
        r.norm(f"{name}_norm", streams, self.norm, normed, n)
        r.linears(normed, [(mixes.fn, out, 0)])
        return out

    def _open(self, r: Recorder, name: str, mixes: Mixes, streams: Buffer) -> tuple[Buffer, Buffer, Residual]:
        """The weighted sum that a block reads, all weights, and where the block's result goes."""
        n = r.config.n_embd
        weights, y, result = r.floats(f"{name} weights", MIXES), r.floats(f"{name} sum", n), r.floats(name, n)
        kernel, block = ("weights", hyper.WeightsParams) if self.n_iter else ("gates", hyper.GatesParams)
        own: dict[str, Value] = {"n_iter": self.n_iter} if self.n_iter else {"magnitude": self.magnitude}
        r.plan.op(
            name, Key("hyper", kernel), block, (r.n_rows, MIXES),
            n_rows_at=r.rows_at, mixes=self._mixes(r, name, mixes, streams), scale=mixes.scale.address,
            base=mixes.base.address, eps=self.eps, out=weights, **own,
        )  # fmt: skip
        self._reduce(r, f"{name}_pre", streams, weights, MIXES * F32, y, result)
        return y, weights, Residual(result)

    def _close(self, r: Recorder, name: str, weights: Buffer, to: Residual, streams: Buffer) -> None:
        n = r.config.n_embd
        r.plan.op(
            f"{name}_post", Key("hyper", "mix"), hyper.MixParams, (r.n_rows, STREAMS, n),
            n_rows_at=r.rows_at, n=n, y=to.x, weights=weights, x=streams,
        )  # fmt: skip

    def _join(self, r: Recorder, streams: Buffer, x: Value) -> None:
        if self.head is None:
            self._reduce(r, "output_hc", streams, self.quarters.address, 0, x, 0)
            return
        weights = r.floats("output_hc weights", STREAMS)
        r.plan.op(
            "output_hc", Key("hyper", "head"), hyper.HeadParams, (r.n_rows, STREAMS),
            n_rows_at=r.rows_at, mixes=self._mixes(r, "output_hc", self.head, streams), scale=self.head.scale.address,
            base=self.head.base.address, eps=self.eps, out=weights,
        )  # fmt: skip
        self._reduce(r, "output_hc_pre", streams, weights, STREAMS * F32, x, 0)

    def _reduce(
        self, r: Recorder, name: str, streams: Buffer, weights: Value, stride: int, out: Value, zero: Value
    ) -> None:
        n = r.config.n_embd
        r.plan.op(
            name, Key("hyper", "reduce"), hyper.ReduceParams, (r.n_rows, n),
            n_rows_at=r.rows_at, n=n, x=streams, weights=weights, stride=stride, out=out, zero=zero,
        )  # fmt: skip


def read(weights: Weights, c: Config, spec: Spec, layers: tuple[Layer, ...], eps: float) -> Hyper:
    count = c.keys.integer("hyper_connection.count")
    numbers.one_of(c.keys.place("hyper_connection.count"), count, (STREAMS,))
    names, is_mixed = [f"blk.{i % c.n_block}.hc" for i in range(len(layers))], spec.stack != "hyper_independent"
    read_mixes = _read_mixes if is_mixed else _read_gates
    return Hyper(
        layers=layers,
        of_attention=tuple(read_mixes(weights, c, f"{name}_attn") for name in names),
        of_ffn=tuple(read_mixes(weights, c, f"{name}_ffn") for name in names),
        head=None if spec.stack == "hyper_mean" else _read_head(weights, c),
        quarters=weights.constant("quarters", np.full(STREAMS, 1 / STREAMS)),
        norm=Norm(None, None, eps, "rms"),
        eps=c.keys.at_least_0("hyper_connection.epsilon"),
        n_iter=c.keys.integer("hyper_connection.sinkhorn_iterations") if is_mixed else 0,
        magnitude=0.0 if is_mixed else c.keys.number("hyper_connection.magnitude"),
    )


def _read_mixes(weights: Weights, c: Config, name: str) -> Mixes:
    factors = np.repeat(weights.values(f"{name}_scale.weight", 3), (STREAMS, STREAMS, STREAMS * STREAMS))
    return Mixes(
        Linear(weights.matrix(f"{name}_fn.weight", STREAMS * c.n_embd, MIXES)),
        weights.constant(f"{name}_scale by lanes", factors),
        weights.vector(f"{name}_base.weight", MIXES),
    )


def _read_gates(weights: Weights, c: Config, name: str) -> Mixes:
    """The kernel reads whole vectors of factors and summands."""
    factors = np.repeat(weights.values(f"{name}_scale.weight", 2), (STREAMS, 16 - STREAMS))
    base = np.resize(weights.values(f"{name}_base.weight", 2 * STREAMS), 16)
    return Mixes(
        Linear(weights.matrix(f"{name}_fn.weight", STREAMS * c.n_embd, 2 * STREAMS)),
        weights.constant(f"{name}_scale by lanes", factors), weights.constant(f"{name}_base by lanes", base),
    )  # fmt: skip


def _read_head(weights: Weights, c: Config) -> Mixes:
    """The kernel reads whole vectors of factors and summands."""
    factor, base = weights.values("output_hc_scale.weight", 1), weights.values("output_hc_base.weight", STREAMS)
    return Mixes(
        Linear(weights.matrix("output_hc_fn.weight", STREAMS * c.n_embd, STREAMS)),
        weights.constant("output_hc_scale by lanes", np.repeat(factor, 16)),
        weights.constant("output_hc_base by lanes", np.resize(base, 16)),
    )
