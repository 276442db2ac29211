"""A context: states, memory for what is computed, plans, and how far each sequence has come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NoReturn, Protocol

import numpy as np

from localllm.errors import LocalllmError, NotEnoughMemoryError, NotFiniteError
from localllm.gate import calls
from localllm.gguf.reader import GGUFFile
from localllm.kernels.objects import Key
from localllm.kernels.thread import Step
from localllm.model.finite import FETCH, Stage, explain, is_finite, layers_of, search, wrong_sequences
from localllm.model.memory import Estimate
from localllm.model.network import Network
from localllm.model.plans import MAX_ROWS, PHASES, Addresses, n_projected, phase_of, phases_of, planned, record
from localllm.model.rope import digest as rope_digest
from localllm.model.sequences import Moment, Sequences, Span
from localllm.model.states.state import StateOptions, Track
from localllm.runtime.arrays import aligned, padded
from localllm.runtime.plan import Bound, Operation, Plan
from localllm.runtime.teams import Teams
from localllm.runtime.turn import Turn, alone, lazy


class Loaded(Protocol):
    """What a context needs of a model (localllm.model.model's Model is one)."""

    path: str
    kv_type: str
    target: str
    file: GGUFFile
    network: Network
    team: Teams

    def memory(self, n_seq: int = 1, n_batch: int = 512, swa_full: bool | None = None) -> Estimate: ...
    def damage(self, operation: Operation, layer: int) -> str: ...


class Context:
    """n_seq sequences of up to n_ctx tokens each. Made by `Model.context`.

    One thread at a time may use it, whichever that is; where another one is at it, all but `cancel` and `close` raise
    LocalllmError. In a process that was forked it goes on, unless another thread was at it then. It cannot be copied.
    """

    def __init__(self, model: Loaded, n_ctx: int, n_seq: int = 1, n_batch: int = 512, swa_full: bool = False) -> None:
        max_rows = PHASES[-1] if model.network.causal else MAX_ROWS
        n_ctx, n_seq = calls.size("n_ctx", n_ctx, calls.MAX_CTX), calls.size("n_seq", n_seq, 4096)
        n_batch, swa_full = calls.size("n_batch", n_batch, max_rows), calls.flag("swa_full", swa_full)
        model.memory(n_seq, n_batch, swa_full).check(n_ctx)
        self.model, self.n_ctx, self.n_seq, self.n_batch = model, n_ctx, n_seq, n_batch
        config = model.network.config
        options = StateOptions(n_ctx, n_seq, model.kv_type, swa_full, one_batch=not model.network.causal)
        self._phases = phases_of(n_batch)
        n_rows = self._phases[-1]
        self._sequences = Sequences(model.network.mixers, options, n_rows)
        try:
            self._sequences.allocate()
        except MemoryError:
            raise NotEnoughMemoryError(f"{model.path}: the system has no memory for {n_ctx} tokens") from None
        self._step = aligned(Step.size).view(np.int64)
        self._rows = padded((4, n_rows), np.int32)
        """Token, position and sequence of each row; numbers of the rows whose logits are wanted."""
        self._hidden = padded((n_rows, config.n_embd))
        for i, field in enumerate(("tokens", "positions", "seqs", "out_rows")):
            self._step[Step.offset(field) // 8] = self._rows[i].ctypes.data
        for field, address in self._sequences.addresses.items():
            self._step[Step.offset(field) // 8] = address
        self._projected = padded((n_rows, n_projected(model.network)))
        self._kept = padded((n_rows,))  # NaN for rows that states must not keep
        self._recorded = {plan: self.record(*plan) for plan in planned(model.network, n_seq, n_batch)}
        self._plans: dict[tuple[str, int], Bound] = {}
        self._joined: dict[tuple[int, str, int], Bound] = {}
        """The body and a part that follows as one plan, by the rows that each is recorded for."""
        self._arena_bytes = max(plan.place() for plan in self._recorded.values())
        """Plans share one arena, one after another; none of them leaves anything there for another."""
        self._cancel = self._stop = np.zeros(1, np.int64)
        self._closed = False
        self.turn = Turn()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Context cannot be copied or pickled: save and restore carry its sequences")

    def n_past(self, seq_id: int = 0) -> int:
        """Tokens that a sequence holds."""
        return self._sequences.tracks[calls.sequence(seq_id, self.n_seq)].past

    @alone
    def cut(self, seq_id: int, position: int) -> int:
        """Forget what a sequence holds from `position` on; where it goes on, which is `position` or lies before it.

        Keys and values can be cut anywhere that their window still holds (anywhere with swa_full); recurrent states go
        back to a checkpoint: a context keeps some where a batch of several tokens began, at its end and one token
        before that, and every 64 tokens. Tokens between the returned position and `position` must be fed again.
        Raises UsageError.
        """
        track = self._track(seq_id)
        return self._sequences.cut(track, calls.cut(seq_id, position, track.past))

    @alone
    def checkpoint(self, seq_id: int = 0) -> None:
        """Keep a sequence's recurrent states as they are, so that `cut` can come back here."""
        self._sequences.checkpoint(self._track(seq_id))

    @alone
    def copy(self, source: int, target: int) -> None:
        """Give sequence `target` what `source` holds."""
        self._sequences.copy(self._track(source), self._track(target))

    @alone
    def save(self, seq_id: int = 0) -> list[bytes]:
        """What a sequence holds, a state at a time."""
        return self._sequences.save(self._track(seq_id))

    @alone
    def restore(self, seq_id: int, n_past: int, content: Sequence[bytes]) -> None:
        """Put back what `save` gave when the sequence held n_past tokens. Raises UsageError for content that is not of
        this model, kv_type and n_past; nothing has changed then."""
        track = self._track(seq_id)
        self._sequences.restore(track, calls.n_past(n_past, 0, self.n_ctx), content)

    def reach(self, seq_id: int, position: int) -> int:
        """Where a sequence would go on after `cut(seq_id, position)`; nothing is changed."""
        track, position = self._track(seq_id), calls.integer("position", position)
        return self._sequences.reach(track, min(max(position, 0), track.past))

    @alone
    def span(self, seq_id: int, start: int, stop: int) -> Span:
        """A copy of what a sequence keeps of each position from start to stop alone. Raises UsageError."""
        track = self._track(seq_id)
        return self._sequences.span(track, *calls.span(seq_id, start, stop, track.past))

    @alone
    def moment(self, seq_id: int, position: int) -> Moment:
        """A copy of all else that a sequence held at a position, which `reach` must give. Raises UsageError."""
        position = calls.integer("position", position)
        calls.reached(seq_id, position, self.reach(seq_id, position))
        return self._sequences.moment(self._track(seq_id), position)

    @alone
    def resume(self, seq_id: int, n_past: int, spans: Sequence[Span], moment: Moment | None = None) -> None:
        """Make a sequence what another was after n_past tokens, from spans (the first begins at 0, each where those
        before it end, or earlier) and a moment (needed where `moment_is_needed`).

        Raises UsageError for content that is not of this kind of context and n_past; nothing has changed then.
        """
        track = self._track(seq_id)
        self._sequences.resume(track, calls.n_past(n_past, 1, self.n_ctx), spans, moment)

    @property
    def moment_is_needed(self) -> bool:
        """Some states (windows, recurrent ones) do not keep every position: spans alone do not say what was."""
        return self._sequences.moment_is_needed

    def reach_of(self, moment: Moment, position: int) -> int:
        """The last n_past, at most `position`, that a moment of this kind of context allows `resume`; of its parts
        nothing is read."""
        return self._sequences.reach_of(moment, calls.integer("position", position))

    def span_bytes(self, start: int, stop: int) -> int:
        return self._sequences.span_bytes(calls.integer("start", start), calls.integer("stop", stop))

    def moment_bytes(self, position: int) -> list[int]:
        """Of a moment's parts."""
        return self._sequences.moment_bytes(calls.integer("position", position))

    @property
    def kind(self) -> str:
        """Contexts of one kind and model may `resume` what another one has saved: their states are alike, and their
        kernels and rotations (which may depend on n_ctx)."""
        kernels = sorted(set(map(str, self._recorded["body", 1].keys())))
        return "\n".join([*self._sequences.kind, *kernels, rope_digest(self.model.network.ropes(self.n_ctx))])

    @alone
    def clear(self) -> None:
        """Forget all sequences."""
        self._sequences.clear()

    def _track(self, seq_id: int) -> Track:
        if self._closed:
            raise LocalllmError("this context is closed")
        return self._sequences.tracks[calls.sequence(seq_id, self.n_seq)]

    @property
    def hidden(self) -> np.ndarray:
        """What the last layer left for each row of the last batch, float32 [n_rows, n_embd]: a view until the next."""
        return self._hidden[: int(self._step[Step.offset("n_rows") // 8])]

    @property
    def n_bytes(self) -> int:
        """Bytes of the states of all sequences, with the checkpoints that they may have."""
        return self._sequences.n_bytes

    @property
    def scratch_bytes(self) -> int:
        """Bytes to compute with, beside the scratch memory of the threads."""
        arrays = self._rows.nbytes + self._hidden.nbytes + self._projected.nbytes
        return self._arena_bytes + arrays + self._sequences.batch_bytes

    @property
    def plans(self) -> dict[tuple[str, int], Bound]:
        """The plans that were replayed so far, by part ("body", "head", ...) and the rows they are recorded for."""
        return self._plans

    def keys(self) -> list[Key]:
        """The kernels that this context needs."""
        return list(dict.fromkeys(chain.from_iterable(plan.keys() for plan in self._recorded.values())))

    def cancel(self) -> None:
        """Stop the forward under way, from any thread; it raises Cancelled there within 100 ms.

        One that begins later is not affected.
        """
        self._cancel[0] = 1

    def close(self) -> None:
        """Release the memory, once the forward that another thread has under way has been stopped. May be called twice,
        and by any thread."""
        self._closed = True
        self.cancel()
        with self.turn:
            self._release()

    def _release(self) -> None:
        self._plans.clear()
        self._joined.clear()
        self.__dict__.pop("_arena", None)
        self._recorded.clear()
        self._sequences = Sequences((), StateOptions(1, self.n_seq, self.model.kv_type), 1)

    @alone
    def forward(
        self,
        tokens: Sequence[int],
        positions: Sequence[int] | None = None,
        seq_ids: Sequence[int] | None = None,
        want_logits: Sequence[bool] | None = None,
        stop: np.ndarray | None = None,
    ) -> np.ndarray:
        """Evaluate a batch of at most n_batch rows; float32 [n_wanted, n_vocab], a fresh array.

        positions: None, or each row's place in its sequence: a sequence goes on where it ended, without holes.
        seq_ids: None (all rows belong to sequence 0), or a sequence a row. want_logits: None (the last row's), or a
        flag a row. stop: None, or an int64 [1] that any thread may set to 1, before the call or while it lasts, to the
        effect of `cancel`.
        Raises ContextFullError beyond n_ctx, UsageError for impossible arguments, UnsupportedError for an encoder (it
        has no logits), Cancelled after `cancel`, NotFiniteError where results are NaN or infinite (it names the
        sequences whose they are), FileError for a file that has changed; whatever it raises, the sequences hold what
        they held before.
        """
        n_rows = calls.several("tokens", tokens)
        flags = None if want_logits is None else calls.flags(want_logits)
        wanted = [n_rows - 1] if flags is None else [i for i, want in enumerate(flags) if want]
        n_out, network = len(wanted), self.model.network
        calls.has_logits(self.model.path, network.config.architecture, network.output is not None or not wanted)
        if stop is not None:
            calls.stop_flag(*((str(stop.dtype), stop.size) if isinstance(stop, np.ndarray) else (str(type(stop)), 0)))
        ids = self._fill(tokens, positions, seq_ids, n_rows if flags is None else len(flags))
        logits = np.empty((n_out, network.config.n_vocab), np.float32)
        self._rows[3, :n_out] = wanted
        self._evaluate(ids, "head" if n_out else "", n_out, logits, stop)
        return logits

    @alone
    def embed(
        self, tokens: Sequence[int], positions: Sequence[int] | None = None, seq_ids: Sequence[int] | None = None
    ) -> np.ndarray:
        """Evaluate a batch as `forward` does; the hidden states of all rows, after the output norm: float32 [n_rows,
        n_embd], a fresh array."""
        n_rows = calls.several("tokens", tokens)
        ids = self._fill(tokens, positions, seq_ids, n_rows)
        self._evaluate(ids, "norm" if self.model.network.output_norm else "", n_rows, None)
        return self._hidden[:n_rows].copy()

    @alone
    def project(self, part: str, rows: np.ndarray) -> np.ndarray:
        """What the model's "classifier" or "dense" makes of rows like those of `embed`, at most n_batch of them:
        float32 [n_rows, n_out]."""
        found = vars(self.model.network.pooling)
        projection = found[calls.one_of("part", part, [name for name in ("classifier", "dense") if found[name]])]
        n_rows = calls.batch_rows(calls.hidden_width(np.shape(rows), self.model.network.config.n_embd), self.n_batch)
        self._hidden[:n_rows] = rows
        self._step[Step.offset("n_out") // 8] = n_rows
        self._cancel[0] = 0
        self.model.team.run(self._plan(part, self._phase(n_rows)), self._cancel, n_rows)
        out = self._projected.ravel()[: n_rows * projection.n_out].reshape(n_rows, -1).copy()
        if not is_finite(out):
            raise NotFiniteError(f"{self.model.path}: the {part}'s results are NaN or infinite: {FETCH}")
        return out

    def _evaluate(
        self, ids: Sequence[int], part: str, n_out: int, logits: np.ndarray | None, stop: np.ndarray | None = None
    ) -> None:
        """Run the plans of a batch whose rows were filled in and belong to these sequences: the body, and `part`."""
        try:
            self.model.file.check_unchanged()
        except OSError:  # another thread closes it just now
            raise LocalllmError(f"{self.model.path}: is closed") from None
        n_rows, n_runs = len(ids), self._sequences.begin(ids)
        at = 0 if logits is None else logits.ctypes.data
        for field, value in (("n_rows", n_rows), ("n_out", n_out), ("n_runs", n_runs), ("logits", at)):
            self._step[Step.offset(field) // 8] = int(value)
        self._cancel[0] = 0
        self._stop = self._cancel if stop is None else stop
        self._kept.fill(0.0)
        try:
            self._run(n_rows, part, n_out, logits)
            self.model.file.check_unchanged()
            wrong = wrong_sequences(ids, self._hidden, self._rows[3, :n_out], logits, self._kept)
        except BaseException:
            self._sequences.abandon()
            raise
        if wrong:
            self._sequences.abandon()
            raise NotFiniteError(self._why(ids, part, n_out, logits), wrong)
        self._sequences.commit()

    def _why(self, ids: Sequence[int], part: str, n_out: int, logits: np.ndarray | None) -> str:
        """The error's line, after the batch was computed once more to find where it began."""
        self._sequences.begin(ids)
        try:
            finding = search(self._stages(len(ids), part, n_out), logits)
        finally:
            self._sequences.abandon()
        damage = self.model.damage(finding.operation, finding.layer) if finding else ""
        return explain(self.model.path, finding, self._rows[1], damage)

    def _stages(self, n_rows: int, part: str, n_out: int) -> Iterator[Stage]:
        """Run the plans of a batch, stage by stage."""
        for name, rows in (("body", range(n_rows)), (part, self._rows[3, :n_out].tolist())):
            if not name or not rows:
                continue
            plan, done = self._plan(name, self._phase(len(rows))), 0
            layers = layers_of(plan.operations)
            for end in plan.ends():
                self.model.team.run(plan.part(done, end), self._stop, len(rows))
                yield Stage(plan.operations[done:end], layers[done], rows)
                done = end

    def _run(self, n_rows: int, part: str, n_out: int, logits: np.ndarray | None) -> None:
        self.model.team.run(self._whole(n_rows, part, n_out), self._stop, n_rows)

    def _fill(
        self, tokens: Sequence[int], positions: Sequence[int] | None, seq_ids: Sequence[int] | None, n_flags: int
    ) -> Sequence[int]:
        """Check a batch and write its rows; each row's sequence. n_flags: of whose logits are wanted."""
        if self._closed:
            raise LocalllmError("this context is closed")
        network, n = self.model.network, calls.batch_rows(len(tokens), self.n_batch)
        n_ids = n if seq_ids is None else calls.several("sequence ids", seq_ids)
        calls.columns(n, n_ids, n if positions is None else calls.several("positions", positions), n_flags)
        ids = calls.sequences([0] * n if seq_ids is None else calls.integers("sequence id", seq_ids), self.n_seq)
        checked = calls.tokens(calls.integers("token id", tokens), network.config.n_vocab)
        past = {seq: self._sequences.tracks[seq].past for seq in ids}
        if not network.causal:
            calls.one_batch(max(past.values()), self.n_batch)
        places = []
        for seq in ids:
            places.append(past[seq])
            past[seq] += 1
        if positions is not None:
            calls.positions(calls.integers("position", positions), places, ids)
        calls.context_room(max(past.values()), self.n_ctx)
        calls.learned_positions(max(past.values()), network.max_positions)
        self._rows[0, :n], self._rows[1, :n], self._rows[2, :n] = checked, places, ids
        return ids

    def _phase(self, n_rows: int) -> int:
        return phase_of(n_rows, self._phases)

    def _whole(self, n_rows: int, part: str, n_out: int) -> Bound:
        """The plan of a batch: its body, and what follows for n_out rows, if anything."""
        body = self._plan("body", self._phase(n_rows))
        if not part:
            return body
        key = self._phase(n_rows), part, self._phase(n_out)
        if key not in self._joined:
            self._joined[key] = body.then(self._plan(part, key[2]))
        return self._joined[key]

    def _plan(self, part: str, phase: int) -> Bound:
        if (part, phase) not in self._plans:
            if (part, phase) not in self._recorded:
                self._recorded[part, phase] = self.record(part, phase)
            self._plans[part, phase] = self._recorded[part, phase].bind(int(self._arena.ctypes.data))
        return self._plans[part, phase]

    @lazy
    def _arena(self) -> np.ndarray:
        return aligned(self._arena_bytes)

    def record(self, part: str, phase: int) -> Plan:
        """The plan of a part ("body", "head", "norm", "classifier", "dense") for up to `phase` rows."""
        arrays = (self._step, self._rows[3], self._hidden, self._projected, self._kept)
        at = Addresses(*(int(array.ctypes.data) for array in arrays))
        return record(self.model.network, part, phase, self._sequences.states, self.n_ctx, at)
