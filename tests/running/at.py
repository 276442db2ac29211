"""`localllm` that sends itself a signal when some function is called: python -m tests.running.at SIGNAL NAME N ...

NAME: of a function, in Python or in C, or "*"; N: which of its calls, counted from 1 once the command line has begun.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any


def main() -> int:
    number, name, n = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    sys.argv[1:] = sys.argv[4:]
    left = [n]

    def look(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            called = frame.f_code.co_name
        elif event == "c_call":
            called = arg.__name__
        else:
            return
        if name in (called, "*"):
            left[0] -= 1
            if not left[0]:
                sys.setprofile(None)
                signal.raise_signal(number)

    from localllm.__main__ import main as run

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as its first line does
    sys.setprofile(look)
    return run()


if __name__ == "__main__":
    sys.exit(main())
