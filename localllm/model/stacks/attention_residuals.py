"""Attention residuals (Kimi K3's model card; llama.cpp's kimi-k3.cpp): each block reads a mixture of the residual
stream and of what it was before every size-th layer; see kernels/residuals.py. At these layers the stream begins anew,
with the result of their attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localllm.gguf.config import Config
from localllm.kernels import residuals
from localllm.kernels.objects import Key
from localllm.model.layer import Layer
from localllm.model.recorder import F32, Recorder, Residual
from localllm.model.spec import Spec
from localllm.model.stacks.plain import Plain
from localllm.model.weights import Weight, Weights
from localllm.runtime.plan import Buffer, Place, Value


@dataclass(frozen=True)
class AttentionResiduals:
    layers: tuple[Layer, ...]
    size: int
    """Layers from one beginning of the stream to the next."""
    scores: tuple[tuple[Weight, Weight], ...]
    """Of each layer's attention and feed-forward block."""
    output_score: Weight
    eps: float

    def record(self, r: Recorder, x: Value, tables: Sequence[Buffer | None]) -> None:
        run = _Recorded(self, r, x)
        for i, layer in enumerate(self.layers):
            attn, ffn = self.scores[i]
            y = run.mixed(f"blk.{i}.attn_res_score", attn)
            if i % self.size == 0:
                run.keep(f"blk.{i}.kept")
            y = r.normed(f"blk.{i}.attn_norm", y, layer.attn_norm, r.config.n_embd)
            for mixer in layer.mixers:
                mixer.record(r, y, Residual(x), tables[i])
            y = r.normed(f"blk.{i}.ffn_norm", run.mixed(f"blk.{i}.ffn_res_score", ffn), layer.ffn_norm, r.config.n_embd)
            if layer.ffn:
                layer.ffn.record(r, y, Residual(x))
        run.mix("output_res_score", self.output_score, x)


class _Recorded:
    """One recording: the stream, and what was kept of it so far."""

    def __init__(self, stack: AttentionResiduals, r: Recorder, x: Value) -> None:
        self.stack, self.r, self.x = stack, r, x
        self.stride, self.n_kept = r.n_rows * r.config.n_embd * F32, 0
        self.kept = r.floats("kept", -(-len(stack.layers) // stack.size) * r.config.n_embd)

    def keep(self, name: str) -> None:
        """Keep the stream, and let it begin anew."""
        r, n = self.r, self.r.config.n_embd
        r.plan.op(
            name, Key("residuals", "keep"), residuals.KeepParams, (r.n_rows, n),
            n_rows_at=r.rows_at, n=n, x=self.x, out=Place(self.kept, self.n_kept * self.stride),
        )  # fmt: skip
        self.n_kept += 1

    def mixed(self, name: str, w: Weight) -> Value:
        """What a block reads, in a buffer of its own."""
        out = self.r.floats(name, self.r.config.n_embd)
        self.mix(name, w, out)
        return out

    def mix(self, name: str, w: Weight, out: Value) -> None:
        r, n = self.r, self.r.config.n_embd
        r.plan.op(
            name, Key("residuals", "mix"), residuals.MixParams, (r.n_rows, n),
            n_rows_at=r.rows_at, n=n, x=self.x, kept=self.kept, kept_stride=self.stride, n_kept=self.n_kept,
            w=w.address, eps=self.stack.eps, out=out,
        )  # fmt: skip


def read(weights: Weights, c: Config, spec: Spec, layers: tuple[Layer, ...], eps: float) -> AttentionResiduals | Plain:
    size, n = c.keys.integer("attn_res.block_size"), c.n_embd
    if not size:
        return Plain(layers)
    scores = tuple(
        (weights.vector(f"blk.{i}.attn_res_score.weight", n), weights.vector(f"blk.{i}.ffn_res_score.weight", n))
        for i in range(c.n_layer)
    )
    return AttentionResiduals(layers, size, scores, weights.vector("output_res_score.weight", n), eps)
