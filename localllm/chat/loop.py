"""The chat's loop: reads messages and commands until the user leaves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from localllm.chat.commands import COMMANDS, Complete, nearest
from localllm.chat.notes import note
from localllm.chat.plain import Cleared, read_message
from localllm.chat.talk import Talk
from localllm.errors import LocalllmError, UsageError
from localllm.runtime.shortage import shortage


def run(talk: Talk) -> int:
    """The exit status: 0. Where nobody is there, KeyboardInterrupt and errors end the chat."""
    if talk.chat.model.template.is_fallback:
        note(talk.chat.model.template.advice)
    for message in _messages(talk):
        try:
            handle(talk, message)
        except KeyboardInterrupt:  # of a command, such as one that loads a model
            if not talk.reader.interactive:
                raise
            note("Stopped.")
        if talk.is_leaving:
            break
    return 0


def _messages(talk: Talk) -> Iterator[str]:
    """What is entered. Ctrl-C takes back what was typed; once more, at an empty line, it leaves."""
    warned = False
    while True:
        default, talk.draft = talk.draft, ""
        try:
            message = read_message(talk.reader, default)
        except EOFError:
            return
        except KeyboardInterrupt as stop:
            if not talk.reader.interactive:
                raise
            if warned and not isinstance(stop, Cleared):
                return
            warned = True
            note("Ctrl-C again, or Ctrl-D, leaves.")
            continue
        warned = False
        if message.strip():
            yield message


def handle(talk: Talk, message: str) -> None:
    """Obey a command, or answer a message. In a terminal an error is a line, and the chat goes on, also where the
    system gives no more memory, threads or files."""
    word, _, rest = message.strip().partition(" ")
    try:
        if word in COMMANDS:
            COMMANDS[word].run(talk, rest.strip())
        elif word.startswith("/") and word[1:].isalpha():
            raise UsageError(f"{word} is no command{nearest(word)} /help lists them.")
        else:
            talk.ask(message)
    except Exception as error:
        text = str(error) if isinstance(error, LocalllmError) else shortage(error)
        if not (text and talk.reader.interactive):
            raise
        note(f"localllm: {text}")


def suggestions(talk: Talk, text: str) -> Iterable[tuple[str, int, str]]:
    """For an editor: what may follow the text of a command, how many characters it replaces, and what it is."""
    if not text.startswith("/") or "\n" in text:
        return
    word, space, rest = text.partition(" ")
    if not space:
        yield from ((name, len(word), row.help) for name, row in COMMANDS.items() if name.startswith(word))
        return
    row = COMMANDS.get(word)
    if row is None or row.complete is None:
        return
    last = rest.rpartition(" ")[2]
    for name in _completions(row.complete, talk, rest):
        if name.lower().startswith(last.lower()):
            yield name, len(last), ""


def _completions(complete: Complete, talk: Talk, rest: str) -> list[str]:
    """None where they cannot be told: what is wrong is said once the line is entered."""
    try:
        return list(complete(talk, rest))
    except LocalllmError:
        return []
