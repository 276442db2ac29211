"""What is worth another try, and how long to wait before it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.error import URLError

from localllm.store.web import BROKEN, StatusError

ATTEMPTS = 5
"""In a row without a byte of progress."""
PAUSE = 1.0
"""Seconds before the second attempt; doubled before each further one."""
_LONGEST_PAUSE = 60.0
_PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that may be others in a moment."""
_Result = TypeVar("_Result")


def may_pass(error: Exception) -> bool:
    """Whether the same request may succeed in a moment: a lost connection, a busy server."""
    status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return status in _PASSING
    inner = error.reason if isinstance(error, URLError) else error
    if isinstance(inner, ssl.SSLCertVerificationError):
        return False
    return isinstance(error, BROKEN) or type(error).__module__.startswith("httpx")


def pause(attempt: int, error: Exception) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1): what the server asks for, within reason."""
    asked = error.headers.get("Retry-After", "") if isinstance(error, StatusError) else ""
    waited = PAUSE * 2.0 ** (attempt - 1)
    return min(max(waited, float(asked)) if asked.isdecimal() else waited, _LONGEST_PAUSE)


def patiently(action: Callable[[], _Result], attempts: int = 3) -> _Result:
    """Does `action` until it succeeds, a few times; raises what the last attempt raised."""
    for attempt in range(1, attempts):
        try:
            return action()
        except Exception as error:
            if not may_pass(error):
                raise
            time.sleep(pause(attempt, error))
    return action()
