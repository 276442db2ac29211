"""Per-layer embeddings (Gemma 3n and 4; llama.cpp's gemma3n.cpp, gemma4.cpp): each layer has, for each token, a small
input of its own, from a second embedding matrix and a projection of the first, by which it gates what it adds at its
end.
"""

from __future__ import annotations

from dataclasses import dataclass

from localllm.gguf.config import Config
from localllm.kernels import activation, embed
from localllm.kernels.objects import Key
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import F32, Linear, Norm, Recorder
from localllm.model.weights import Weight, Weights
from localllm.runtime.plan import Buffer, Place, Value

_KEY = "embedding_length_per_layer_input"
_MAX = 1 << 16


@dataclass(frozen=True)
class PerLayerInputs:
    """What makes the inputs, n floats a layer: (norm(model_proj @ x / sqrt(n_embd)) + sqrt(n) * token_embd[token]) /
    sqrt(2). The factors of the projection lie in the norm."""

    token_embd: Weight
    """[n_vocab] rows of n_layer * n elements."""
    model_proj: Linear
    norm: Norm
    n: int
    n_layer: int

    def record(self, r: Recorder, x: Value) -> Buffer:
        """The inputs of all layers, float32 [n_rows, n_layer, n]; x: the token's embedding."""
        w, k = self.token_embd, self.n_layer * self.n
        out, projected = r.floats("per-layer inputs", k), r.floats("per_layer_model_proj", k)
        r.linears(x, [(self.model_proj, projected, 0)])
        r.plan.op(
            w.name, Key("embed", "rows", (w.module,)), embed.Params, (r.n_rows, k),
            step=r.step, table=w.address, row_bytes=w.row_bytes, k=k, out=out, factor=(self.n / 2) ** 0.5,
        )  # fmt: skip
        r.norm("per_layer_proj_norm", projected, self.norm, out, self.n, heads=self.n_layer, add=out)
        return out


@dataclass(frozen=True)
class PerLayerBlock:
    """What a layer makes of its input: post_norm(proj @ (gelu(inp_gate @ x) * input))."""

    i: int
    inp_gate: Linear
    proj: Linear
    post_norm: Norm

    def hidden(self, r: Recorder, x: Value, inputs: Buffer, n_layer: int) -> Buffer:
        """What `proj` takes; inputs: of all n_layer layers."""
        n = self.inp_gate.w.n
        gate = r.floats("inp_gate", n)
        r.linears(x, [(self.inp_gate, gate, 0)])
        r.plan.op(
            f"blk.{self.i}.inp_gate.act", Key("activation", "gated_rows", ("gelu",)), activation.GatedRowsParams,
            (r.n_rows, n),
            n_rows_at=r.rows_at, n=n, gate=gate, up=Place(inputs, self.i * n * F32), up_stride=n_layer * n * F32,
            out=gate,
        )  # fmt: skip
        return gate


def read_inputs(weights: Weights, c: Config, eps: float, default: int) -> PerLayerInputs | None:
    """None where the file says that there are none; default: their size where it does not say it."""
    n = c.keys.integer(_KEY, default)
    if not n:
        return None
    k = n * c.n_layer
    w = weights.values("per_layer_proj_norm.weight", n)
    return PerLayerInputs(
        token_embd=weights.matrix("per_layer_token_embd.weight", k, c.n_vocab),
        model_proj=Linear(weights.matrix("per_layer_model_proj.weight", c.n_embd, k)),
        # The norm of x / s, epsilon e, is that of x, epsilon e s².
        norm=Norm(weights.constant("per_layer_proj_norm / sqrt(2)", w * 0.5**0.5), None, eps * c.n_embd, "rms"),
        n=n,
        n_layer=c.n_layer,
    )


def read_block(f: LayerReader, n: int) -> PerLayerBlock:
    n_embd = f.config.n_embd
    return PerLayerBlock(
        f.i, f.linear("inp_gate", n_embd, n), f.linear("proj", n, n_embd), f.rms("post_norm", n_embd)
    )  # fmt: skip
