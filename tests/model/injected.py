"""Numbers that are not finite, put into models: into what each operation leaves, and into each tensor of the file.

What must come of each: an error that says so, or, where the number is not used, the same bits as without it.
`python -m tests.model.injected [NAME ...]` tries all recorded models (an hour; with --quick a value and a batch, some
minutes); the tests take a few.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from localllm.errors import LocalllmError, NotFiniteError
from localllm.model.context import Context
from localllm.model.model import LoadedModel
from localllm.model.outputs import is_by_place, placed_view, views_of
from localllm.model.points import address_of
from localllm.runtime.plan import memory
from tests.recorded import models

VALUES = (np.float32(np.nan), np.float32(np.inf), np.float32(-np.inf))
BATCHES = {1: [0], 4: [0, 1, 0, 1], 12: [0] * 7 + [1] * 5}
"""Sequences of a batch's rows, for each phase of plans; what is put in goes to the last row of sequence 0."""


class Injected(Context):
    """A context that puts a value into what an operation leaves; its sequences stay as they are."""

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.target = None
        """(part, number of the operation), or None: nothing."""
        self.value, self.row = VALUES[0], 0
        self.done = False
        """The value was put somewhere."""
        self._places = np.zeros((0, 0), np.int32)

    def hold(self) -> None:
        """From now on, each batch is forgotten."""
        setattr(self._sequences, "commit", self._sequences.abandon)  # noqa: B010

    def targets(self, part: str, n_rows: int) -> list[int]:
        """Numbers of the operations whose output can be reached."""
        operations = self._plan(part, self._phase(n_rows)).operations
        return [i for i, o in enumerate(operations) if is_by_place(o) or views_of(o)]

    def _run(self, n_rows, part, n_out, logits):
        self.done = False
        for name, n in (("body", n_rows), (part, n_out)):
            if not name or not n:
                continue
            plan, at = self._plan(name, self._phase(n)), 0
            for end in plan.ends():
                self.model.team.run(plan.part(at, end), self._stop, n)
                for i in range(at, end):
                    self._after(name, i, plan.operations[i], n, logits)
                at = end
        self.seen = None if logits is None else logits.copy()

    def _after(self, part, i, o, n, logits):
        if (o.key.module, o.key.factory) == ("experts", "group"):
            n_used = int(o.values["n_used"])
            self._places = memory(address_of(o.values["places"]), n * n_used, np.int32).reshape(n, n_used).copy()
        if self.target != (part, i):
            return
        row = min(self.row, n - 1)
        if is_by_place(o):
            placed_view(o).array(int(self._places.max()) + 1)[self._places[row, 0], 0] = self.value
            self.done = True
            return
        for view in views_of(o)[:1]:
            x = logits if address_of(view.value) == 0 else view.array(n)
            flat = x[row]
            flat[np.unravel_index((7 * i) % flat.size, flat.shape)] = self.value
            self.done = True


@dataclass(frozen=True)
class Outcome:
    where: str
    value: float
    result: str
    """"error", "ignored", "unreachable"; anything else is a fault."""


def run(case, context: Injected, tokens: Sequence[int], seqs: Sequence[int]) -> np.ndarray:
    """Logits or hidden states."""
    if case.poolings:
        return context.embed(tokens, seq_ids=seqs)
    return context.forward(tokens, seq_ids=seqs, want_logits=[True] * len(tokens))


def prepared(case, model) -> Injected:
    """A context whose two sequences hold the case's ids but for the last ones; nothing where texts are one batch."""
    context = Injected(model, models.N_CTX, n_seq=2, n_batch=512)
    if model.network.causal:
        ids = models.ids_of(case.n_ids)[:-7] or [1]
        for seq in (0, 1):
            run(case, context, ids, [seq] * len(ids))
    context.hold()
    return context


def into_operations(case, model, values=VALUES, batches=tuple(BATCHES)) -> Iterator[Outcome]:
    context = prepared(case, model)
    try:
        for n in batches:
            seqs = BATCHES[n]
            tokens = models.ids_of(n)
            clean = run(case, context, tokens, seqs).copy()
            context.row = max(i for i, seq in enumerate(seqs) if seq == 0)
            for part in ("body", "norm" if case.poolings else "head"):
                if part == "norm" and not model.network.output_norm:
                    continue
                for i in context.targets(part, n):
                    name = context._plan(part, context._phase(n)).operations[i].name
                    for value in values:
                        context.target, context.value = (part, i), value
                        result = outcome(case, context, tokens, seqs, clean)
                        context.target = None
                        yield Outcome(f"{n} rows, {part} {i}: {name}", float(value), result)
            if not np.array_equal(run(case, context, tokens, seqs), clean):
                yield Outcome(f"{n} rows", 0.0, "a state has kept something")
    finally:
        context.close()


def outcome(case, context, tokens, seqs, clean) -> str:
    try:
        got = run(case, context, tokens, seqs)
    except NotFiniteError as error:
        if error.sequences != (0,):
            return f"sequences {error.sequences} are blamed"
        if context.seen is not None:
            others = [i for i, seq in enumerate(seqs) if seq != 0]
            if not np.array_equal(context.seen[others], clean[others]):
                return "another sequence has changed"
        return "error"
    if not context.done:
        return "unreachable"
    return "ignored" if np.array_equal(got, clean) else "a different answer"


def main(names: Sequence[str], quick: bool) -> int:
    start, faults = time.perf_counter(), 0
    values, batches = ((VALUES[0],), (4,)) if quick else (VALUES, tuple(BATCHES))
    counts: dict[str, int] = {}
    cases = models.cases()
    for name in names or cases:
        with tempfile.TemporaryDirectory() as folder:
            path = models.write(Path(folder) / "m.gguf", cases[name])
            try:
                with LoadedModel.load(path, n_ctx=models.N_CTX, n_threads=1, kv_type="f32") as model:
                    for found in into_operations(cases[name], model, values, batches):
                        counts[found.result] = counts.get(found.result, 0) + 1
                        if found.result not in ("error", "ignored", "unreachable"):
                            faults += 1
                            print(f"{name}: {found.where}: {found.value}: {found.result}", flush=True)
                        elif found.result == "ignored":
                            print(f"  {name}: {found.where}: {found.value}: ignored", flush=True)
            except LocalllmError as error:
                print(f"{name}: {error}")
                faults += 1
    print(f"{sum(counts.values())} in {time.perf_counter() - start:.0f} s: {counts}; {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main([a for a in sys.argv[1:] if a != "--quick"], "--quick" in sys.argv))
