"""Who is served next: users take turns, and each user's requests come in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from localllm.engine.lane import Lane


class FairQueue:
    """Lanes that wait for a slot. Users come round robin; a lane may be passed over for now."""

    def __init__(self) -> None:
        self._users: dict[str, deque[Lane]] = {}
        """In the order of their turns."""

    def __len__(self) -> int:
        """Requests that wait; further answers of one that was begun do not count."""
        return sum(lane.index == 0 for lane in self)

    def __iter__(self) -> Iterator[Lane]:
        for lanes in self._users.values():
            yield from lanes

    @property
    def empty(self) -> bool:
        return not self._users

    def push(self, lane: Lane) -> None:
        """To the end of its user's lanes."""
        self._users.setdefault(lane.job.request.user, deque()).append(lane)

    def push_first(self, lanes: list[Lane]) -> None:
        """Before the other lanes of their user: further answers of a request that was begun."""
        for lane in reversed(lanes):
            self._users.setdefault(lane.job.request.user, deque()).appendleft(lane)

    def pop(self, ready: Callable[[Lane], bool] = lambda _: True) -> Lane | None:
        """The next lane that is ready, of the next user who has one; this user then comes last."""
        for user, lanes in list(self._users.items()):
            lane = next((lane for lane in lanes if ready(lane)), None)
            if lane is not None:
                lanes.remove(lane)
                del self._users[user]
                if lanes:
                    self._users[user] = lanes
                return lane
        return None

    def remove(self, gone: Callable[[Lane], bool]) -> list[Lane]:
        """Take out the lanes of which `gone` is true."""
        found = [lane for lane in self if gone(lane)]
        if found:
            for user, lanes in list(self._users.items()):
                left = deque(lane for lane in lanes if lane not in found)
                if left:
                    self._users[user] = left
                else:
                    del self._users[user]
        return found
