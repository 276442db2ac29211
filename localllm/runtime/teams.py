"""Teams of the sizes that passes want: few rows wait for memory, many compute, and their fastest numbers of threads
differ. Results do not: they have the same bits for any number."""

from __future__ import annotations

import numpy as np

from localllm.errors import LocalllmError
from localllm.runtime.plan import Bound
from localllm.runtime.team import Team
from localllm.runtime.tuned import Threads
from localllm.runtime.turn import Turn


class Teams:
    """Runs each plan on the team for its number of rows; teams are made when first needed, and those that have nothing
    to do sleep. `threads` may be set to others between runs."""

    def __init__(self, threads: Threads, few_rows: int) -> None:
        self.threads = threads
        self._few_rows = few_rows
        self._teams: dict[int, Team] = {}
        self._closed = False
        self._turn = Turn()
        """Runs of all teams follow one another: together they would want more cores than there are."""

    def of(self, rows: int) -> Team:
        """The team for passes of so many rows."""
        n = self.threads.decode if rows <= self._few_rows else self.threads.prompt
        team = self._teams.get(n)
        if team is None:
            with self._turn:
                if self._closed:
                    raise LocalllmError("the model is closed")
                team = self._teams.setdefault(n, Team(n, self._turn))
        return team

    def run(self, plan: Bound, cancel: np.ndarray, rows: int = 1) -> None:
        """As `Team.run`."""
        self.of(rows).run(plan, cancel, rows)

    def close(self) -> None:
        """Let all threads end, once the run that is under way has; then nothing runs any more."""
        with self._turn:
            self._closed = True
        for team in list(self._teams.values()):
            team.close()
