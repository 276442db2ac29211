"""Commands about kept conversations: /save, /load, /list, /rename, /delete, /export."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from localllm.chat.database import Conversation, Kept
from localllm.chat.keeping import is_alive, this_process
from localllm.chat.notes import note
from localllm.chat.plain import confirmed
from localllm.chat.told import shortened
from localllm.errors import FileError, UsageError
from localllm.runtime.whole import write_whole

if TYPE_CHECKING:
    from localllm.chat.talk import Talk
    from localllm.generate.answer import Message

_MOST = 20
"""Conversations that are listed."""
_NAME_LENGTH = 60


def save(talk: Talk, name: str) -> None:
    """Name the conversation."""
    _check_name(_given(name, "/save"))
    if talk.keeping.conversation is None:
        talk.keeping.database  # noqa: B018  # says why nothing is kept
        raise UsageError("/save: nothing has been said yet")
    talk.keeping.database.set(talk.keeping.conversation, name=name)
    note(f"This conversation is {name!r}; what follows is kept, too.")


def load(talk: Talk, name: str) -> None:
    """Go on with another conversation."""
    go_on(talk, talk.keeping.find(name))


def go_on(talk: Talk, found: Conversation) -> None:
    """Take a kept conversation's messages in place of those that are there."""
    messages, unanswered = talk.keeping.take(found)
    talk.chat.restore([*_system(found.system), *map(_message, messages)])
    talk.draft = unanswered if talk.reader.interactive else ""
    talk.attached.clear()
    n_ctx = talk.chat.context.n_ctx
    note(f"{_called(found)}: {len(messages)} messages, {talk.chat.n_tokens():,} of {n_ctx:,} tokens.")
    for message in messages[-2:]:
        note(f"{'>>> ' if message.role == 'user' else ''}{shortened(message.content, 200)}")
    if talk.draft:
        note("Its last message has no answer yet: it is back in the line.")


def _system(text: str) -> list[Message]:
    return [{"role": "system", "content": text}] if text else []


def _message(kept: Kept) -> Message:
    thoughts = {"reasoning_content": kept.reasoning} if kept.reasoning else {}
    return {"role": kept.role, "content": kept.content, **thoughts}


def show_all(talk: Talk, _rest: str) -> None:
    """The newest conversations."""
    found = talk.keeping.database.conversations()
    if not found:
        note("No conversation has been kept yet.")
    for c in found[:_MOST]:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(c.changed))
        name = f"{c.name}: " if c.name else ""
        note(f"{c.id:>5}  {when}  {c.n_messages:>3} messages  {name}{shortened(c.title, 50)}{_state(talk, c)}")
    if len(found) > _MOST:
        note(f"... and {len(found) - _MOST} older ones")


def _state(talk: Talk, conversation: Conversation) -> str:
    if conversation.id == talk.keeping.conversation:
        return " (this one)"
    if not conversation.holder or conversation.holder == this_process():
        return ""
    return " (in another chat)" if is_alive(conversation.holder) else " (interrupted)"


def rename(talk: Talk, rest: str) -> None:
    """Give a conversation another name."""
    old, _, new = rest.partition(" ")
    _check_name(_given(new.strip(), "/rename", "NEW" if old else "NAME"))
    found = talk.keeping.find(old)
    talk.keeping.database.set(found.id, name=new.strip())
    note(f"{_called(found)} is {new.strip()!r} now.")


def delete(talk: Talk, name: str) -> None:
    """Delete a conversation, after asking."""
    found = talk.keeping.find(_given(name, "/delete"))
    if talk.reader.interactive and not confirmed(talk.reader, f"Delete {_called(found)}, {found.n_messages} messages?"):
        return
    if found.id == talk.keeping.conversation:
        talk.keeping.leave()
        talk.chat.clear()
    talk.keeping.database.delete(found.id)
    note(f"{_called(found)} is deleted.")


def names(talk: Talk, _rest: str) -> Iterable[str]:
    """Of conversations, or their numbers."""
    return (c.name or str(c.id) for c in talk.keeping.database.conversations(200))


def export(talk: Talk, rest: str) -> None:
    """Write the conversation as Markdown; with the turns that were dropped from the context."""
    path = Path(_given(rest, "/export", "FILE")).expanduser()
    conversation = talk.keeping.conversation
    kept = talk.keeping.database.messages(conversation) if conversation is not None else []
    messages = [_message(message) for message in kept] or [m for m in talk.chat.messages if m["role"] != "system"]
    if not messages:
        raise UsageError("/export: nothing has been said yet")
    text = "\n".join(f"## {_HEADINGS[m['role']]}\n\n{m['content'].strip()}\n" for m in messages)
    _write(path, text)
    note(f"{path}: {len(messages)} messages.")


_HEADINGS = {"user": "User", "assistant": "Assistant"}


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and over no other file."""
    try:
        path.open("x").close()  # the name is ours, or FileExistsError
    except FileExistsError:
        raise FileError(f"{path}: there is such a file already: give another name") from None
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from None
    try:
        write_whole(path, text)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _given(text: str, command: str, what: str = "NAME") -> str:
    if not text:
        raise UsageError(f"{command}: {what} is missing")
    return text


def _check_name(name: str) -> None:
    if (
        not name
        or name.isdecimal()
        or len(name) > _NAME_LENGTH
        or not re.fullmatch(r"\S+", name)
        or not name.isprintable()
    ):
        raise UsageError(
            f"{name!r} is no name for a conversation: up to {_NAME_LENGTH} letters, not digits alone, without spaces"
        )


def _called(conversation: Conversation) -> str:
    return repr(conversation.name) if conversation.name else f"conversation {conversation.id}"
