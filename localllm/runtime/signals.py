"""Signals that ask a program to end, as far as a system has them."""

from __future__ import annotations

import signal

TERMINATING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGBREAK") if hasattr(signal, name))
"""To be treated as SIGTERM. Windows sends nothing but Ctrl-C and Ctrl-Break (SIGBREAK): the latter is how programs that
watch over others ask them to end."""
