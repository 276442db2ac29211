"""How the residual stream runs through the layers. STACKS says which module of this folder reads a stack of a name, as
`Spec.stack` has it: `read(weights, config, spec, layers) -> Stack`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol

from localllm.gguf.config import Config
from localllm.model.layer import Layer
from localllm.model.recorder import Recorder
from localllm.model.spec import Spec
from localllm.model.weights import Weights
from localllm.runtime.plan import Buffer, Value

STACKS = {
    "hyper": "hyper",
    "hyper_mean": "hyper",
    "hyper_independent": "hyper",
    "plain": "plain",
    "altup": "altup",
    "gemma4": "gemma4",
    "normed": "normed",
    "hrm": "hrm",
    "gated_streams": "gated_streams",
    "attention_residuals": "attention_residuals",
    "post_norm": "post_norm",
    "rwkv": "rwkv",
}


class Stack(Protocol):
    """The layers, and what joins them."""

    def record(self, r: Recorder, x: Value, tables: Sequence[Buffer | None]) -> None:
        """x: the embedding, float32 [n_rows, n_embd], in whose place the last layer's result is left; tables: RoPE's
        cosines and sines for each layer, or None."""


def read_stack(weights: Weights, c: Config, spec: Spec, layers: tuple[Layer, ...], eps: float) -> Stack:
    """The stack of a file. Raises FormatError or UnsupportedError naming the tensor or the key."""
    stack: Stack = import_module(f"localllm.model.stacks.{STACKS[spec.stack]}").read(weights, c, spec, layers, eps)
    return stack
