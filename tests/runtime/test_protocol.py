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

N_STAGES, N_UNITS = 3, 2


def steps(world, i):
    """The world that thread i's next atomic step leads to. A world: the state word, units claimed, units done of each
    stage, and each thread: (where, the state it saw). Mirrors kernels/team.py; nothing is ever touched while
    IDLE."""
    state, claimed, done, threads = world
    where, seen = threads[i]

    def to(where, seen=0, state=state, claimed=claimed, done=done):
        return state, claimed, done, (*threads[:i], (where, seen), *threads[i + 1 :])

    stage = state >> STAGE
    if where == "look":
        if state & IDLE:
            return to("away")
        return to("look") if state & CLOSED else to("enter", state)
    if where == "enter":
        return to("claim", state=state + 1) if state == seen else to("look")
    assert not state & IDLE, "a thread is inside, and the job is over"
    if where == "claim":
        if claimed < N_UNITS:
            return to("work", claimed=claimed + 1)
        return to("leave", state)
    if where == "work":
        assert all(d == N_UNITS for d in done[:stage]), "a stage began before the one before it ended"
        assert done[stage] < N_UNITS, "work was done twice"
        return to("claim", done=(*done[:stage], done[stage] + 1, *done[stage + 1 :]))
    if where == "leave":
        if state != seen:
            return to("leave", state)
        if state & INSIDE == 1:
            return to("alone", state=state | CLOSED)
        return to("look", state=(state | CLOSED) - 1)
    if where == "alone":
        assert done[stage] == N_UNITS, "a stage ended before its work was done"
        assert state & INSIDE == 1
        return to("advance", claimed=0)
    following = (stage + 1) << STAGE
    return to("look", state=following | IDLE) if stage + 1 == N_STAGES else to("claim", state=following + 1)


@pytest.mark.parametrize("n_threads", [1, 2, 3, 4])
def test_every_interleaving(n_threads):
    start = (0, 0, (0,) * N_STAGES, (("look", 0),) * n_threads)
    worlds, fresh = {start}, [start]
    while fresh:
        world = fresh.pop()
        following = {steps(world, i) for i in range(n_threads) if world[3][i][0] != "away"}
        if not following:
            assert world[2] == (N_UNITS,) * N_STAGES
        for one in following - worlds:
            worlds.add(one)
            fresh.append(one)
    assert len(worlds) > 10


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
    before = threading.active_count()
    chain, cancel = Chain(5), np.zeros(1, np.int64)
    chain.run(team, cancel, True)
    assert threading.active_count() == before
    chain.run(team, cancel, False)
    assert threading.active_count() == before + 1
    team.close()
