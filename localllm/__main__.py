"""The command `localllm`, and `python -m localllm`.

Until it has begun, and once it is over, a signal ends the process in silence, as it does programs in C: nothing has to
be put in order.
"""

import signal
import sys


def main() -> int:
    """The exit status."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from localllm.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
