"""Gemma 4 (llama.cpp's gemma4.cpp): one residual stream, to which each layer adds, after its two blocks, what it makes
of its per-layer input, and which it then multiplies by a number of the file. Larger models have no such inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localllm.gguf.config import Config
from localllm.model.layer import Layer
from localllm.model.layer_reader import LayerReader
from localllm.model.per_layer import PerLayerBlock, PerLayerInputs, read_block, read_inputs
from localllm.model.recorder import Recorder, Residual
from localllm.model.spec import Spec
from localllm.model.stacks.plain import record_layer
from localllm.model.weights import Weights
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True)
class Gemma4:
    layers: tuple[Layer, ...]
    inputs: PerLayerInputs | None
    blocks: tuple[PerLayerBlock, ...]
    """One a layer, where there are inputs."""
    scales: tuple[float, ...]

    def record(self, r: Recorder, x: Value, tables: Sequence[Buffer | None]) -> None:
        inputs = self.inputs.record(r, x) if self.inputs else None
        for i, layer in enumerate(self.layers):
            record_layer(r, i, layer, x, tables[i])
            if inputs:
                block = self.blocks[i]
                hidden = block.hidden(r, x, inputs, len(self.layers))
                r.close_linear(f"blk.{i}.proj", block.proj, hidden, Residual(x, block.post_norm))
            if self.scales[i] != 1.0:
                r.add(f"blk.{i}.layer_output_scale", x, self.scales[i], 0, x, r.config.n_embd)
            r.layer_output(i, x)


def read(weights: Weights, c: Config, spec: Spec, layers: tuple[Layer, ...], eps: float) -> Gemma4:
    inputs = read_inputs(weights, c, eps, default=0)
    readers = [LayerReader(weights, c, spec, i, eps) for i in range(c.n_layer)]
    name = "layer_output_scale.weight"
    return Gemma4(
        layers,
        inputs,
        tuple(read_block(f, inputs.n) for f in readers) if inputs else (),
        tuple(f.scalar(name) if f.has(name) else 1.0 for f in readers),
    )
