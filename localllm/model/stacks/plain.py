"""One residual stream: each block of a layer reads it, normed, and adds its result to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localllm.gguf.config import Config
from localllm.model.experts import Experts
from localllm.model.layer import Layer
from localllm.model.recorder import Recorder, Residual
from localllm.model.spec import Spec
from localllm.model.weights import Weights
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True)
class Plain:
    layers: tuple[Layer, ...]

    def record(self, r: Recorder, x: Value, tables: Sequence[Buffer | None]) -> None:
        n, skip = r.config.n_embd, None
        if any(layer.skip_factor for layer in self.layers):
            skip = r.floats("embedding", n)
            r.add("embedding", x, 1.0, 0, skip, n)
        for i, layer in enumerate(self.layers):
            record_layer(r, i, layer, x, tables[i])
            if layer.skip_factor and skip:
                r.add(f"blk.{i}.skip", skip, layer.skip_factor, x, x, n)
            if layer.loop_norm:
                r.norm(f"blk.{i}.loop_norm", x, layer.loop_norm, x, n)
            r.layer_output(i, x)


def record_layer(r: Recorder, i: int, layer: Layer, x: Value, table: Buffer | None) -> None:
    """One layer. What reads the layer's input is recorded before a mixer adds to it."""
    n, factor, ffn = r.config.n_embd, layer.residual_factor, layer.ffn
    scores = ffn.score(r, x) if isinstance(ffn, Experts) and ffn.scores_layer_input else None
    parallel = r.normed(f"blk.{i}.ffn_norm_exps", x, layer.parallel_experts[0], n) if layer.parallel_experts else 0
    normed = r.normed(f"blk.{i}.attn_norm", x, layer.attn_norm, n)
    into = normed
    if layer.parallel and layer.ffn_norm:
        into = r.normed(f"blk.{i}.ffn_norm", x, layer.ffn_norm, n)
    for mixer in layer.mixers:
        y = r.normed(f"blk.{i}.attn_norm_2", x, layer.attn_norm_2, n) if layer.attn_norm_2 else normed
        mixer.record(r, y, Residual(x, layer.post_attention_norm, factor), table)
    if not layer.parallel:
        into = r.normed(f"blk.{i}.ffn_norm", x, layer.ffn_norm, n)
    to = Residual(x, layer.post_ffw_norm, factor)
    if isinstance(ffn, Experts):
        ffn.record(r, into, to, scores)
    elif ffn:
        ffn.record(r, into, to)
    if layer.parallel_experts:
        layer.parallel_experts[1].record(r, parallel, Residual(x))


def read(weights: Weights, c: Config, spec: Spec, layers: tuple[Layer, ...], eps: float) -> Plain:
    return Plain(layers)
