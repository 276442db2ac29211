"""The program of `workers`: `jit`, which ends when the process that started it does, however that ends."""

from __future__ import annotations

import os
import sys
import threading
import time

from . import jit

_LOOK_SECONDS = 0.5


def _end_with(parent: int) -> None:
    """Nobody wants what is compiled for a process that is gone."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    if sys.platform != "win32":
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    jit.main()
