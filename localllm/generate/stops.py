"""Stop strings, found in a stream of pieces and never let through, also when they are split over pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Holds back only what may be the head of a stop string."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(s for s in stops if s)
        self._held = ""
        self.found = ""
        """The stop string that ended the text; empty until then."""

    def push(self, piece: str) -> str:
        """What of the text so far may be shown now."""
        if self.found:
            return ""
        text = self._held + piece
        at, found = min(((text.find(s), s) for s in self._stops if s in text), default=(len(text), ""))
        if found:
            self.found, self._held = found, ""
            return text[:at]
        held = max((_overlap(text, s) for s in self._stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def finish(self) -> str:
        """What was held back and turned out to be no stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`, without being all of it."""
    for n in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-n:]):
            return n
    return 0
