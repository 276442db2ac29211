"""Several residual streams whose elements have gates (Qwen 3.8 Flash Next; llama.cpp's qwen4exp.cpp); see
kernels/gated_streams.py. Gates come from the normed streams of a row by a pair of thin matrices. Norms of blocks are
those of the streams; the last mean takes the place of the output's norm.

A layer's blocks before the last read and write the streams themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localllm.gguf.config import Config
from localllm.kernels import gated_streams
from localllm.kernels.objects import Key
from localllm.model.feed_forward import plain
from localllm.model.layer import Layer
from localllm.model.recorder import Linear, Recorder, Residual
from localllm.model.spec import Spec
from localllm.model.stream_norm import StreamNorm, read_stream_norm
from localllm.model.weights import Weights
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True)
class Mixer:
    """What makes a block's input of the streams. inject: what makes the weights of its result; None after the last."""

    norm: StreamNorm
    down: Linear
    up: Linear
    inject: Linear | None


@dataclass(frozen=True)
class GatedStreams:
    layers: tuple[Layer, ...]
    count: int
    of_attention: tuple[Mixer, ...]
    of_ffn: tuple[Mixer, ...]
    head: Mixer

    def record(self, r: Recorder, x: Value, tables: Sequence[Buffer | None]) -> None:
        n = r.config.n_embd
        streams = r.floats("streams", self.count * n)
        r.pieces("streams", self.count, n, x, (n, 0), streams, (self.count * n, n))
        for i, layer in enumerate(self.layers):
            *before, mixer = layer.mixers
            for block in before:
                block.record(r, streams, Residual(streams), tables[i])
            y, result, weights = self._open(r, f"blk.{i}.hc_attn", self.of_attention[i], streams)
            mixer.record(r, y, Residual(result), tables[i])
            self._close(r, f"blk.{i}.hc_attn", streams, result, weights)
            if layer.ffn:
                y, result, weights = self._open(r, f"blk.{i}.hc_ffn", self.of_ffn[i], streams)
                layer.ffn.record(r, y, Residual(result))
                self._close(r, f"blk.{i}.hc_ffn", streams, result, weights)
        normed, gate, _ = self._gate(r, "output_hc", self.head, streams)
        self._collapse(r, "output_hc", normed, gate, x, 0)

    def _open(self, r: Recorder, name: str, mixer: Mixer, streams: Buffer) -> tuple[Buffer, Buffer, Buffer]:
        """A block's input, zeros for its result, and the weights of that."""
        n = r.config.n_embd
        normed, gate, weights = self._gate(r, name, mixer, streams)
        y, result = r.floats(f"{name} mixed", n), r.floats(f"{name} result", n)
        self._collapse(r, name, normed, gate, y, result)
        return y, result, weights

    def _gate(self, r: Recorder, name: str, mixer: Mixer, streams: Buffer) -> tuple[Buffer, Buffer, Buffer]:
        """The normed streams, their gates before the sigmoid, and the weights of a result."""
        wide, rank = mixer.down.w.k, mixer.down.w.n
        normed, gate = r.floats(f"{name} norm", wide), r.floats(f"{name} gate", wide)
        low, weights = r.floats(f"{name} low", rank), r.floats(f"{name} weights", self.count)
        mixer.norm.record(r, f"{name}_norm", streams, normed)
        jobs: list[tuple[Linear, Value, Value]] = [(mixer.down, low, 0)]
        r.linears(normed, jobs + ([(mixer.inject, weights, 0)] if mixer.inject else []))
        r.add(name, low, 1.0 / self.count, 0, low, rank)
        plain(r, name, "silu", low, low, rank)
        r.linears(low, [(mixer.up, gate, 0)])
        return normed, gate, weights

    def _collapse(self, r: Recorder, name: str, x: Buffer, gate: Buffer, out: Value, zero: Value) -> None:
        n = r.config.n_embd
        r.plan.op(
            f"{name}_mean", Key("gated_streams", "collapse"), gated_streams.CollapseParams, (r.n_rows, n),
            n_rows_at=r.rows_at, n=n, count=self.count, x=x, gate=gate, out=out, zero=zero,
        )  # fmt: skip

    def _close(self, r: Recorder, name: str, streams: Buffer, result: Buffer, weights: Buffer) -> None:
        n = r.config.n_embd
        r.plan.op(
            f"{name}_spread", Key("gated_streams", "spread"), gated_streams.SpreadParams, (r.n_rows, self.count, n),
            n_rows_at=r.rows_at, n=n, count=self.count, y=result, weights=weights, x=streams,
        )  # fmt: skip


def read(weights: Weights, c: Config, spec: Spec, layers: tuple[Layer, ...], eps: float) -> GatedStreams:
    count, rank = c.keys.integer("hyper_connection.count", low=2), c.keys.integer("hyper_connection.low_rank")
    wide = count * c.n_embd

    def mixer(name: str, is_last: bool = False) -> Mixer:
        def matrix(short: str, k: int, n: int) -> Linear:
            full = f"{name}_{short}"
            return Linear(weights.matrix(f"{full}.weight", k, n), None, weights.optional(f"{full}.scale", 1))

        return Mixer(
            read_stream_norm(weights, f"{name}_norm.weight", c.n_embd, count, eps), matrix("down", wide, rank),
            matrix("up", rank, wide), None if is_last else matrix("inject", wide, count),
        )  # fmt: skip

    return GatedStreams(
        layers, count, tuple(mixer(f"blk.{i}.hc_attn") for i in range(c.n_layer)),
        tuple(mixer(f"blk.{i}.hc_ffn") for i in range(c.n_layer)), mixer("output_hc", True),
    )  # fmt: skip
