"""RWKV's layers: a time mix and a channel mix after each other, each with a norm before it. Every few layers the stream
is halved, where the file says so (llama.cpp's rwkv6.cpp): the weights were scaled to match, to stay within F16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localllm.gate import tensors
from localllm.gate.check import Place
from localllm.gguf.config import Config
from localllm.model.layer import Layer
from localllm.model.layer_reader import read_norm
from localllm.model.recorder import Norm, Recorder, Residual
from localllm.model.spec import Spec
from localllm.model.weights import Weights
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True)
class Rwkv:
    layers: tuple[Layer, ...]
    channel_norms: tuple[Norm, ...]
    rescale_every: int
    """Layers after which the stream is halved; 0: it never is."""

    def record(self, r: Recorder, x: Value, tables: Sequence[Buffer | None]) -> None:
        n = r.config.n_embd
        for i, (layer, norm) in enumerate(zip(self.layers, self.channel_norms, strict=True)):
            time_mix, channel_mix = layer.mixers
            time_mix.record(r, r.normed(f"blk.{i}.attn_norm", x, layer.attn_norm, n), Residual(x), None)
            channel_mix.record(r, r.normed(f"blk.{i}.attn_norm_2", x, norm, n), Residual(x), None)
            if self.rescale_every and (i + 1) % self.rescale_every == 0:
                r.add(f"blk.{i}.rescale", x, 0.5, 0, x, n)
            r.layer_output(i, x)


def read(weights: Weights, c: Config, spec: Spec, layers: tuple[Layer, ...], eps: float) -> Rwkv:
    norms = []
    for i in range(len(layers)):
        name = f"blk.{i}.attn_norm_2"
        norm = read_norm(weights, spec, name, c.n_embd, eps)
        norms.append(tensors.present(Place(weights.file.path, f"tensor {name}.weight"), norm))
    # llama.cpp reads the key for version 6 only.
    every = c.keys.integer("rescale_every_n_layers", 0) if spec.name == "rwkv6" else 0
    return Rwkv(layers, tuple(norms), every)
