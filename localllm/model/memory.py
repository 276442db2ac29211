"""What a context of a file would take, counted before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass

from localllm.gguf.reader import GGUFFile
from localllm.model.network import build
from localllm.model.sequences import Sequences
from localllm.model.states.state import StateOptions
from localllm.model.weights import Weights


@dataclass(frozen=True)
class StateBytes:
    """cells: of all positions (keys and values, latent rows); recurrent: states of a fixed size that one sequence is
    in; checkpoints: the most that earlier copies of those may take, beside it."""

    cells: int
    recurrent: int
    checkpoints: int

    @property
    def total(self) -> int:
        return self.cells + self.recurrent + self.checkpoints


def state_bytes(file: GGUFFile, n_ctx: int, n_seq: int = 1, kv_type: str = "f16", swa_full: bool = False) -> StateBytes:
    """Bytes of the states of n_seq sequences of n_ctx tokens. Raises FormatError or UnsupportedError for a file that
    cannot be loaded."""
    network, _ = build(file, Weights(file))
    options = StateOptions(n_ctx, n_seq, kv_type, swa_full, one_batch=not network.causal)
    sequences = Sequences(network.mixers, options, 1)
    recurrent = n_seq * sequences.slot_bytes
    return StateBytes(sequences.cell_bytes, recurrent, sequences.n_bytes - sequences.cell_bytes - recurrent)
