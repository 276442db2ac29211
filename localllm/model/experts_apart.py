"""Gemma 4's experts (llama.cpp's gemma4.cpp): a dense block and routed experts beside each other, each with a norm of
its own before and after it; the router reads the layer's input by a norm of its own, too.
"""

from __future__ import annotations

from dataclasses import dataclass

from localllm.model.experts import Routed, n_used_of, read_routed
from localllm.model.feed_forward import FeedForward, read_feed_forward
from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import Linear, Norm, Recorder, Residual
from localllm.runtime.plan import Value


@dataclass(frozen=True)
class ExpertsApart:
    i: int
    dense: FeedForward
    dense_post: Norm
    router_norm: Norm
    router: Linear
    pre: Norm
    routed: Routed
    post: Norm

    def record(self, r: Recorder, x: Value, to: Residual) -> None:
        """Add the block to the residual stream; x: the input normed for the dense block."""
        n, name = r.config.n_embd, f"blk.{self.i}.ffn"
        logits, y, total = r.floats("router", self.router.w.n), r.floats(name, n), r.floats(name, n)
        r.linears(r.normed(f"{name}_gate_inp_norm", to.x, self.router_norm, n), [(self.router, logits, 0)])
        r.linears(self.dense.hidden(r, x), [(self.dense.down, y, 0)])
        r.norm(f"blk.{self.i}.post_ffw_norm_1", y, self.dense_post, total, n)
        into = r.normed(f"blk.{self.i}.pre_ffw_norm_2", to.x, self.pre, n)
        self.routed.record(r, into, logits, 0, y)
        r.norm(f"blk.{self.i}.post_ffw_norm_2", y, self.post, total, n, add=total)
        r.close(name, total, to)


def read_experts_apart(f: LayerReader) -> ExpertsApart:
    n, n_expert = f.config.n_embd, f.config.n_expert
    scale = f.weights.values(f.name("ffn_gate_inp.scale"), n)

    return ExpertsApart(
        i=f.i,
        dense=read_feed_forward(f),
        dense_post=f.rms("post_ffw_norm_1", n),
        router_norm=Norm(f.weights.constant(f.name("ffn_gate_inp.scale"), scale * n**-0.5), None, f.eps, "rms"),
        router=f.linear("ffn_gate_inp", n, n_expert),
        pre=f.rms("pre_ffw_norm_2", n),
        routed=read_routed(f, "exps", n_expert, n_used_of(f), 1),
        post=f.rms("post_ffw_norm_2", n),
    )
