"""The commands of the chat: a table."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from localllm.chat import conversations, files, model_commands, settings, told
from localllm.chat.notes import note
from localllm.chat.plain import need_terminal
from localllm.errors import UsageError

if TYPE_CHECKING:
    from localllm.chat.talk import Talk


Complete = Callable[["Talk", str], Iterable[str]]
"""complete(talk, what stands after the word): what its last word may become."""


class Command(NamedTuple):
    """A row of COMMANDS."""

    argument: str
    help: str
    run: Callable[[Talk, str], None]
    """run(talk, what stands after the word)."""
    complete: Complete | None = None


def nearest(word: str) -> str:
    """A hint at the command that was meant."""
    near = difflib.get_close_matches(word, COMMANDS, 1)
    return f": did you mean {near[0]}?" if near else "."


def _help(_talk: Talk, _rest: str) -> None:
    for word, row in COMMANDS.items():
        note(f"{f'{word} {row.argument}':<18} {row.help}")
    for keys, text in KEYS.items():
        note(f"{keys:<18} {text}")


def _clear(talk: Talk, _rest: str) -> None:
    talk.chat.clear()
    talk.keeping.leave()
    talk.attached.clear()
    note("A new conversation; the system message stays.")


def _system(talk: Talk, text: str) -> None:
    talk.chat.system(text)
    talk.keeping.set(system=text)
    note("The system message is set." if text else "The system message is removed.")


def _read(talk: Talk, rest: str) -> None:
    if not rest:
        talk.attached.clear()
        note("No file goes along with your next message.")
        return
    n_ctx = talk.chat.context.n_ctx
    attached = dict(talk.attached)
    lines = []
    for path in files.paths(rest):
        text = files.read(path, n_ctx)
        attached[str(path)] = text
        lines.append(f"{path}: {text.count(chr(10)) + 1:,} lines, {talk.chat.count(text):,} tokens")
    together = files.message(attached, "")
    needed = talk.chat.n_tokens(together)
    if needed > n_ctx:
        helps = "/drop or /clear make room, -c N" if talk.chat.count(together) < n_ctx else "-c N gives"
        raise UsageError(
            f"/read {rest}: with {'these files' if len(attached) > 1 else 'this file'} the conversation takes "
            f"{needed:,} tokens, the context holds {n_ctx:,}: {helps} a larger context"
        )
    talk.attached = attached
    for line in lines:
        note(line)
    note(f"They go along with your next message; {n_ctx - needed:,} tokens are free then. /read alone forgets them.")


def _regen(talk: Talk, _rest: str) -> None:
    talk.show(talk.chat.regen, talk.keeping.ask_again)


def _edit(talk: Talk, _rest: str) -> None:
    need_terminal(talk.reader, "/edit")
    talk.draft = _taken_back(talk)
    note("Your last message is back; its answer is forgotten.")


def _undo(talk: Talk, _rest: str) -> None:
    text = " ".join(_taken_back(talk).split())
    note(f"Forgotten, with its answer: {text[:60]}{'...' * (len(text) > 60)}")


def _taken_back(talk: Talk) -> str:
    text = talk.chat.undo()
    talk.keeping.undone()
    return text


def _drop(talk: Talk, rest: str) -> None:
    if rest and not (rest.isdecimal() and len(rest) < 10):
        raise UsageError(f"/drop {rest}: how many turns? There are {talk.chat.n_turns}")
    before = talk.chat.n_tokens()
    talk.drop(int(rest or 1))
    note(f"{before - talk.chat.n_tokens():,} tokens are free again; turns that stay: {talk.chat.n_turns}.")


def _bye(talk: Talk, _rest: str) -> None:
    talk.is_leaving = True


def _set(talk: Talk, rest: str) -> None:
    if not rest:
        for line in settings.listed(talk.chat.sampling):
            note(line)
        return
    name, value = settings.parsed(rest)
    talk.chat.sampling = replace(talk.chat.sampling, **{name: value})
    talk.settings[name] = value
    note(f"{name} is {settings.shown(getattr(talk.chat.sampling, name))}.")


def _files(_talk: Talk, rest: str) -> Iterable[str]:
    return files.matching(rest.rpartition(" ")[2])


def _settings(_talk: Talk, rest: str) -> Iterable[str]:
    return settings.names() if " " not in rest else ()


def _words(*words: str) -> Complete:
    return lambda _talk, _rest: words


COMMANDS: dict[str, Command] = {
    "/help": Command("", "Show this help.", _help),
    "/?": Command("", "The same as /help.", _help),
    "/read": Command("FILE...", "Text files go along with the next message; without FILE, none.", _read, _files),
    "/system": Command("[TEXT]", "Set the system message; without TEXT, remove it.", _system),
    "/set": Command("[NAME VALUE]", "Set how tokens are chosen (temperature 0.7); alone, list it.", _set, _settings),
    "/think": Command(
        "[on|off|show|fold]", "Whether the model thinks before it answers, and whether that is shown.",
        model_commands.think, _words("on", "off", "show", "fold"),
    ),
    "/model": Command(
        "[NAME]", "Go on with another model; without NAME, say which one this is.", model_commands.switch,
        model_commands.names,
    ),
    "/regen": Command("", "Answer the last message again.", _regen),
    "/edit": Command("", "The last message comes back to be changed; its answer goes.", _edit),
    "/undo": Command("", "Forget the last message and its answer.", _undo),
    "/drop": Command("[N]", "Forget the N oldest messages and their answers. [default: 1]", _drop),
    "/clear": Command("", "Begin a new conversation; the system message stays.", _clear),
    "/new": Command("", "The same as /clear.", _clear),
    "/tokens": Command("", "Show what the context holds, and what is free.", told.tokens),
    "/stats": Command("", "Show what the answers of this chat took.", told.totals),
    "/save": Command("NAME", "Name this conversation; all are kept, named or not.", conversations.save),
    "/load": Command(
        "[NAME]", "Go on with a conversation, by name or number; without NAME, the last one.", conversations.load,
        conversations.names,
    ),
    "/list": Command("", "List the conversations.", conversations.show_all),
    "/rename": Command("NAME NEW", "Give a conversation another name.", conversations.rename, conversations.names),
    "/delete": Command("NAME", "Delete a conversation for good.", conversations.delete, conversations.names),
    "/export": Command("FILE", "Write this conversation to a new file, as Markdown.", conversations.export, _files),
    "/bye": Command("", "Leave the chat.", _bye),
    "/exit": Command("", "The same as /bye.", _bye),
}  # fmt: skip
"""Word -> what it is."""

KEYS = {
    '"""': "Begin and end a message of several lines.",
    "Alt-Enter, Ctrl-J": "A new line in a message.",
    "Tab": "Complete a command, file, model or setting.",
    "Ctrl-X Ctrl-E": "Write the message in $EDITOR.",
    "Ctrl-C": "Stop an answer; clear the line; twice at an empty line: leave.",
    "Ctrl-D": "Leave.",
}
"""What /help says of keys."""
