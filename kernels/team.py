"""The loops that threads run: a worker that waits for plans, and the replay of a plan.

Nothing of Python runs between the first and the last operation of a plan. Between operations of different stages all
threads meet at a barrier; the last to arrive decides whether the plan goes on, so that all decide alike.
"""

from .simd import Struct, atomic_add, atomic_load, atomic_store, call_kernel, call_yield, cycles, pause, store
from .thread import Thread

Team = Struct(
    "Team",
    (
        "job", "job_gap1", "job_gap2", "job_gap3", "job_gap4", "job_gap5", "job_gap6", "job_gap7",
        "arrived", "arrived_gap1", "arrived_gap2", "arrived_gap3", "arrived_gap4", "arrived_gap5",
        "arrived_gap6", "arrived_gap7",
        "generation", "generation_gap1", "generation_gap2", "generation_gap3", "generation_gap4", "generation_gap5",
        "generation_gap6", "generation_gap7",
        "stop", "n_threads", "ops", "n_ops", "yield_", "spins",
    ),
)  # fmt: skip
"""job: number of the job to do, raised by the caller; arrived, generation: the barrier (a cache line each); stop: the
cancel word as the barrier saw it; ops: Op blocks; yield_: address of sched_yield; spins: looks before yielding."""

Op = Struct("Op", ("kernel", "params", "counter", "meet"))
"""kernel, params: addresses; counter: address of its claim counter; meet: 1 where a stage ends."""


def barrier(t, thread, first_op, last_op):
    """Wait for all threads; the last to arrive clears the claim counters of the operations that ended."""
    generation = atomic_load(t + GENERATION)
    team = Team(t)
    if atomic_add(t + ARRIVED, 1) == team.n_threads - 1:
        for i in range(first_op, last_op + 1):
            store(Op(team.ops + i * OP_BYTES).counter, 0)
        store(t + STOP, atomic_load(Thread(thread).cancel))
        atomic_store(t + ARRIVED, 0)
        atomic_store(t + GENERATION, generation + 1)
    else:
        wait_change(t, t + GENERATION, generation)


def wait_change(t, address, old):
    """Spin, then give way: who waits for a thread that lost its core must not burn the core that it needs."""
    team = Team(t)
    n = 0
    while atomic_load(address) == old:
        pause()
        n += 1
        if n > team.spins:
            call_yield(team.yield_)


ARRIVED, GENERATION, STOP, JOB = (Team.offset(f) for f in ("arrived", "generation", "stop", "job"))
OP_BYTES = Op.size


def worker(timed: int):
    """Do one job: replay the team's plan. Takes the thread block in both arguments; returns when the plan has ended.

    timed: 1 to add up the cycles from barrier to barrier, as the first thread sees them, in the word after a counter.
    """

    def kernel(params, thread):
        t = Thread(thread).team
        team = Team(t)
        n_ops, ops = team.n_ops, team.ops
        first = 0
        i = 0
        before = cycles()
        while i < n_ops:
            op = Op(ops + i * OP_BYTES)
            store(thread + COUNTER, op.counter)
            call_kernel(op.kernel, op.params, thread)
            if op.meet != 0:
                barrier(t, thread, first, i)
                first = i + 1
                if timed and Thread(thread).ith == 0:
                    now = cycles()
                    store(op.counter + 8, atomic_load(op.counter + 8) + now - before)
                    before = now
                if Team(t).stop != 0:
                    i = n_ops
            i += 1

    return kernel


COUNTER = Thread.offset("counter")


def wait():
    """Wait for a job other than the one whose number is at params, for a while; its number replaces the old one."""

    def kernel(params, thread):
        t = Thread(thread).team
        team = Team(t)
        w = Wait(params)
        old = w.job
        n = 0
        while atomic_load(t + JOB) == old and n < w.spins:
            pause()
            n += 1
            if n > team.spins:
                call_yield(team.yield_)
        store(params, atomic_load(t + JOB))

    return kernel


Wait = Struct("Wait", ("job", "spins"))
