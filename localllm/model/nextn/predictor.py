"""What runs the layer that predicts a further token: cells, plans and memory of its own, for one sequence."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NoReturn, Protocol

import numpy as np

from localllm.errors import LocalllmError, NotEnoughMemoryError, NotFiniteError
from localllm.gate import calls
from localllm.gguf.reader import GGUFFile
from localllm.kernels.objects import Key
from localllm.kernels.thread import Step
from localllm.model.finite import FETCH, is_finite
from localllm.model.forward import record_norm
from localllm.model.memory import check_beside
from localllm.model.nextn.layer import Nextn
from localllm.model.nextn.record import record_body, record_head
from localllm.model.plans import PHASES, phase_of
from localllm.model.sequences import Sequences
from localllm.model.states.state import StateOptions
from localllm.runtime.arrays import aligned, padded
from localllm.runtime.plan import Bound, Plan
from localllm.runtime.teams import Teams
from localllm.runtime.turn import Turn, alone, lazy


class Loaded(Protocol):
    """What a predictor needs of a model (localllm.model.model's Model is one)."""

    path: str
    kv_type: str
    swa_full: bool
    file: GGUFFile
    team: Teams


class Predictor:
    """Guesses at the tokens after the next, from hidden states of a context. Made by `Model.predictor`.

    Row p of its sequence is a token and the hidden state of the token before it. One thread at a time may use it.
    """

    def __init__(self, model: Loaded, nextn: Nextn, n_ctx: int, n_batch: int = PHASES[-1]) -> None:
        self.n_ctx, self.n_batch = n_ctx, calls.size("n_batch", n_batch, PHASES[-1])
        self.n_embd, self.n_vocab = nextn.config.n_embd, nextn.config.n_vocab
        self._model, self._nextn = model, nextn
        n_rows = phase_of(n_batch, PHASES)
        self._phases = tuple(phase for phase in PHASES if phase <= n_rows)
        options = StateOptions(n_ctx, 1, model.kv_type, model.swa_full)
        self._sequences = Sequences(nextn.layer.mixers, options, n_rows)
        arrays = 4 * n_rows * (4 + self.n_embd + 1)
        check_beside(model.file, self._sequences.n_bytes + arrays, "the layer for multi-token prediction")
        try:
            self._sequences.allocate()
        except MemoryError:
            raise NotEnoughMemoryError(f"{model.path}: the system has no memory for guesses (MTP)") from None
        self._step = aligned(Step.size).view(np.int64)
        self._rows = padded((4, n_rows), np.int32)
        """Token, position and sequence of each row; the number of the row whose logits are wanted."""
        self._hidden, self._kept = padded((n_rows, self.n_embd)), padded((n_rows,))
        addresses = {name: self._rows[i].ctypes.data for i, name in enumerate(_FIELDS)} | self._sequences.addresses
        for field, address in addresses.items():
            self._step[Step.offset(field) // 8] = address
        self._recorded = {plan: self._record(*plan) for plan in self._planned()}
        self._arena_bytes = max(plan.place() for plan in self._recorded.values())
        self._plans: dict[tuple[str, int], Bound] = {}
        self._last = 0
        """Of the rows that were evaluated last."""
        self._closed = False
        self.turn = Turn()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Predictor cannot be copied or pickled")

    def _planned(self) -> list[tuple[str, int]]:
        return [*((part, phase) for part in ("norm", "body") for phase in self._phases), ("head", 1)]

    def _record(self, part: str, phase: int) -> Plan:
        step, hidden, out_rows, kept = (
            int(array.ctypes.data) for array in (self._step, self._hidden, self._rows[3], self._kept)
        )
        if part == "norm":
            return record_norm(self._nextn.config, self._nextn.trunk_norm, phase, step, hidden)
        if part == "head":
            return record_head(self._nextn, step, hidden, out_rows)
        return record_body(self._nextn, phase, step, self._sequences.states, hidden, self.n_ctx, kept)

    def keys(self) -> list[Key]:
        """The kernels that it needs."""
        return list(dict.fromkeys(chain.from_iterable(plan.keys() for plan in self._recorded.values())))

    @property
    def n_past(self) -> int:
        """Rows that it holds."""
        return self._sequences.tracks[0].past

    @property
    def n_bytes(self) -> int:
        """Bytes of its cells."""
        return self._sequences.n_bytes

    @alone
    def cut(self, position: int) -> int:
        """Forget the rows from `position` on; where it goes on, which is `position` or lies before it."""
        track = self._sequences.tracks[0]
        return self._sequences.cut(track, calls.cut(0, position, track.past))

    @alone
    def forward(
        self,
        tokens: Sequence[int],
        hidden: np.ndarray | None = None,
        want_logits: bool = True,
        stop: np.ndarray | None = None,
    ) -> np.ndarray:
        """Evaluate rows; logits of the token after the last one, float32 [n_vocab], or [0] where none are wanted.

        hidden: what a context's last layer left for the token before each of `tokens` (see Context.hidden), float32
        [n, n_embd]. None, for one token: what this layer left for the row before. stop: as of Context.forward.
        Raises ContextFullError, UsageError, Cancelled or NotFiniteError; it holds then what it held before.
        """
        n = self._fill(tokens, hidden)
        logits = np.empty(self.n_vocab * want_logits, np.float32)
        n_runs = self._sequences.begin([0] * n)
        fields = (("n_rows", n), ("n_out", 1), ("n_runs", n_runs), ("logits", logits.ctypes.data))
        for field, value in fields:
            self._step[Step.offset(field) // 8] = int(value)
        flag = np.zeros(1, np.int64) if stop is None else stop
        try:
            if hidden is not None and self._nextn.trunk_norm:
                self._run("norm", n, flag)
            self._run("body", n, flag)
            if want_logits:
                self._run("head", 1, flag)
            if not is_finite(self._hidden[:n]) or not is_finite(logits):
                raise NotFiniteError(f"{self._model.path}: what its MTP layer guesses by is NaN or infinite: {FETCH}")
        except BaseException:
            self._sequences.abandon()
            raise
        self._sequences.commit()
        self._last = n - 1
        return logits

    def _fill(self, tokens: Sequence[int], hidden: np.ndarray | None) -> int:
        """Check rows and write them; their number."""
        if self._closed:
            raise LocalllmError("this predictor is closed")
        n, past = calls.batch_rows(len(tokens), self.n_batch), self.n_past
        checked = calls.tokens(calls.integers("token id", tokens), self.n_vocab)
        calls.context_room(past + n, self.n_ctx)
        if hidden is None:
            calls.columns(n, 1, 1, 1)
            self._hidden[0] = self._hidden[self._last]
        else:
            calls.hidden_width(np.shape(hidden), self.n_embd)
            calls.columns(n, len(hidden), n, n)
            self._hidden[:n] = hidden
        self._rows[0, :n], self._rows[1, :n], self._rows[3, 0] = checked, range(past, past + n), n - 1
        return n

    def _run(self, part: str, n_rows: int, flag: np.ndarray) -> None:
        key = part, phase_of(n_rows, PHASES)
        if key not in self._plans:
            self._plans[key] = self._recorded[key].bind(int(self._arena.ctypes.data))
        self._model.team.run(self._plans[key], flag, n_rows)

    @lazy
    def _arena(self) -> np.ndarray:
        return aligned(self._arena_bytes)

    def close(self) -> None:
        """Release the memory. May be called twice."""
        self._closed = True
        with self.turn:
            self._plans.clear()
            self._recorded.clear()
            self.__dict__.pop("_arena", None)
            self._sequences = Sequences((), StateOptions(1, 1, self._model.kv_type), 1)


_FIELDS = ("tokens", "positions", "seqs", "out_rows")
