"""Gemma 3n (llama.cpp's gemma3n.cpp).

AltUp: several residual streams, of which a layer's blocks see one (kernels/altup.py). LAuReL: a low-rank branch beside
the attention (Menghani et al. 2024, arXiv 2411.07501). Per-layer embeddings, which go to the other streams. In the
first layers, a feed-forward block that keeps the greatest few of its gate's activations (kernels/sparse.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from localllm.gate import numbers, tensors
from localllm.gguf.config import Config
from localllm.kernels import altup, mix, sparse
from localllm.kernels.objects import Key
from localllm.kernels.simd.types import Struct
from localllm.model.feed_forward import FeedForward
from localllm.model.layer import Layer
from localllm.model.layer_reader import LayerReader
from localllm.model.per_layer import PerLayerBlock, PerLayerInputs, read_block, read_inputs
from localllm.model.recorder import F32, Linear, Norm, Recorder, Residual
from localllm.model.spec import Spec
from localllm.model.weights import Weight, Weights
from localllm.runtime.plan import Buffer, Place, Value

_LANES = 16
_SPARSE_LAYERS, _DEVIATIONS = 10, 1.6448533535003662
"""Where the file does not say it: layers whose gates keep 5 %, and that quantile in standard deviations."""


@dataclass(frozen=True)
class Laurel:
    """left and right: n_embd to a low rank and back."""

    left: Linear
    right: Linear
    post_norm: Norm

    def record(self, r: Recorder, name: str, x: Value) -> Buffer:
        """x + post_norm(right @ left @ x), a new buffer."""
        n = r.config.n_embd
        low, out = r.floats("laurel_l", self.left.w.n), r.floats("laurel_r", n)
        r.linears(x, [(self.left, low, 0)])
        r.linears(low, [(self.right, out, 0)])
        r.norm(f"{name}.laurel_post_norm", out, self.post_norm, out, n, add=x)
        return out


@dataclass(frozen=True)
class AltUpLayer:
    """What a layer has beside its blocks; N streams."""

    layer: Layer
    ffn: FeedForward
    """Which has a gate."""
    laurel: Laurel
    router: Weight
    """f32 [N][n_embd], times the norm's weights and 1 / n_embd."""
    mixture: Weight
    """f32 [N][N * N, padded to whole vectors]."""
    gains: Weight
    """f32 [N][N, padded]."""
    scale: Weight
    per_layer: PerLayerBlock
    deviations: float | None
    """What the feed-forward block's gates must exceed, in standard deviations."""


@dataclass(frozen=True)
class AltUp:
    layers: tuple[AltUpLayer, ...]
    inputs: PerLayerInputs
    proj: tuple[Linear, ...]
    unembd_proj: tuple[Linear, ...]
    """To and from each stream but the first."""
    active: int
    eps: float

    def record(self, r: Recorder, x: Value, tables: Sequence[Buffer | None]) -> None:
        _Recorded(self, r).run(x, tables)


class _Recorded:
    """One recording."""

    def __init__(self, stack: AltUp, r: Recorder) -> None:
        self.stack, self.r, self.n = stack, r, r.config.n_embd
        self.n_streams = len(stack.proj) + 1
        self.plane = r.n_rows * self.n * F32
        self.streams = r.floats("streams", self.n_streams * self.n)

    def run(self, x: Value, tables: Sequence[Buffer | None]) -> None:
        r, stack = self.r, self.stack
        inputs = stack.inputs.record(r, x)
        r.linears(x, [(linear, self._plane(self.streams, j), 0) for j, linear in enumerate(stack.proj, 1)])
        self._op("altup_proj", "start", altup.StartParams, x=x, streams=self.streams)
        for i, layer in enumerate(stack.layers):
            self._layer(i, layer, inputs, tables[i])
        others = r.floats("altup_unembd_proj", len(stack.proj) * self.n)
        for j, linear in enumerate(stack.unembd_proj):
            r.linears(self._plane(self.streams, j + 1), [(linear, self._plane(others, j), 0)])
        self._op(
            "altup_unembd", "end", altup.EndParams, streams=self.streams, others=others, active=stack.active, out=x
        )

    def _layer(self, i: int, one: AltUpLayer, inputs: Buffer, table: Buffer | None) -> None:
        r, n, layer, active, name = self.r, self.n, one.layer, self.stack.active, f"blk.{i}"
        predictions, x = r.floats("predictions", self.n_streams * n), r.floats("active prediction", n)
        mixture = self._route(f"{name}.altup_predict_coef", one, self._plane(self.streams, active), one.mixture, 0.0)
        self._op(
            f"{name}.altup_predict", "predict", altup.PredictParams, streams=self.streams, mixture=mixture,
            row=self._row(one.mixture), out=predictions, active=active, copy=x,
        )  # fmt: skip
        normed = r.normed(f"{name}.attn_norm", x, layer.attn_norm, n)
        beside = one.laurel.record(r, name, normed)
        for mixer in layer.mixers:
            mixer.record(r, normed, Residual(x, layer.post_attention_norm), table)
        r.plan.op(
            f"{name}.laurel", Key("mix", "scaled_sum"), mix.SumParams, (r.n_rows, n),
            n_rows_at=r.rows_at, n=n, x=x, y=beside, factor=math.sqrt(0.5), out=x,
        )  # fmt: skip
        self._feed_forward(one, r.normed(f"{name}.ffn_norm", x, layer.ffn_norm, n), Residual(x, layer.post_ffw_norm))
        gains = self._route(f"{name}.altup_correct_coef", one, x, one.gains, 1.0)
        scaled = r.floats("altup_correct_scale", n)
        self._op(
            f"{name}.altup_correct", "correct", altup.CorrectParams, predictions=predictions, x=x, gains=gains,
            row=self._row(one.gains), active=active, out=self.streams, scale=one.scale.address, scaled=scaled,
        )  # fmt: skip
        block, y = one.per_layer, r.floats("proj", n)
        r.linears(block.hidden(r, scaled, inputs, len(self.stack.layers)), [(block.proj, y, 0)])
        assert block.post_norm.w
        self._op(
            f"{name}.post_norm", "spread", altup.SpreadParams, x=y, w=block.post_norm.w.address,
            eps=block.post_norm.eps, streams=self.streams,
        )  # fmt: skip

    def _feed_forward(self, one: AltUpLayer, x: Value, to: Residual) -> None:
        r, ffn = self.r, one.ffn
        if one.deviations is None:
            ffn.record(r, x, to)
            return
        assert ffn.gate
        n = ffn.up.w.n
        gate, up = r.floats("gate", n), r.floats("up", n)
        r.linears(x, [(ffn.gate, gate, 0), (ffn.up, up, 0)])
        r.plan.op(
            f"{ffn.name}.act", Key("sparse", "gated"), sparse.Params, (r.n_rows, n),
            n_rows_at=r.rows_at, n=n, gate=gate, up=up, out=gate, deviations=one.deviations,
        )  # fmt: skip
        r.close_linear(ffn.name, ffn.down, gate, to)

    def _route(self, name: str, one: AltUpLayer, x: Value, weights: Weight, plus: float) -> Buffer:
        n_out = self._row(weights) // F32
        out = self.r.floats(name, n_out)
        self.r.plan.op(
            name, Key("altup", "route", (self.n_streams,)), altup.RouteParams, (self.r.n_rows, n_out),
            n_rows_at=self.r.rows_at, n=self.n, x=x, router=one.router.address, eps=self.stack.eps,
            weights=weights.address, n_out=n_out, plus=plus, out=out,
        )  # fmt: skip
        return out

    def _op(self, name: str, kernel: str, params: Struct, **values: Value) -> None:
        """An operation over streams."""
        self.r.plan.op(
            name, Key("altup", kernel, (self.n_streams,)), params, (self.r.n_rows, self.n),
            n_rows_at=self.r.rows_at, n=self.n, plane=self.plane, **values,
        )  # fmt: skip

    def _plane(self, buffer: Buffer, j: int) -> Place:
        return Place(buffer, j * self.plane)

    def _row(self, weights: Weight) -> int:
        """Bytes of a row that is made with these weights of N rows."""
        return weights.k // self.n_streams * F32


def read(weights: Weights, c: Config, spec: Spec, layers: tuple[Layer, ...], eps: float) -> AltUp:
    n_streams = c.keys.integer("altup.num_inputs", 4)
    inputs = read_inputs(weights, c, eps, default=256)
    numbers.at_least(c.keys.place("embedding_length_per_layer_input"), inputs.n if inputs else 0)
    assert inputs is not None
    sparsity = tuple(_DEVIATIONS if i < _SPARSE_LAYERS else -math.inf for i in range(c.n_layer))
    if c.keys.has("activation_sparsity_scale"):
        sparsity = c.keys.numbers_per_layer("activation_sparsity_scale", c.n_layer, minus_infinity=True)
    read_layers = tuple(
        _read_layer(LayerReader(weights, c, spec, i, eps), layer, n_streams, inputs.n, sparsity[i])
        for i, layer in enumerate(layers)
    )
    proj, unembd = (_projections(weights, name, c.n_embd, n_streams) for name in ("altup_proj", "altup_unembd_proj"))
    return AltUp(read_layers, inputs, proj, unembd, c.keys.integer("altup.active_idx", 0, high=n_streams - 1), eps)


def _projections(weights: Weights, name: str, n: int, n_streams: int) -> tuple[Linear, ...]:
    whole = weights.matrices(f"{name}.weight", n, n, n_streams - 1)
    return tuple(Linear(whole.rows(j * n, n)) for j in range(n_streams - 1))


def _read_layer(f: LayerReader, layer: Layer, n_streams: int, n_per_layer: int, deviations: float) -> AltUpLayer:
    n, w = f.config.n_embd, f.weights
    is_gated = isinstance(layer.ffn, FeedForward) and layer.ffn.gate is not None
    tensors.block_kind(f.place, is_gated, "has no gated feed-forward block, or experts")
    assert isinstance(layer.ffn, FeedForward)
    least = 2 if math.isfinite(deviations) else 1
    numbers.at_least(f.config.keys.place("feed_forward_length"), layer.ffn.up.w.n, least)
    rank = w.shape(f.name("laurel_l.weight"))[-1]
    router = w.values(f.name("altup_router.weight"), n, n_streams).reshape(n_streams, n)
    return AltUpLayer(
        layer=layer,
        ffn=layer.ffn,
        laurel=Laurel(f.linear("laurel_l", n, rank), f.linear("laurel_r", rank, n), f.rms("laurel_post_norm", n)),
        router=w.constant(f.name("altup_router"), router * w.values(f.name("altup_router_norm.weight"), n) / n),
        mixture=_padded(f, "altup_predict_coef", n_streams, n_streams**2),
        gains=_padded(f, "altup_correct_coef", n_streams, n_streams),
        scale=w.vector(f.name("altup_correct_scale.weight"), n),
        per_layer=read_block(f, n_per_layer),
        deviations=deviations if math.isfinite(deviations) else None,
    )


def _padded(f: LayerReader, short: str, k: int, n: int) -> Weight:
    """A small matrix of n rows of k elements as k rows of n, with zeros up to whole vectors."""
    name = f.name(f"{short}.weight")
    columns = f.weights.values(name, k, n).reshape(n, k).T
    return f.weights.constant(f"{name} transposed", np.pad(columns, ((0, 0), (0, -n % _LANES))))
