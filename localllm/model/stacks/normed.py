"""The residual stream is the normed input of each block, times a factor (MiniMax-01, arXiv 2501.08313; llama.cpp's
minimax-01.cpp): x = factor * norm(x) + block(norm(x)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localllm.gguf.config import Config
from localllm.model.layer import Layer
from localllm.model.recorder import Norm, Recorder, Residual
from localllm.model.spec import Spec
from localllm.model.weights import Weights
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True)
class Normed:
    layers: tuple[Layer, ...]
    factor: float

    def record(self, r: Recorder, x: Value, tables: Sequence[Buffer | None]) -> None:
        for i, layer in enumerate(self.layers):
            for mixer in layer.mixers:
                normed = self._normed(r, f"blk.{i}.attn_norm", x, layer.attn_norm)
                mixer.record(r, normed, Residual(x), tables[i])
            if layer.ffn:
                layer.ffn.record(r, self._normed(r, f"blk.{i}.ffn_norm", x, layer.ffn_norm), Residual(x))
            r.layer_output(i, x)

    def _normed(self, r: Recorder, name: str, x: Value, norm: Norm | None) -> Value:
        """x normed; x itself becomes that times the factor."""
        n = r.config.n_embd
        out = r.normed(name, x, norm, n)
        r.add(name, out, self.factor, 0, x, n)
        return out


def read(weights: Weights, c: Config, spec: Spec, layers: tuple[Layer, ...], eps: float) -> Normed:
    return Normed(layers, c.keys.number("residual_scale"))
