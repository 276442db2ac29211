"""What a model and a context of it would take, counted before anything is allocated, beside what is free.

Weights are mapped: they are pages of the file, which count as free while nobody needs the memory. A model that is
larger than what is free would be read from the disk again for every token.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from dataclasses import dataclass, replace

from localllm.gate import memory as gate
from localllm.gguf.reader import GGUFFile
from localllm.kernels.thread import SCRATCH_BYTES, Run
from localllm.model.group_sums import GroupSums
from localllm.model.network import Network, build
from localllm.model.plans import MAX_ROWS, PHASES, Addresses, n_projected, phases_of, planned, record
from localllm.model.sequences import Sequences
from localllm.model.states.cells import n_cells
from localllm.model.states.state import StateOptions
from localllm.model.weights import Weights
from localllm.runtime.processors import default_threads
from localllm.runtime.system import Free, free_memory
from localllm.terminal.figures import size

VARIABLE = "LOCALLLM_MEMORY_CHECK"
_OFF = ("off", "0", "no", "false")
_SPARE = 128 << 20
"""Bytes that are left to the rest of the process."""
_CLOSE = 0.9
"""Of what is free; from there on, people are told."""
_ENOUGH = 4 << 30
"""Bytes in which the plans of any model compute 512 rows."""
STEP = n_cells(1)
"""Sizes of contexts differ by so many tokens."""
_SMALLER = {"Q8_0": 8.5, "Q6_K": 6.57, "Q5_K_M": 5.71, "Q4_K_M": 4.9, "Q3_K_M": 4.0, "Q2_K": 3.16}
"""Bits a weight of usual files: llama.cpp's tools/quantize/README.md."""


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes. weights: of the tensors that are used, mapped, and of their sums where there are some; cells: of all
    positions (keys and values, latent rows); recurrent: states of a fixed size that sequences are in; checkpoints: the
    most that earlier copies of those may take; scratch: what is computed with."""

    weights: int
    cells: int
    recurrent: int
    checkpoints: int
    scratch: int

    @property
    def states(self) -> int:
        return self.cells + self.recurrent + self.checkpoints

    @property
    def total(self) -> int:
        return self.weights + self.states + self.scratch


@dataclass(frozen=True)
class Fit:
    """Whether a context of n_ctx tokens fits here. n_ctx_train: tokens that the model was trained for; largest: the
    largest context up to that which fits, 0 where none does."""

    n_ctx: int
    n_ctx_train: int
    need: MemoryNeed
    free: Free
    largest: int

    @property
    def fits(self) -> bool:
        return self.need.total <= self.free.n_bytes


class Estimate:
    """What contexts of one model take, by their length. options: their n_ctx does not count. weights: bytes of those
    that are used; n_batch: 0 where batches are as long as the context is."""

    def __init__(
        self, file: GGUFFile, network: Network, weights: int, options: StateOptions, n_batch: int, n_threads: int
    ) -> None:
        self._sums = GroupSums(counted=True) if network.sums else None
        self.file, self.network, self._read = file, replace(network, sums=self._sums), weights
        self._options, self._n_batch, self._n_threads = options, n_batch, n_threads
        self._needs: dict[int, MemoryNeed] = {}

    def need(self, n_ctx: int) -> MemoryNeed:
        """For contexts of n_ctx tokens a sequence."""
        if n_ctx not in self._needs:
            sequences = self._sequences(n_ctx)
            recurrent = self._options.n_seq * sequences.slot_bytes
            checkpoints = sequences.n_bytes - sequences.cell_bytes - recurrent
            scratch = self._scratch(n_ctx, sequences)  # which asks for the sums
            made = self._sums.n_bytes if self._sums else 0
            self._needs[n_ctx] = MemoryNeed(self._read + made, sequences.cell_bytes, recurrent, checkpoints, scratch)
        return self._needs[n_ctx]

    def _rows(self, n_ctx: int) -> int:
        """Of a batch, at most."""
        return self._n_batch or min(max(PHASES[-1], n_ctx), MAX_ROWS)

    def _sequences(self, n_ctx: int) -> Sequences:
        return Sequences(self.network.mixers, replace(self._options, n_ctx=n_ctx), 1)

    def _scratch(self, n_ctx: int, sequences: Sequences) -> int:
        rows, n_seq = self._rows(n_ctx), self._options.n_seq
        plans = [
            record(self.network, part, phase, sequences.states, n_ctx, Addresses())
            for part, phase in planned(self.network, n_seq, rows)
        ]
        return (
            max(plan.place() for plan in plans)
            + batch_bytes(self.network, phases_of(rows)[-1])
            + logits_bytes(self.network, n_seq)
            + self._n_threads * SCRATCH_BYTES
        )

    def _at_most(self, n_ctx: int) -> float:
        """A bound of what a context takes, for which no plan is recorded: that takes milliseconds."""
        if not 0 < self._n_batch <= PHASES[-1]:
            return math.inf
        beside = logits_bytes(self.network, self._options.n_seq) + self._n_threads * SCRATCH_BYTES
        read = self._read * (2 if self._sums else 1)  # sums of 2 bytes are less than what 32 weights take
        return read + self._sequences(n_ctx).n_bytes + beside + _ENOUGH

    def largest(self, most: int, free: int) -> int:
        """The largest context of at most `most` tokens that takes no more than `free` bytes with all else, a multiple
        of STEP unless it is `most`; 0: none."""
        if self.need(most).total <= free:
            return most
        return STEP * bisect_right(range(STEP, most, STEP), free, key=lambda n_ctx: self.need(n_ctx).total)

    def fit(self, n_ctx: int) -> Fit:
        free, trained = self.free(), self.network.config.n_ctx_train
        most = trained if self.network.causal else min(trained, MAX_ROWS)
        return Fit(n_ctx, trained, self.need(n_ctx), free, self.largest(most, free.n_bytes))

    def free(self) -> Free:
        """What there is for all of it."""
        free = free_memory(mapped=self.file.size if self.file.has_data else 0)
        return replace(free, n_bytes=max(0, free.n_bytes - _SPARE))

    def check(self, n_ctx: int, beside: int = 0) -> str:
        """A line for the user where memory is short, or nothing. beside: bytes that are wanted for other things.

        Raises NotEnoughMemoryError, with the largest context that fits; never where LOCALLLM_MEMORY_CHECK is off.
        """
        if os.environ.get(VARIABLE, "").lower() in _OFF:
            return ""
        free = self.free()
        left = free.n_bytes
        if self._at_most(n_ctx) + beside <= _CLOSE * left:
            return ""
        need = self.need(n_ctx)
        total = need.total + beside
        gate.fits(total, left, lambda: f"{self._told(n_ctx, need, beside, free)}: {self._advice(n_ctx, left - beside)}")
        if total > _CLOSE * left:
            return f"{self._told(n_ctx, need, beside, free)}: the computer may become slow"
        return ""

    def _told(self, n_ctx: int, need: MemoryNeed, beside: int, free: Free) -> str:
        n_seq = self._options.n_seq
        each = f" for each of {n_seq} sequences" if n_seq > 1 else ""
        parts = [f"{size(need.weights)} of weights", f"{size(need.states)} for a context of {n_ctx} tokens{each}"]
        parts += [f"{size(need.scratch)} to compute", *([f"{size(beside)} for the prompt cache"] if beside else [])]
        where = "" if free.limit == "the machine" else f" ({free.limit} is the limit)"
        return (
            f"{self.file.path}: takes {size(need.total + beside)} of memory ({', '.join(parts)}), "
            f"{size(free.n_bytes)} are free{where}"
        )

    def _advice(self, n_ctx: int, left: int) -> str:
        if fits := self.largest(n_ctx, left):
            trained = self.network.config.n_ctx_train
            more = f", and the model was trained for {trained}" if fits > trained else ""
            return f"the largest context that fits is {fits} (-c {fits}, n_ctx={fits}){more}; {_OVERRIDE}"
        least = self.need(STEP)
        room = left - (least.total - least.weights)
        n_params = sum(info.n_elements for info in self.file.tensors.values())
        smaller = [name for name, bits in _SMALLER.items() if n_params * bits / 8 <= room]
        if least.weights <= room or not smaller:
            return f"no context fits: close other programs, or take a smaller model; {_OVERRIDE}"
        return f"no context fits: take a smaller file of this model, such as {smaller[0]}; {_OVERRIDE}"


def check_beside(file: GGUFFile, n_bytes: int, what: str) -> None:
    """Whether there is memory for what is wanted beside a context. Raises NotEnoughMemoryError, as `Estimate.check`."""
    if os.environ.get(VARIABLE, "").lower() in _OFF:
        return
    left = max(0, free_memory(mapped=file.size).n_bytes - _SPARE)
    told = f"{file.path}: {what} takes {size(n_bytes)} of memory, {size(left)} are free: {_OVERRIDE}"
    gate.fits(n_bytes, left, lambda: told)


_OVERRIDE = f"--no-memory-check ({VARIABLE}=off) loads it all the same"


def estimate(
    file: GGUFFile,
    n_seq: int = 1,
    kv_type: str = "f16",
    swa_full: bool = False,
    n_batch: int = 512,
    n_threads: int | None = None,
) -> Estimate:
    """Of a file that is not loaded; its header suffices (gguf.reader.open_header). Raises FormatError or
    UnsupportedError for one that cannot be loaded."""
    weights = Weights(file)
    network, _ = build(file, weights)
    options = StateOptions(STEP, n_seq, kv_type, swa_full, one_batch=not network.causal)
    rows = n_batch if network.causal else 0
    return Estimate(file, network, weights.used_bytes, options, rows, n_threads or default_threads())


def needed(file: GGUFFile, n_ctx: int, n_seq: int = 1, kv_type: str = "f16", swa_full: bool = False) -> MemoryNeed:
    """What a context of n_seq sequences of n_ctx tokens takes, with the weights. Raises FormatError or
    UnsupportedError for a file that cannot be loaded."""
    return estimate(file, n_seq, kv_type, swa_full).need(n_ctx)


def batch_bytes(network: Network, n_rows: int) -> int:
    """Of arrays that a context has for the rows of a batch."""
    return n_rows * (4 * (_N_NUMBERS + network.config.n_embd + n_projected(network)) + Run.size)


_N_NUMBERS = 5
"""A row's token, position, sequence and place in the order; the row's number where its logits are wanted."""


def logits_bytes(network: Network, n_rows: int) -> int:
    return 4 * n_rows * network.config.n_vocab
