"""The loops that threads run: waiting for jobs, and the replay of a plan.

Nothing of Python runs between the first and the last operation of a plan. Operations that may run at the same time
form a stage. All that threads agree on is one word, the team's state, and it is changed by compare and exchange alone:

    stage << 16 | IDLE | CALLER | CLOSED | number of threads inside the stage

- A thread enters the stage that the word names, one more inside, unless it is CLOSED or IDLE.
- Inside, it claims work until there is no more, and leaves: it closes the stage, since all work is claimed, with one
  less inside.
- Who would leave as the last stays, alone inside a closed stage: nobody else can enter or leave. It clears the claim
  counters, reads the cancel word for all, and stores the next stage's word, or IDLE after the last stage.

So a stage ends when its work is done, not when all threads have come: one that the system has put to sleep outside of a
stage holds up nobody, and finds the word of a later stage when it wakes. Stages are numbered for ever, never again from
0: no thread can take one for another. Memory of a plan, its operations included, is touched inside stages only, and a
job does not end while a thread is inside: once IDLE is seen, the plan may be freed.
"""

from .simd import Struct, atomic_load, atomic_store, atomic_swap, call_kernel, call_yield, cycles, pause, store
from .thread import Thread

Team = Struct(
    "Team",
    (
        "state", "state_gap1", "state_gap2", "state_gap3", "state_gap4", "state_gap5", "state_gap6", "state_gap7",
        "first", "stop", "begun", "ops", "n_ops", "cancel", "first_gap1", "first_gap2",
        "yield_", "spins",
    ),
)  # fmt: skip
"""state: above. Of the job: first: index of the stage's first operation; stop: the cancel word as all threads saw it;
begun: cycles when the stage began, for teams that time; ops: n_ops Op blocks; cancel: address of the cancel word.
yield_: address of sched_yield; spins: looks before yielding."""

Op = Struct("Op", ("kernel", "params", "counter", "ends_stage"))
"""kernel, params: addresses; counter: address of its claim counter; ends_stage: 1 for the last operation of a stage."""

Job = Struct("Job", ("ops", "n_ops", "cancel", "flags"))
"""What to replay: see Team. flags: CALLER, or 0."""

Wait = Struct("Wait", ("looks", "done"))
"""looks: how often to look for a job before giving up; done: set to 1 when a job without CALLER has ended."""

IDLE, CALLER, CLOSED = 1 << 15, 1 << 14, 1 << 13
"""No job; the caller replays this job itself, in the place of thread 0; all work of the stage is claimed."""
INSIDE = CLOSED - 1
STAGE = 16
STATE, FIRST, STOP, BEGUN = (Team.offset(f) for f in ("state", "first", "stop", "begun"))
OPS, N_OPS, CANCEL = (Team.offset(f) for f in ("ops", "n_ops", "cancel"))
OP_BYTES = Op.size
COUNTER, THREAD_CANCEL = Thread.offset("counter"), Thread.offset("cancel")


def caller():
    """Post the job at params, and with CALLER replay it to its end."""
    replay = replayer(0)
    return _caller(replay, 0)


def timed_caller():
    """The same, adding up the cycles of each stage in the word after the counter of its last operation."""
    replay = replayer(1)
    return _caller(replay, 1)


def _caller(replay, timed):
    def kernel(params, thread):
        job = Job(params)
        t = Thread(thread).team
        store(t + FIRST, 0)
        store(t + STOP, 0)
        store(t + OPS, job.ops)
        store(t + N_OPS, job.n_ops)
        store(t + CANCEL, job.cancel)
        if timed:
            store(t + BEGUN, cycles())
        state = ((atomic_load(t + STATE) >> STAGE) + 1) << STAGE
        atomic_store(t + STATE, state | job.flags)
        if job.flags == CALLER:
            replay(t, thread, CALLER)

    return kernel


def server(timed: int):
    """Take part in jobs; return after one that the caller waits for, or when there was none for a while."""
    replay = replayer(timed)

    def kernel(params, thread):
        t = Thread(thread).team
        team = Team(t)
        w = Wait(params)
        first = Thread(thread).ith == 0
        n = 0
        while n < w.looks:
            state = atomic_load(t + STATE)
            if state & IDLE != 0 or (first and state & CALLER != 0):
                n += 1
                give_way(team, n)
            else:
                replay(t, thread, state & CALLER)
                n = 0
                if state & CALLER == 0:
                    store(params + DONE, 1)
                    n = w.looks

    return kernel


DONE = Wait.offset("done")


def give_way(team, n):
    """Spin, then give way: who waits for a thread that lost its core must not burn the core that it needs."""
    pause()
    if n > team.spins:
        call_yield(team.yield_)


def replayer(timed):
    """replay(team, thread, kind): take part in the job until it is over, and in those that follow it at once, if they
    are of its kind (CALLER or 0): of thread 0 there are two, and the caller's own jobs are not the helper's."""

    def replay(t, thread, kind):
        team = Team(t)
        state = atomic_load(t + STATE)
        n = 0
        while state & IDLE == 0 and state & CALLER == kind:
            if state & CLOSED != 0:
                n += 1
                give_way(team, n)
                state = atomic_load(t + STATE)
            else:
                seen = atomic_swap(t + STATE, state, state + 1)
                if seen == state:
                    inside(t, thread)
                    n = 0
                    seen = atomic_load(t + STATE)
                state = seen

    def inside(t, thread):
        """From entering a stage to leaving one: who is the last goes on with the next."""
        store(thread + THREAD_CANCEL, atomic_load(t + CANCEL))
        i = atomic_load(t + FIRST)
        alone = True
        while alone:
            i = operations(atomic_load(t + OPS), i, thread)
            alone = leave(t)
            if alone:
                alone = advance(t, i)

    def operations(ops, i, thread):
        """The operations of a stage; where the next one begins."""
        ends_stage = 0
        while ends_stage == 0:
            op = Op(ops + i * OP_BYTES)
            store(thread + COUNTER, op.counter)
            call_kernel(op.kernel, op.params, thread)
            ends_stage = op.ends_stage
            i += 1
        return i

    def leave(t):
        """Close the stage and leave it, or stay as the last one inside: True."""
        state = atomic_load(t + STATE)
        while True:
            after = (state | CLOSED) - 1
            if state & INSIDE == 1:
                after = state | CLOSED
            seen = atomic_swap(t + STATE, state, after)
            if seen == state:
                return after & INSIDE == 1 and state & INSIDE == 1
            state = seen

    def advance(t, i):
        """End the stage before operation i; True, and inside the next one, if there is one."""
        ops = atomic_load(t + OPS)
        n_ops = atomic_load(t + N_OPS)
        j = i - 1
        while j >= 0 and j >= atomic_load(t + FIRST):
            store(Op(ops + j * OP_BYTES).counter, 0)
            j -= 1
        if timed:
            now = cycles()
            total = Op(ops + (i - 1) * OP_BYTES).counter + 8
            store(total, atomic_load(total) + now - atomic_load(t + BEGUN))
            store(t + BEGUN, now)
        stop = atomic_load(atomic_load(t + CANCEL))
        state = atomic_load(t + STATE)
        following = (((state >> STAGE) + 1) << STAGE) | (state & CALLER)
        if stop != 0 or i >= n_ops:
            store(t + STOP, stop)
            atomic_store(t + STATE, following | IDLE)
            return False
        store(t + FIRST, i)
        atomic_store(t + STATE, following + 1)
        return True

    return replay
