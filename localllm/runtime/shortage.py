"""What the system has no more of, when something fails that nobody raised on purpose."""

from __future__ import annotations

import errno
import re

_UNMAPPED = re.compile("failed to map segment|cannot allocate memory", re.IGNORECASE)
"""How the loader of libraries says that memory was short."""
_FILES = (errno.EMFILE, errno.ENFILE)


def shortage(error: BaseException) -> str:
    """Memory, files or threads, in words for people, if an error is about these, or comes from one that is;
    or ""."""
    cause: BaseException | None = error
    while cause:
        number = getattr(cause, "errno", None)
        if isinstance(cause, MemoryError) or number == errno.ENOMEM or _UNMAPPED.search(str(cause)):
            return "not enough memory"
        if number in _FILES:
            return "the system lets this process open no more files (ulimit -n)"
        if isinstance(cause, RuntimeError) and "can't start new thread" in str(cause):
            return "the system lets this process start no more threads (ulimit -u, or memory)"
        cause = cause.__cause__ or cause.__context__
    return ""
