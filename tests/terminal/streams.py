"""Streams that are terminals, or are not."""

from __future__ import annotations

import io


class Stream(io.StringIO):
    encoding = "utf-8"

    def __init__(self, terminal, encoding="utf-8"):
        super().__init__()
        self.terminal, self.encoding = terminal, encoding

    def isatty(self):
        return self.terminal
