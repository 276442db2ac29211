"""The chat from its start to its end: what is kept, the model, the welcome, the talk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from localllm.chat import conversations, loop
from localllm.chat.database import Conversation
from localllm.chat.keeping import Keeping
from localllm.chat.notes import note
from localllm.chat.places import history_path
from localllm.chat.plain import PlainReader, Reader
from localllm.chat.talk import Models, Talk
from localllm.terminal.answer import AnswerView
from localllm.terminal.screen import Screen


@dataclass(frozen=True)
class Options:
    """How a chat begins. resumes: the name of a conversation to go on with, "" for the last one, None for a new one."""

    interactive: bool
    keeps: bool
    resumes: str | None = None
    shows_stats: bool = True
    plain: bool = False
    thinking: bool | None = None
    folds_thinking: bool = False


class _View(AnswerView):
    """Elsewhere than on a terminal a line feed ends each answer, too: they follow one another."""

    def __init__(self, screen: Screen, plain: bool, folds_thinking: bool) -> None:
        super().__init__(screen, plain, folds_thinking, "/think show")
        self._out = screen

    def end(self) -> None:
        super().end()
        if not self._out.is_terminal:
            self._out.write("\n")


def run(models: Models, name: str | None, options: Options) -> int:
    """The exit status. name: of the model; None: the default, or that of the conversation that is resumed."""
    keeping = Keeping.open(options.keeps, note)
    try:
        found = None if options.resumes is None else keeping.find(options.resumes)
        if found and name is None and os.path.isfile(found.model):
            name = found.model
        talk = _talk(models, name, keeping, options)
        try:
            _greet(talk, name, found, keeping)
            return loop.run(talk)
        finally:
            talk.chat.close()
            talk.chat.model.close()
    finally:
        keeping.close()


def _talk(models: Models, name: str | None, keeping: Keeping, options: Options) -> Talk:
    chat = models.start(name)
    chat.thinking = options.thinking
    screen = Screen()

    def view(folded: bool) -> AnswerView:
        return _View(screen, options.plain, folded)

    talk = Talk(
        chat, PlainReader(options.interactive), keeping, view, models, options.shows_stats, options.folds_thinking
    )
    if options.interactive and os.environ.get("TERM") != "dumb":
        talk.reader = _editor(talk, history_path(note) if options.keeps else None)
    return talk


def _editor(talk: Talk, history: Path | None) -> Reader:
    from localllm.chat.reading import Editor

    return Editor(history, partial(loop.suggestions, talk), note)


def _called(name: str | None, path: str) -> str:
    """What a person calls the model: the name that was typed, or the file's."""
    return name if name and not os.path.isfile(name) else Path(path).stem


def _greet(talk: Talk, name: str | None, found: Conversation | None, keeping: Keeping) -> None:
    chat = talk.chat
    if talk.reader.interactive:
        memory = f"{chat.n_bytes / 1e9:.2f} GB of memory"
        what = f"{chat.model.description}, context of {chat.context.n_ctx:,} tokens, {memory}"
        note(f"{_called(name, chat.model.path)}: {what}")
        note('/help lists commands and keys; """ begins a message of several lines; Ctrl-D leaves.')
    if found:
        system = next((m["content"] for m in chat.messages if m["role"] == "system"), "")
        conversations.go_on(talk, found)
        if system:  # given on the command line: it goes before that of the conversation
            chat.system(system)
            keeping.set(system=system)
    elif left := keeping.interrupted():
        note(f"The last conversation was interrupted: /load brings it back ({left.n_messages} messages).")
