"""One residual stream that is normed after each block has added to it (Vaswani et al. 2017, arXiv 1706.03762; BERT,
arXiv 1810.04805): a block reads the stream as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localllm.gate import tensors
from localllm.gate.check import Place
from localllm.gguf.config import Config
from localllm.model.layer import Layer
from localllm.model.recorder import Norm, Recorder, Residual
from localllm.model.spec import Spec
from localllm.model.weights import Weights
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True)
class PostNorm:
    layers: tuple[Layer, ...]
    norms: tuple[tuple[Norm, Norm], ...]
    """Of each layer: after the attention, and after the feed-forward block."""

    def record(self, r: Recorder, x: Value, tables: Sequence[Buffer | None]) -> None:
        n = r.config.n_embd
        for i, (layer, (attn_output_norm, layer_output_norm)) in enumerate(zip(self.layers, self.norms, strict=True)):
            before: Value = 0
            if layer.attn_norm_2:
                before = r.floats("layer input", n)
                r.add(f"blk.{i}.input", x, 1.0, 0, before, n)
            for mixer in layer.mixers:
                mixer.record(r, x, Residual(x), tables[i])
            r.norm(f"blk.{i}.attn_output_norm", x, attn_output_norm, x, n)
            if layer.attn_norm_2:
                # The layer's input is added once more (llama.cpp, bert.cpp).
                r.add(f"blk.{i}.attn_norm_2", before, 1.0, x, x, n)
                r.norm(f"blk.{i}.attn_norm_2", x, layer.attn_norm_2, x, n)
            if layer.ffn:
                layer.ffn.record(r, x, Residual(x))
            r.norm(f"blk.{i}.layer_output_norm", x, layer_output_norm, x, n)
            r.layer_output(i, x)


def read(weights: Weights, c: Config, spec: Spec, layers: tuple[Layer, ...], eps: float) -> PostNorm:
    return PostNorm(layers, tuple(_norms(c, spec, i, layer) for i, layer in enumerate(layers)))


def _norms(c: Config, spec: Spec, i: int, layer: Layer) -> tuple[Norm, Norm]:
    first, second = layer.post_attention_norm, layer.post_ffw_norm

    def required(norm: Norm | None, name: str) -> Norm:
        return tensors.present(Place(c.keys.file.path, f"tensor blk.{i}.{name}.weight"), norm)

    return required(first, spec.post_attention_norm), required(second, spec.post_ffw_norm)
