"""A chat as commands see it: the conversation, who is there, what is kept; how an answer is shown."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from localllm.chat import files
from localllm.chat.keeping import Keeping
from localllm.chat.notes import ReadingProgress, note
from localllm.chat.plain import Reader, confirmed
from localllm.chat.quiet import quiet
from localllm.errors import ContextFullError
from localllm.terminal.screen import Screen

if TYPE_CHECKING:  # the model is found first: a name that is none is told at once
    from localllm.generate.chat import Chat, ChatModel
    from localllm.generate.reply import Reply
    from localllm.generate.stats import Stats

_SPARE = 512
"""Tokens that an answer should find free; a quarter of a small context."""


class View(Protocol):
    """Shows one answer (localllm.terminal.answer's AnswerView is one)."""

    def content(self, text: str) -> None: ...
    def reasoning(self, text: str) -> None: ...
    def end(self) -> None: ...


@dataclass(frozen=True)
class Models:
    """How /model loads one, and makes a conversation for it."""

    load: Callable[[str | None], ChatModel]
    """By name; None: the default."""
    converse: Callable[[ChatModel], Chat]

    def start(self, name: str | None) -> Chat:
        """A conversation with a model. What is typed meanwhile waits unseen for the prompt."""
        with quiet():
            model = self.load(name)
            try:
                return self.converse(model)
            except BaseException:
                model.close()
                raise


@dataclass
class Totals:
    """What all answers of this chat took."""

    answers: int = 0
    read_tokens: int = 0
    kept_tokens: int = 0
    answer_tokens: int = 0
    read_seconds: float = 0.0
    answer_seconds: float = 0.0
    steps: int = 0

    def add(self, stats: Stats) -> None:
        self.answers += 1
        self.read_tokens += stats.prompt_tokens - stats.cached_tokens
        self.kept_tokens += stats.cached_tokens
        self.answer_tokens += stats.answer_tokens
        self.read_seconds += stats.prompt_seconds
        self.answer_seconds += stats.answer_seconds
        self.steps += stats.steps


@dataclass
class Stop:
    """How often Ctrl-C was pressed during an answer."""

    count: int = 0
    is_patient: bool = False


@dataclass
class Talk:
    """The state of a chat; commands (localllm.chat.commands) change it."""

    chat: Chat
    reader: Reader
    keeping: Keeping
    new_view: Callable[[bool], View]
    """new_view(thinking is folded): shows the next answer."""
    models: Models | None = None
    """None: /model cannot load another one."""
    shows_stats: bool = True
    folds_thinking: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    """Fields of Sampling that /set has changed."""
    attached: dict[str, str] = field(default_factory=dict)
    """Files by name, that go along with the next message."""
    draft: str = ""
    """What stands in the editor's line next."""
    is_leaving: bool = False
    totals: Totals = field(default_factory=Totals)

    def ask(self, message: str) -> None:
        """Answer a message, with the files that go along. Where it does not fit, or its answer ends before the first
        word, whatever the reason, it comes back into the line, and the files wait."""
        text = files.message(self.attached, message) if self.attached else message
        n_turns, answered = self.chat.n_turns, False
        try:
            answered = self._try(text)
        except Exception:
            answered = self.chat.n_turns > n_turns
            raise
        finally:
            if answered:
                self.attached.clear()
            elif self.reader.interactive:
                self.draft = message

    def _try(self, text: str) -> bool:
        try:
            return self.show(lambda: self.chat.ask(text), lambda: self._keep(text))
        except ContextFullError as error:
            if not self.reader.interactive:
                raise
            return self._make_room(text, error) and self._try(text)

    def _keep(self, text: str) -> None:
        system = self.chat.messages[0]["content"] if self.chat.messages[0]["role"] == "system" else ""
        self.keeping.ask(text, self.chat.model.path, system)

    def show(self, ask: Callable[[], Reply], keep: Callable[[], None]) -> bool:
        """Write an answer as it comes; Ctrl-C stops it, and keeps what was said. False where nothing was.

        keep: called when it is known that it can be answered. Where nobody is there, Ctrl-C is a KeyboardInterrupt."""
        from localllm.generate.dialogue.deltas import Content

        progress = ReadingProgress()
        self.chat.on_read(progress if self.reader.interactive and Screen(sys.stderr).can_redraw else None)
        view = self.new_view(self.folds_thinking)
        reply: Reply | None = None
        with self._stoppable() as stop:
            try:
                reply = ask()
                keep()
                for part in self.keeping.written(reply.parts()) if not stop.count else ():
                    progress.clear()
                    (view.content if isinstance(part, Content) else view.reasoning)(part.text)
            except KeyboardInterrupt:
                if not self.reader.interactive:
                    raise
            finally:
                stop.is_patient = True
                progress.clear()
                if reply:
                    reply.close()
                    self.keeping.ended(reply)
                    view.end()
        if reply is None:  # the question was still being prepared
            return False
        self._comment(reply.stats)
        return reply.is_kept

    def _comment(self, stats: Stats) -> None:
        self.totals.add(stats)
        if stats.stop_reason == "context":
            note(
                f"The context of {self.chat.context.n_ctx:,} tokens is full: the answer ends here. "
                "/drop 1 forgets the oldest turn, /undo the last; /clear begins anew; -c N gives a larger context."
            )
        if self.shows_stats:
            note(str(stats))

    def _make_room(self, text: str, error: ContextFullError) -> bool:
        """Offer to drop the oldest turns, where that helps."""
        n_ctx = self.chat.context.n_ctx
        note(f"localllm: {error}")
        n = self.chat.turns_to_drop(text, min(_SPARE, n_ctx // 4))
        if n is None or n == 0:
            note("Shorten the message, which is back in the line, or start with a larger context (-c N).")
            return False
        turns = "the oldest turn" if n == 1 else f"the {n} oldest turns"
        if confirmed(self.reader, f"Drop {turns} to make room?"):
            self.drop(n)
            return True
        note("/undo forgets the last turn, /drop N the oldest, /clear all; -c N gives a larger context.")
        return False

    def drop(self, n: int) -> None:
        """Forget the n oldest turns; they are still kept. Raises UsageError."""
        self.chat.drop(n)
        self.keeping.dropped(n)

    @contextmanager
    def _stoppable(self) -> Iterator[Stop]:
        """While it lasts, Ctrl-C stops the answer; a second one is a KeyboardInterrupt, unless what was said is just
        being kept."""
        stop = Stop()

        def on_signal(_signal: int, _frame: FrameType | None) -> None:
            stop.count += 1
            self.chat.cancel()
            if stop.count > 1 and not stop.is_patient:
                raise KeyboardInterrupt

        if not self.reader.interactive or threading.current_thread() is not threading.main_thread():
            yield stop
            return
        before = signal.signal(signal.SIGINT, on_signal)
        try:
            with quiet():
                yield stop
        finally:
            signal.signal(signal.SIGINT, before)
