"""An answer as it comes, in pieces of any length: styled Markdown on a terminal, the text itself elsewhere."""

from __future__ import annotations

from localllm.terminal.safe import visible
from localllm.terminal.screen import Screen

_DIM, _NORMAL = "\x1b[2m", "\x1b[0m"


class AnswerView:
    """Shows one answer: any number of reasoning() and content(), then end()."""

    def __init__(self, screen: Screen, plain: bool = False, fold_thinking: bool = False) -> None:
        """plain: the text as it is, with no more than control characters made visible on a terminal. Where there is no
        terminal the content passes byte for byte, and thinking is not written."""
        self.thinking = ""
        """What was thought so far."""
        self._screen = screen
        self._last = "\n"

    def content(self, text: str) -> None:
        """A piece of the answer."""
        self._write(visible(text, self._screen.unicode) if self._screen.is_terminal else text)

    def reasoning(self, text: str, n_tokens: int = 1) -> None:
        """A piece of what is thought before the answer, and how many tokens it is."""
        self.thinking += text
        if self._screen.is_terminal:
            shown = visible(text, self._screen.unicode)
            self._write(f"{_DIM}{shown}{_NORMAL}" if self._screen.can_redraw else shown)

    def end(self) -> None:
        """The answer is over, or was stopped: on a terminal the cursor is at the beginning of a line then."""
        if self._screen.is_terminal and self._last != "\n":
            self._write("\n")

    def _write(self, text: str) -> None:
        if text:
            self._last = text[-1]
            self._screen.write(text)
