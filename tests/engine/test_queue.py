from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from localllm.engine.queue import FairQueue


def lane(user, name, index=0) -> Any:
    return SimpleNamespace(job=SimpleNamespace(request=SimpleNamespace(user=user)), name=name, index=index)


def queue_of(*names):
    """A queue of lanes whose user is the first letter of their name."""
    queue = FairQueue()
    for name in names:
        queue.push(lane(name[0], name))
    return queue


def drained(queue, ready=lambda _: True):
    out = []
    while popped := queue.pop(ready):
        out.append(popped.name)
    return out


def test_users_take_turns_and_keep_their_order():
    queue = queue_of("a1", "a2", "a3", "b1", "c1", "c2")
    assert len(queue) == 6
    assert drained(queue) == ["a1", "b1", "c1", "a2", "c2", "a3"]
    assert queue.empty


def test_who_was_served_comes_last():
    queue = queue_of("a1", "b1")
    assert queue.pop().name == "a1"
    queue.push(lane("a", "a2"))
    queue.push(lane("c", "c1"))
    assert drained(queue) == ["b1", "a2", "c1"]


def test_further_answers_come_first_and_count_as_no_request():
    queue = queue_of("a1", "a2", "b1")
    queue.push_first([lane("a", "x1", 1), lane("a", "x2", 2)])
    assert len(queue) == 3
    assert drained(queue) == ["x1", "b1", "x2", "a1", "a2"]


def test_what_is_not_ready_is_passed_over():
    queue = queue_of("a1", "a2", "b1")
    assert drained(queue, lambda lane: lane.name != "a1") == ["a2", "b1"]
    assert [lane.name for lane in queue] == ["a1"]


def test_removal():
    queue = queue_of("a1", "a2", "b1", "c1")
    assert [lane.name for lane in queue.remove(lambda lane: lane.name in ("a1", "b1"))] == ["a1", "b1"]
    assert drained(queue) == ["a2", "c1"]
    assert queue.remove(lambda _: True) == []
