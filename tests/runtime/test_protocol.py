"""How threads agree on stages: every interleaving of a model of it, and the real thing under stress."""

import random
import threading
import time

import numpy as np
import pytest

from localllm.errors import Cancelled
from localllm.kernels import mix
from localllm.kernels.objects import Key
from localllm.kernels.team import CALLER, CLOSED, IDLE, INSIDE, STAGE, Team
from localllm.runtime import team as runtime
from localllm.runtime.plan import Plan

N_STAGES, N_UNITS = 2, 2
JOBS = (0, CALLER, 0, CALLER)
"""What the caller posts, one after another, and waits for: for the helpers alone, or with itself as thread 0."""
INSIDE_OF = ("claim", "work", "leave", "alone", "advance")


def steps(world, i):
    """The world after the next atomic step of thread i: 0 is the caller, the others are helpers 0, 1, ... A world is
    the state word, units claimed, units done of each stage, and each thread: (where, what it saw or looks for).
    Mirrors kernels/team.py; nothing is ever touched while IDLE."""
    state, claimed, done, threads = world
    where, seen = threads[i]

    def to(where, seen=0, state=state, claimed=claimed, done=done):
        return state, claimed, done, (*threads[:i], (where, seen), *threads[i + 1 :])

    stage = state >> STAGE
    if where == "post":  # seen: jobs that are over
        if seen == len(JOBS) or not state & IDLE:
            return world
        posted = ((stage + 1) << STAGE) | JOBS[seen]
        return to("look" if JOBS[seen] == CALLER else "post", seen + 1, state=posted, done=(*done, *(0,) * N_STAGES))
    if where == "serve":
        stays = state & IDLE or (i == 1 and state & CALLER)
        return world if stays else to("look", state & CALLER)
    if where == "look":  # seen: the kind of job to take part in; of the caller, how many it has posted
        if state & IDLE or state & CALLER != (CALLER if i == 0 else seen):
            return to("post", seen) if i == 0 else to("serve")
        return world if state & CLOSED else to("enter", (state, seen))
    if where == "enter":
        return to("claim", seen[1], state=state + 1) if state == seen[0] else to("look", seen[1])
    assert not state & IDLE, "a thread is inside, and the job is over"
    assert i > 1 or threads[1 - i][0] not in INSIDE_OF, "the caller and helper 0, who are one thread 0, are both inside"
    if where == "claim":
        if claimed < N_UNITS:
            return to("work", seen, claimed=claimed + 1)
        return to("leave", (state, seen))
    place = len(done) - N_STAGES + (stage - 1) % (N_STAGES + 1)
    if where == "work":
        assert all(d == N_UNITS for d in done[:place]), "a stage began before the one before it ended"
        assert done[place] < N_UNITS, "work was done twice"
        return to("claim", seen, done=(*done[:place], done[place] + 1, *done[place + 1 :]))
    if where == "leave":
        if state != seen[0]:
            return to("leave", (state, seen[1]))
        if state & INSIDE == 1:
            return to("alone", seen[1], state=state | CLOSED)
        return to("look", seen[1], state=(state | CLOSED) - 1)
    if where == "alone":
        assert done[place] == N_UNITS, "a stage ended before its work was done"
        assert state & INSIDE == 1
        return to("advance", seen, claimed=0)
    following = ((stage + 1) << STAGE) | (state & CALLER)
    if (stage - 1) % (N_STAGES + 1) == N_STAGES - 1:
        return to("look", seen, state=following | IDLE)
    return to("claim", seen, state=following + 1)


@pytest.mark.parametrize("n_helpers", [1, 2])
def test_every_interleaving(n_helpers):
    start = (IDLE, 0, (), (("post", 0), *(("serve", 0),) * n_helpers))
    worlds, fresh, ends = {start}, [start], 0
    while fresh:
        world = fresh.pop()
        following = {steps(world, i) for i in range(n_helpers + 1)} - {world}
        if not following:
            ends += 1
            assert world[2] == (N_UNITS,) * N_STAGES * len(JOBS), "threads wait for each other"
        for one in following - worlds:
            worlds.add(one)
            fresh.append(one)
    assert ends == 1


ROWS, WIDTH = 7, 1024


class Chain:
    """Stages whose results depend on their order, each unit done once: a += b / 2, b += a / 4, ..."""

    def __init__(self, n_stages):
        self.n_rows = np.array([ROWS])
        self.a, self.b = (np.empty((ROWS, WIDTH), np.float32) for _ in "ab")
        plan = Plan("chain")
        for i in range(n_stages):
            x, out, factor = (self.b, self.a, 0.5) if i % 2 == 0 else (self.a, self.b, -0.25)
            plan.op(
                f"{i}", Key("mix", "add"), mix.AddParams, (), n_rows_at=int(self.n_rows.ctypes.data), n=WIDTH,
                x=int(x.ctypes.data), factor=factor, add=int(out.ctypes.data), out=int(out.ctypes.data),
            )  # fmt: skip
        self.bound = plan.bind(0)

    def run(self, team, cancel, quick):
        self.a[:], self.b[:] = np.arange(WIDTH), 1
        self.bound.seconds_a_row = 0.0 if quick else float("inf")
        team.run(self.bound, cancel)
        return self.a.tobytes() + self.b.tobytes()


@pytest.fixture
def team():
    # Many more than cores, so that threads lose their core anywhere.
    team = runtime.Team(9)
    yield team
    team.close()


def test_stages_under_stress(team):
    chain, cancel = Chain(101), np.zeros(1, np.int64)
    alone = runtime.Team(1)
    expected = chain.run(alone, cancel, True)
    alone.close()
    for i in range(300):
        assert chain.run(team, cancel, bool(i % 5)) == expected
        if i % 50 == 0:
            time.sleep(0.02)
    assert not chain.bound.counters[:: 64 // 8].any()
    assert int(team._words[Team.offset("state") // 8]) & ~CALLER & ((1 << STAGE) - 1) == IDLE


def test_cancel_under_stress(team):
    """Whatever moment the word comes at: all threads stop, and the next run is whole."""
    chain, cancel = Chain(10001), np.zeros(1, np.int64)
    expected = chain.run(team, cancel, True)
    chance = random.Random(1)
    cancelled = 0
    for i in range(60):
        cancel[0] = 0
        timer = threading.Timer(chance.random() * 0.01, cancel.__setitem__, (0, 1))
        timer.start()
        try:
            assert chain.run(team, cancel, bool(i % 2)) == expected
        except Cancelled:
            cancelled += 1
        timer.join()
        assert not chain.bound.counters[:: 64 // 8].any()
    assert cancelled
    cancel[0] = 0
    assert chain.run(team, cancel, True) == expected


def test_quick_plans_need_no_helper():
    """The caller replays them alone, if need be: one thread starts no other."""
    team = runtime.Team(1)
    before = set(threading.enumerate())  # some of which may be ending
    chain, cancel = Chain(5), np.zeros(1, np.int64)
    chain.run(team, cancel, True)
    assert set(threading.enumerate()) <= before
    chain.run(team, cancel, False)
    assert len(set(threading.enumerate()) - before) == 1
    team.close()
