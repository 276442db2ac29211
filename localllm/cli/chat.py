"""`localllm chat`: a conversation in the terminal, or line by line over a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localllm.cli.common import (
    GENERATION,
    GENERATION_SECTIONS,
    VARIABLES,
    Generation,
    load_model,
    note,
    one_model,
    options,
    statistics,
)
from localllm.cli.sections import Sectioned
from localllm.errors import ContextFullError, LocalllmError

if TYPE_CHECKING:
    from localllm.generate.answer import Answer
    from localllm.generate.chat import Chat

ReadLine = Callable[[str], str]
"""read(prompt) -> one line. Raises EOFError at the end (Ctrl-D) and KeyboardInterrupt (Ctrl-C)."""

_QUOTES = '"""'


@click.command(
    "chat", cls=Sectioned, sections=GENERATION_SECTIONS, epilog=VARIABLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
@click.argument("positional", metavar="[MODEL]", required=False)
@options("model", "system", *GENERATION)
@click.option("--stats/--no-stats", default=True, help="Print statistics to standard error after each answer.")
def command(positional: str | None, model: str | None, system: str, stats: bool, **given: Any) -> int:
    """Chat with a model; without MODEL, with the catalog's default, which is fetched the first time.

    \b
    Ctrl-C stops an answer, and at the prompt it leaves, as Ctrl-D does.
    \"\"\" begins and ends a message of several lines. /help lists the commands.
    When standard input is no terminal, each of its lines is a message.
    """
    settings = Generation.of(given)
    name = one_model(positional, model)
    loaded = load_model(
        name, settings.n_ctx, settings.n_threads, settings.swa_full, settings.kv_type, settings.chat_template
    )
    try:
        from localllm.generate.chat import Chat

        chat = Chat(
            loaded, system, settings.n_ctx, settings.n_batch, settings.max_tokens, settings.sampling(loaded),
            cache=settings.cache(),
        )  # fmt: skip
        try:
            return Talk(chat, stats, sys.stdin.isatty() and sys.stdout.isatty()).run()
        finally:
            chat.close()
            for said in settings.notes if stats else ():
                note(said)
    finally:
        loaded.close()


class Talk:
    """Reads messages and commands, and shows answers, until the user leaves."""

    def __init__(self, chat: Chat, stats: bool, interactive: bool, read_line: ReadLine | None = None) -> None:
        self.chat, self.stats, self.interactive = chat, stats, interactive
        self._read_line = read_line or (terminal() if interactive else plain)

    def run(self) -> int:
        """The exit status: 0, or 130 when Ctrl-C came while a pipe was read."""
        model = self.chat.model
        if self.interactive:
            note(f"{model.description}, context of {self.chat.context.n_ctx} tokens. /help lists the commands.")
        if model.template.is_fallback:
            note(model.template.advice)
        try:
            for message in self._messages():
                if not self._handle(message):
                    break
        except KeyboardInterrupt:  # at the prompt
            if not self.interactive:
                raise
            click.echo(err=True)
        return 0

    def _messages(self) -> Iterator[str]:
        with suppress(EOFError):
            while True:
                message = read_message(self._read_line)
                if message.strip():
                    yield message

    def _handle(self, message: str) -> bool:
        """Answer a message or obey a command; False to leave. In a terminal an error is shown and the chat goes on."""
        word, _, rest = message.strip().partition(" ")
        try:
            if word in COMMANDS:
                return COMMANDS[word][2](self, rest.strip())
            if word.startswith("/") and word[1:].isalpha():
                note(f"{word} is no command. /help lists them.")
                return True
            self.show(lambda: self.chat.ask(message))
        except LocalllmError as error:
            if not self.interactive:
                raise
            way_out = "; /clear forgets the conversation" if isinstance(error, ContextFullError) else ""
            note(f"localllm: {error}{way_out}")
        return True

    def show(self, ask: Callable[[], Answer]) -> None:
        """Write an answer as it comes; Ctrl-C stops it, and keeps what was said."""
        answer: Answer | None = None
        try:
            answer = ask()
            for piece in answer:
                sys.stdout.write(piece)
                sys.stdout.flush()
        except KeyboardInterrupt:
            if not self.interactive:
                raise
            if answer is None:  # the question was still being prepared
                return
            answer.close()
        sys.stdout.write("\n")
        sys.stdout.flush()
        if answer.stats.stop_reason == "context":
            note(
                f"The context of {self.chat.context.n_ctx} tokens is full: the answer ends here. "
                "/clear clears the conversation; -c N gives a larger context."
            )
        if self.stats:
            note(statistics(answer.stats))


def _help(_talk: Talk, _rest: str) -> bool:
    for word, (argument, text, _) in COMMANDS.items():
        note(f"{word + ' ' + argument:<16} {text}")
    note(f"{_QUOTES:<16} Begin and end a message of several lines.")
    note(f"{'Ctrl-C':<16} Stop an answer; at the prompt: leave, as Ctrl-D.")
    return True


def _clear(talk: Talk, _rest: str) -> bool:
    talk.chat.clear()
    note("The conversation is cleared; the system message stays.")
    return True


def _system(talk: Talk, text: str) -> bool:
    talk.chat.system(text)
    note("The system message is set." if text else "The system message is removed.")
    return True


def _regen(talk: Talk, _rest: str) -> bool:
    talk.show(talk.chat.regen)
    return True


def _bye(_talk: Talk, _rest: str) -> bool:
    return False


COMMANDS: dict[str, tuple[str, str, Callable[[Talk, str], bool]]] = {
    "/help": ("", "Show this help.", _help),
    "/clear": ("", "Clear the conversation.", _clear),
    "/system": ("[TEXT]", "Set the system message; without TEXT, remove it.", _system),
    "/regen": ("", "Regenerate the last answer.", _regen),
    "/bye": ("", "Leave the chat.", _bye),
}
"""Command -> argument, help, and what it does; it returns False to leave."""


def read_message(read_line: ReadLine) -> str:
    """One message: a line, or all lines between two \"\"\". What the end of input cuts off counts as a message."""
    line = read_line(">>> ")
    if not line.lstrip().startswith(_QUOTES):
        return line
    lines = [line.lstrip()[len(_QUOTES) :]]
    with suppress(EOFError):
        while _QUOTES not in lines[-1]:
            lines.append(read_line("... "))
    return "\n".join(lines).partition(_QUOTES)[0].strip("\n")


def plain(_prompt: str) -> str:
    """A line of standard input that is no terminal."""
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")


def terminal() -> ReadLine:
    """Line editing, history and completion of the commands, by prompt_toolkit."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory

    path = history_path()
    history: History = InMemoryHistory() if path is None else FileHistory(str(path))
    completer = WordCompleter(list(COMMANDS), sentence=True)
    session: PromptSession[str] = PromptSession(history=history, completer=completer, complete_while_typing=False)
    return lambda prompt: session.prompt(prompt)


def history_path() -> Path | None:
    """The file of past messages, in the user's state folder (or $LOCALLLM_HOME); None where none can be made."""
    from platformdirs import user_state_path

    home = os.environ.get("LOCALLLM_HOME")
    folder = Path(home).expanduser() if home else user_state_path("localllm", appauthor=False)
    path = folder / "history"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        note(f"{path}: messages are not kept: {error.strerror}")
        return None
    return path
