"""Kinds of blocks that mix the tokens of a sequence. A kind is a file: it reads its tensors, records its operations and
names the states that it keeps.

BLOCKS says which module of this folder reads the blocks of a name; a spec names the blocks of each layer
(`Spec.mixers`). A module's `read(f: LayerReader) -> Mixer` checks the tensors.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from localllm.model.layer_reader import LayerReader
from localllm.model.recorder import Recorder, Residual
from localllm.model.states.state import State, StateOptions
from localllm.runtime.plan import Buffer, Value

BLOCKS = {
    "attention": "attention",
    "delta_net": "delta_net",
    "kda": "kda",
    "channel_mix": "channel_mix",
    "block_sparse": "block_sparse",
    "group_sparse": "group_sparse",
    "ngram_embedding": "ngram_embedding",
    "compressed_attention": "compressed_attention",
    "lightning": "lightning",
    "mamba": "mamba",
    "mamba2": "mamba2",
    "latent_attention": "latent_attention",
    "per_token": "per_token",
    "pooled_attention": "pooled_attention",
    "rwkv6": "rwkv6",
    "rwkv7": "rwkv7",
    "plamo2": "plamo2",
    "short_conv": "short_conv",
}


class Mixer(Protocol):
    """A block that mixes the tokens of a sequence."""

    def states(self, options: StateOptions) -> tuple[State, ...]:
        """What it keeps of the tokens that it has read, not yet allocated; empty where it uses another block's."""

    def record(self, r: Recorder, x: Value, to: Residual, table: Buffer | None) -> None:
        """Add the block to the residual stream; x: its normed input; table: RoPE's cosines and sines. Its states are
        `r.states_of(self, ...)`."""


def read_block(name: str, f: LayerReader) -> Mixer:
    """The block of this kind in a layer. Raises FormatError or UnsupportedError naming the tensor or the key."""
    block: Mixer = import_module(f"localllm.model.blocks.{BLOCKS[name]}").read(f)
    return block
