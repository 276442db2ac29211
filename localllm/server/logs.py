"""What the server writes down. Texts of users are not among it, unless that is asked for."""

from __future__ import annotations

import logging
import sys

from localllm.terminal.safe import visible

_MAX_SHOWN = 100_000


class _Visible(logging.Formatter):
    """What clients and files named does not control the terminal that the log is read on."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def configure(requests: bool) -> None:
    """Lines on standard error. requests: a line for each request, with the path of its endpoint and its status."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Visible("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    log = logging.getLogger("localllm")
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
    logging.getLogger("localllm.server.access").setLevel(logging.INFO if requests else logging.WARNING)
    # What uvicorn would say of bad requests is told to the client, and errors of the application are logged by it.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


def log_prompt(request_id: str, text: str) -> None:
    """A prompt as the model reads it."""
    cut = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + f" [{len(text) - _MAX_SHOWN} characters more]"
    logging.getLogger("localllm.server").info("%s prompt: %r", request_id, cut)
