"""An answer as it comes, in pieces of any length: styled Markdown on a terminal, the text itself elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from localllm.terminal.safe import Cleaner
from localllm.terminal.screen import Screen

if TYPE_CHECKING:
    from localllm.terminal.document import Document
    from localllm.terminal.thinking import Thinking


class AnswerView:
    """Shows one answer: any number of reasoning() and content(), then end().

    On a terminal that can be drawn upon, content is styled as Markdown. With `plain`, or on a dumb terminal, it is the
    text as it is, with control characters made visible. Where there is no terminal the content passes byte for byte,
    and thinking is not written.
    """

    def __init__(
        self, screen: Screen, plain: bool = False, fold_thinking: bool = False, show_command: str = ""
    ) -> None:
        """fold_thinking: one line that says how long and how many tokens, in place of the text; show_command: what a
        user may type to see it ("/think show")."""
        self.thinking = ""
        """What was thought so far."""
        if not screen.is_terminal:
            self._shown: _Shown = _Through(screen)
        elif plain or not screen.can_redraw:
            self._shown = _Raw(screen, fold_thinking)
        else:
            self._shown = _Styled(screen, fold_thinking, show_command)

    def content(self, text: str) -> None:
        """A piece of the answer."""
        if text:
            self._shown.content(text)

    def reasoning(self, text: str, n_tokens: int = 1) -> None:
        """A piece of what is thought before the answer, and how many tokens it is."""
        self.thinking += text
        self._shown.reasoning(text, n_tokens)

    def end(self) -> None:
        """The answer is over, or was stopped: on a terminal the cursor is at the beginning of a line then."""
        self._shown.end()


class _Shown(ABC):
    @abstractmethod
    def content(self, text: str) -> None: ...

    @abstractmethod
    def reasoning(self, text: str, n_tokens: int) -> None: ...

    @abstractmethod
    def end(self) -> None: ...


class _Through(_Shown):
    """No terminal: the content, byte for byte."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def content(self, text: str) -> None:
        self._screen.write(text)

    def reasoning(self, text: str, n_tokens: int) -> None:
        pass

    def end(self) -> None:
        pass


class _Raw(_Shown):
    """The text as it is, on a terminal; thinking is dimmed where it can be."""

    def __init__(self, screen: Screen, fold_thinking: bool) -> None:
        self._screen, self._fold = screen, fold_thinking
        self._cleaner = Cleaner(screen)
        self._thinks = False
        self._last = "\n"

    def content(self, text: str) -> None:
        if self._thinks:
            self._thinks = False
            self._write("\n" if self._last == "\n" else "\n\n")
        self._write(self._cleaner.clean(text))

    def reasoning(self, text: str, n_tokens: int) -> None:
        if not self._thinks:
            self._thinks = True
            if self._fold:
                self._write("thinking...")
        if not self._fold:
            text = self._cleaner.clean(text)
            self._write(f"\x1b[2m{text}\x1b[0m" if self._screen.can_redraw and text else text, text)

    def end(self) -> None:
        self._write(self._cleaner.end())
        if self._last != "\n":
            self._write("\n")

    def _write(self, text: str, shown: str = "") -> None:
        if text:
            self._last = (shown or text)[-1]
            self._screen.write(text)


class _Styled(_Shown):
    """Markdown, and thinking in its own form above it."""

    def __init__(self, screen: Screen, fold_thinking: bool, show_command: str) -> None:
        from localllm.terminal.live import Live

        self._screen, self._live = screen, Live(screen)
        self._fold, self._show_command = fold_thinking, show_command
        self._cleaner = Cleaner(screen)
        self._thinking: Thinking | None = None
        self._document: Document | None = None

    def content(self, text: str) -> None:
        self._end_thinking()
        if self._document is None:
            from localllm.terminal.document import Document

            self._document = Document(self._screen)
        self._document.feed(self._cleaner.clean(text))
        self._live.show(self._document.final(), self._document.open_lines())

    def reasoning(self, text: str, n_tokens: int) -> None:
        self._end_document()
        if self._thinking is None:
            from localllm.terminal.thinking import Folded, Unfolded

            self._thinking = Folded(self._screen, self._show_command) if self._fold else Unfolded(self._screen)
        self._live.show(*self._thinking.add(self._cleaner.clean(text), n_tokens))

    def end(self) -> None:
        self._end_thinking()
        self._end_document()
        self._live.end()

    def _end_thinking(self) -> None:
        if self._thinking:
            self._thinking.add(self._cleaner.end(), 0)
            self._live.show(self._thinking.end(), [])
            self._thinking = None

    def _end_document(self) -> None:
        if self._document:
            self._document.feed(self._cleaner.end())
            self._document.close()
            self._live.show(self._document.final(), [])
            self._document = None
