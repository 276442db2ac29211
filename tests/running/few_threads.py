"""`localllm` where the system lets no more than so many threads start, as under RLIMIT_NPROC, which does not hold for
root: python -m tests.running.few_threads N ARGUMENTS. `localllm.signals` starts its own otherwise."""

from __future__ import annotations

import sys
import threading
from typing import Any

from localllm.__main__ import main


def limit(n: int) -> None:
    """From now on n threads start, and no more."""
    inner, left = threading._start_new_thread, [n]  # type: ignore[attr-defined]

    def start(*given: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("can't start new thread")
        return inner(*given)

    threading._start_new_thread = start  # type: ignore[attr-defined]


if __name__ == "__main__":
    limit(int(sys.argv[1]))
    del sys.argv[1]
    sys.exit(main())
