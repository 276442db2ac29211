"""What every kernel is handed beside its parameters: its thread, and the work it may claim."""

from .simd import Struct, atomic_add, atomic_load

Thread = Struct("Thread", ("ith", "nth", "scratch", "counter", "cancel", "team"))
"""ith of nth threads; scratch: SCRATCH_BYTES of its own; counter, cancel: addresses of the operation's claim counter
and of the word that stops everything; team: address of the team's block."""

SCRATCH_BYTES = 1 << 20

Step = Struct(
    "Step", ("n_rows", "tokens", "positions", "seqs", "n_out", "out_rows", "logits", "n_runs", "runs", "order")
)
"""What changes from call to call: rows in the batch; addresses of each row's token, position and sequence (int32); rows
whose logits are wanted, the address of their numbers (int32), and where their logits go (float32 [n_out, n_vocab]);
runs, their address (Run [n_runs]), and the numbers of all rows, sequence by sequence (int32 [n_rows])."""

Run = Struct("Run", ("seq", "position", "first", "count", "source", "target", "mark", "mark_slot"))
"""The rows of one sequence in the batch: count of them, order[first], order[first + 1], ..., the first at `position`.
For layers that keep one state of the whole past: it is read from slot `source` (below 0: all zeros) and left in slot
`target`, another one; as it stands before row `mark` of the run it is kept in `mark_slot`, too (below 0: it is not)."""

RUN_BYTES = Run.size


PAST_ALL = 1 << 40
"""More than any number of units, yet small enough to be multiplied by the size of one."""


def claim(thread, n):
    """The first of n units of work that this thread may do, or a number past all units once cancelled."""
    t = Thread(thread)
    if atomic_load(t.cancel) != 0:
        return PAST_ALL
    return atomic_add(t.counter, n)
