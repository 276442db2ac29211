"""Two stacks of layers that alternate over two hidden states (Hierarchical Reasoning Model, Wang et al. 2025, arXiv
2506.21734; llama.cpp's hrm-text.cpp).

The low state z_l begins as a learned vector, the high one z_h as the embedding. In each high cycle the low layers go
`l_cycles` times over z_l + z_h, which gives z_l, then the high layers once, which gives z_h. Each application ends with
a norm without weights, and has a cache of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from localllm.gate import numbers
from localllm.gguf.config import Config
from localllm.kernels import mix
from localllm.kernels.objects import Key
from localllm.model.layer import Layer
from localllm.model.recorder import Norm, Recorder
from localllm.model.spec import Spec
from localllm.model.stacks.plain import record_layer
from localllm.model.weights import Weight, Weights
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True)
class Hrm:
    layers: tuple[Layer, ...]
    per_stack: int
    l_cycles: int
    z_l_init: Weight
    norm: Norm

    def record(self, r: Recorder, x: Value, tables: Sequence[Buffer | None]) -> None:
        n, low = r.config.n_embd, r.floats("z_l", r.config.n_embd)
        r.plan.op(
            self.z_l_init.name, Key("mix", "add_row"), mix.AddRowParams, (r.n_rows, n),
            n_rows_at=r.rows_at, n=n, x=x, row=self.z_l_init.address, out=low,
        )  # fmt: skip
        for first, is_high in self._applications():
            z, other = (x, low) if is_high else (low, x)
            if first:
                r.add(f"blk.{first}.z", other, 1.0, z, z, n)
            for i in range(first, first + self.per_stack):
                record_layer(r, i, self.layers[i], z, tables[i])
                r.layer_output(i, z)
            # The last norm is the head's.
            if first + self.per_stack < len(self.layers):
                r.norm(f"blk.{first}.stack_norm", z, self.norm, z, n)

    def _applications(self) -> Iterator[tuple[int, bool]]:
        """First layer, and whether it is one of the high stack's."""
        for k, first in enumerate(range(0, len(self.layers), self.per_stack)):
            yield first, k % (self.l_cycles + 1) == self.l_cycles


def read(weights: Weights, c: Config, spec: Spec, layers: tuple[Layer, ...], eps: float) -> Hrm:
    per_stack, l_cycles = (c.keys.integer(f"hrm.{key}", high=c.n_layer) for key in ("layers_per_stack", "l_cycles"))
    n = per_stack * c.keys.integer("hrm.h_cycles", high=c.n_layer) * (l_cycles + 1)
    numbers.same(c.keys.place("block_count"), c.n_layer, n, "layers_per_stack * h_cycles * (l_cycles + 1)")
    return Hrm(layers, per_stack, l_cycles, weights.vector("hrm.z_l_init", c.n_embd), Norm(None, None, eps, spec.norm))
