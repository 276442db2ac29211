"""The editor of messages in a terminal, by prompt_toolkit: history, completion, several lines, long pastes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input.typeahead import store_typeahead
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyBindings, KeyPress, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import ColorDepth

from localllm.chat.plain import Cleared, is_open
from localllm.chat.quiet import typed_ahead

_MANY_LINES, _MANY_CHARACTERS = 16, 2_000
"""A paste of so much is shown as one mark: to lay out 100 KB at each key would be slow, and nobody reads it there."""
_HISTORY_CHARACTERS = 20_000
"""Longer messages do not go into the history."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_MARK = re.compile(r"\[pasted [\d,]+ (?:lines|characters)(?: #\d+)?\]")

Suggest = Callable[[str], Iterable[tuple[str, int, str]]]
"""suggest(text before the cursor) -> (what may stand there, how many characters it replaces, what it is)."""


class Pastes:
    """Long texts, and the marks that stand for them."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def fold(self, text: str) -> str:
        """The text, or a mark where it is long."""
        n_lines = text.count("\n") + 1
        if n_lines < _MANY_LINES and len(text) < _MANY_CHARACTERS:
            return text
        what = f"{n_lines:,} lines" if n_lines > 1 else f"{len(text):,} characters"
        mark, n = f"[pasted {what}]", 1
        while self._texts.get(mark, text) != text:
            n += 1
            mark = f"[pasted {what} #{n}]"
        self._texts[mark] = text
        return mark

    def unfold(self, text: str) -> str:
        """The text with what its marks stand for. Bytes that are no UTF-8, which a terminal may hand on, become
        U+FFFD: prompt_toolkit makes surrogates of them, which nothing can be written with."""
        whole = _MARK.sub(lambda mark: self._texts.get(mark[0], mark[0]), text)
        return _SURROGATE.sub("\ufffd", whole)


class Editor:
    """A Reader (localllm.chat.plain) for people."""

    interactive = True

    def __init__(self, history: Path | None, suggest: Suggest, on_note: Callable[[str], None]) -> None:
        """history: the file of past messages; None: they are forgotten at the end."""
        self._pastes = Pastes()
        kept = _FileHistory(history, self._pastes.unfold, on_note) if history else InMemoryHistory()
        self._session = self._new_session(kept, _Completer(suggest))

    @cached_property
    def _questions(self) -> PromptSession[str]:
        return self._new_session(InMemoryHistory())

    def _new_session(self, history: History, completer: Completer | None = None) -> PromptSession[str]:
        return PromptSession(
            history=history, completer=completer, complete_while_typing=False, multiline=True,
            prompt_continuation=_continuation, key_bindings=self._keys(), enable_suspend=True,
            enable_open_in_editor=True, color_depth=ColorDepth.DEPTH_1_BIT if os.environ.get("NO_COLOR") else None,
        )  # fmt: skip

    def line(self, prompt: str, default: str = "") -> str:
        self._expect(typed_ahead(self._session.app.input.fileno()))
        return self._pastes.unfold(self._session.prompt(prompt, default=self._pastes.fold(default)))

    def answer(self, question: str) -> str:
        return self._questions.prompt(question)

    def _expect(self, keys: str) -> None:
        """The next prompt begins with these keys."""
        if keys:
            found: list[KeyPress] = []
            parser = Vt100Parser(found.append)
            parser.feed_and_flush(keys)
            store_typeahead(self._session.app.input, found)

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("enter")
        def _enter(event: KeyPressEvent) -> None:
            if is_open(event.current_buffer.text):
                event.current_buffer.insert_text("\n")
            else:
                event.current_buffer.validate_and_handle()

        @keys.add("escape", "enter")
        @keys.add("c-j")
        def _new_line(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add("c-c")
        def _stop(event: KeyPressEvent) -> None:
            event.app.exit(
                exception=Cleared if event.current_buffer.text else KeyboardInterrupt, style="class:aborting"
            )

        @keys.add(Keys.BracketedPaste)
        def _paste(event: KeyPressEvent) -> None:
            text = event.data.replace("\r\n", "\n").replace("\r", "\n")
            event.current_buffer.insert_text(self._pastes.fold(text))

        return keys


def _continuation(_width: int, _line: int, is_wrapped: int) -> str:
    """What stands before the second line of a message, and those that follow, but not where a long line is wrapped."""
    return "" if is_wrapped else "... "


class _Completer(Completer):
    def __init__(self, suggest: Suggest) -> None:
        self._suggest = suggest

    def get_completions(self, document: Document, _event: CompleteEvent) -> Iterator[Completion]:
        for text, n_replaced, about in self._suggest(document.text_before_cursor):
            yield Completion(text, -n_replaced, display_meta=about)


class _FileHistory(FileHistory):
    """What was entered, with what its marks stand for. A disk that is full does not end the chat."""

    def __init__(self, path: Path, unfold: Callable[[str], str], on_note: Callable[[str], None]) -> None:
        super().__init__(str(path))
        self._path, self._unfold, self._note = path, unfold, on_note
        self._is_broken = False

    def load_history_strings(self) -> Iterable[str]:
        with suppress(OSError):  # told when something is to be written
            yield from super().load_history_strings()

    def append_string(self, string: str) -> None:
        text = self._unfold(string)
        if len(text) <= _HISTORY_CHARACTERS:
            super().append_string(text)

    def store_string(self, string: str) -> None:
        if self._is_broken:
            return
        try:
            super().store_string(string)
        except OSError as error:
            self._is_broken = True
            self._note(f"{self._path}: messages are not kept in the history: {error.strerror}")
