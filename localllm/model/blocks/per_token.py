"""In the place of an attention, a product alone (Deci's layers without keys and values)."""

from __future__ import annotations

from dataclasses import dataclass

from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import Linear, Recorder, Residual
from localllm.model.states.state import State, StateOptions
from localllm.runtime.plan import Buffer, Value


@dataclass(frozen=True, eq=False)
class PerToken:
    i: int
    output: Linear

    def states(self, options: StateOptions) -> tuple[State, ...]:
        return ()

    def record(self, r: Recorder, x: Value, to: Residual, table: Buffer | None) -> None:
        r.close_linear(f"blk.{self.i}.attn_output", self.output, x, to)


def read(f: LayerReader) -> PerToken:
    return PerToken(f.i, f.linear("attn_output", f.config.n_embd, f.config.n_embd))
