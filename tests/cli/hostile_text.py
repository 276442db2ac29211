"""Texts that would control a terminal, and how to see that none does."""

from __future__ import annotations

import re

HOSTILE = (
    "\x1b]0;stolen\x07"  # the title
    "\x1b]52;c;c3RvbGVu\x1b\\"  # the clipboard
    "\x1b[2J\x1b[1;1H\x1b[31m"  # the screen, the cursor, the colour
    "\x1b[c\x1b[6n\x1bP+q544e\x1b\\\x1b[21t"  # questions, whose answers would be typed
    "\x9b31m\x9d0;stolen\x9c\x90q\x9c"  # the same by C1
    "\x08\x7f\r\x0b\x0c\x0e\x05"
    "\u202eevil\u2066\u2069"
)
"""One of each."""

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
OWN = re.compile(r"\x1b\[[0-9;]*[mK]|\r\n|\r")
"""What localllm itself may send where no cursor is moved up: styles, erasing to the end of a line, and its return."""


def controls(written: str) -> list[str]:
    """What a terminal would take as a command, but for localllm's own."""
    return CONTROLS.findall(OWN.sub("", written))
