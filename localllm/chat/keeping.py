"""The conversation under way, kept while it goes on. What goes wrong with the disk is told once; the chat goes on."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from localllm.chat.database import (
    CONTENT,
    DROPPED,
    KEPT,
    REASONING,
    REPLACED,
    STOPPED,
    UNDER_WAY,
    Conversation,
    Database,
    DatabaseError,
    Kept,
)
from localllm.chat.places import database_path
from localllm.errors import UsageError
from localllm.runtime.system import text_of

if TYPE_CHECKING:
    from localllm.generate.reply import Part, Reply

_DEAR_SECONDS = 0.001
"""A commit that takes longer is not made for each piece."""
_BATCH_SECONDS = 0.25
"""Between two commits, then."""


_UNKNOWN = ""
"""The start of a process where the system does not tell it."""


def this_process() -> str:
    """How this process is told from those before and after it that have its number."""
    return f"{os.getpid()}:{_start(os.getpid())}"


def is_alive(holder: str) -> bool:
    """Whether the process is still there; also where the system does not tell."""
    number, _, start = holder.partition(":")
    return number.isdecimal() and len(number) <= 10 and _start(int(number)) in (start, _UNKNOWN)


def _start(number: int) -> str | None:
    """When a process was started, whatever has become of the clock since; None: it is not there. psutil's time moves
    with the clock on Linux, where the kernel counts from the boot (proc_pid_stat(5), field 22)."""
    if sys.platform == "linux":
        fields = text_of(Path(f"/proc/{number}/stat")).rpartition(")")[2].split()
        if fields:
            return f"{text_of(Path('/proc/sys/kernel/random/boot_id'))[:8]}.{fields[19]}"
        return None if text_of(Path("/proc/self/stat")) else _UNKNOWN
    import psutil

    try:
        return f"{psutil.Process(number).create_time():.2f}"
    except psutil.Error:
        return None


class Keeping:
    """Writes what is said into the database, if there is one. `why_not` says why there is none."""

    def __init__(self, database: Database | None, on_note: Callable[[str], None], why_not: str = "") -> None:
        self._database, self._note, self.why_not = database, on_note, why_not
        self.conversation: int | None = None
        """None: nothing was said yet."""
        self._messages: list[tuple[str, int]] = []
        """Roles and ids, in the order of the chat's, but for the system message."""
        self._answer: int | None = None
        self._before: int | None = None
        """The answer that the one under way takes the place of."""
        self._left: list[int] = []
        """Messages that the next one takes the place of: one without an answer, an answer without a word."""

    @classmethod
    def open(cls, wanted: bool, on_note: Callable[[str], None]) -> Keeping:
        """The user's database; a note where it cannot be used."""
        if not wanted:
            return cls(None, on_note, "this chat is not kept; --keep keeps it")
        try:
            return cls(Database(database_path()), on_note)
        except DatabaseError as error:
            on_note(f"{error}; this chat is not kept")
            return cls(None, on_note, str(error))

    @property
    def database(self) -> Database:
        """Raises UsageError where nothing is kept."""
        if self._database is None:
            raise UsageError(f"there are no conversations here: {self.why_not}")
        return self._database

    # --- a turn

    def ask(self, text: str, model: str, system: str) -> None:
        """A message of the user, before it is answered."""

        def write(database: Database) -> None:
            if self.conversation is None:
                self.conversation = database.begin(model, system, this_process())
            self._replace_left(database)
            self._messages.append(("user", database.add(self.conversation, "user", text)))
            self._begin_answer(database)

        self._try(write)

    def ask_again(self) -> None:
        """Another answer is on its way, in place of the last one, which stays until that has come."""

        def write(database: Database) -> None:
            if self._messages:
                self._before = self._messages.pop()[1]
                self._replace_left(database)
                self._begin_answer(database)

        self._try(write)

    def _replace_left(self, database: Database) -> None:
        database.mark(self._left, REPLACED)
        self._left = []

    def _begin_answer(self, database: Database) -> None:
        assert self.conversation is not None
        self._answer = database.add(self.conversation, "assistant", "", state=UNDER_WAY)

    def written(self, parts: Iterable[Part]) -> Iterator[Part]:
        """The parts of an answer, each after it was kept; several at once where a commit takes its time."""
        waiting: list[Part] = []
        due = 0.0
        for part in parts:
            waiting.append(part)
            if time.monotonic() >= due:
                due = self._write(waiting)
                yield from waiting
                waiting.clear()
        if waiting:
            self._write(waiting)
            yield from waiting

    def _write(self, parts: list[Part]) -> float:
        """Until when the next parts can wait."""
        from localllm.generate.dialogue.deltas import Content

        answer, begun = self._answer, time.monotonic()
        if answer is None:
            return 0.0
        pieces = [(CONTENT if isinstance(part, Content) else REASONING, part.text) for part in parts]
        self._try(lambda database: database.piece(answer, pieces))
        took = time.monotonic() - begun
        return begun + _BATCH_SECONDS if took > _DEAR_SECONDS else 0.0

    def ended(self, reply: Reply) -> None:
        """The answer is complete, or was stopped."""
        answer, before = self._answer, self._before
        self._answer = self._before = None
        if answer is None:
            return

        def write(database: Database) -> None:
            if reply.is_kept:
                state = STOPPED if reply.stats.stop_reason == "cancelled" else KEPT
                database.end(answer, reply.text, reply.reasoning, state)
                self._messages.append(("assistant", answer))
                gone = [before] if before is not None else []
            elif before is not None:
                self._messages.append(("assistant", before))
                gone = [answer]
            else:  # the message is back in the line, and stays until another one is asked
                gone = [answer]
                self._left = [self._messages.pop()[1]]
            database.mark(gone, REPLACED)

        self._try(write)

    # --- changes

    def undone(self) -> None:
        """The last turn was taken back."""
        if starts := self._turn_starts():
            self._leave_out(starts[-1], len(self._messages), REPLACED)

    def dropped(self, n: int) -> None:
        """The n oldest turns are out of the context; they stay part of the conversation."""
        starts = [*self._turn_starts(), len(self._messages)]
        if self.conversation is not None:
            self._leave_out(starts[0], starts[n], DROPPED)

    def _leave_out(self, start: int, stop: int, state: int) -> None:
        ids = [message for _, message in self._messages[start:stop]]
        del self._messages[start:stop]
        self._try(lambda database: database.mark(ids, state))

    def _turn_starts(self) -> list[int]:
        return [i for i, (role, _) in enumerate(self._messages) if role == "user"]

    def set(self, **fields: str) -> None:
        """The conversation's model, or system message."""
        conversation = self.conversation
        if conversation is not None:
            self._try(lambda database: database.set(conversation, **fields))

    def leave(self) -> None:
        """The conversation ends here; what is said from now on is another one."""
        conversation, self.conversation = self.conversation, None
        self._messages.clear()
        self._left = []
        if conversation is not None:
            self._try(lambda database: database.release(conversation))

    def close(self) -> None:
        self.leave()
        self._try(Database.close)
        self._database, self.why_not = None, "the chat has ended"

    # --- other conversations

    def interrupted(self) -> Conversation | None:
        """The last conversation, if its process was killed."""
        newest: list[Conversation] = []
        self._try(lambda database: newest.extend(database.conversations(1)))
        return newest[0] if newest and newest[0].holder and not is_alive(newest[0].holder) else None

    def find(self, name: str) -> Conversation:
        """A conversation by name or number; "": the last one but that of this chat. Raises UsageError."""
        known = [c for c in self.database.conversations() if name or c.id != self.conversation]
        found = [c for c in known if not name or name.lower() == c.name.lower() or name == str(c.id)]
        if not found:
            hint = "/list shows them" if known else "none has been kept yet"
            raise UsageError(f"there is no {f'conversation {name!r}' if name else 'other conversation'}: {hint}")
        return found[0]

    def take(self, conversation: Conversation) -> tuple[list[Kept], str]:
        """Go on with a conversation: the messages that belong into the context, and a last one that has no answer. One
        that another chat has open is copied."""
        database, me = self.database, this_process()
        is_free = conversation.holder in ("", me) or not is_alive(conversation.holder)
        is_ours = is_free and database.hold(conversation.id, conversation.holder, me)  # unless another was faster
        stay, gone, unanswered = tidied(database.messages(conversation.id))
        if conversation.id != self.conversation:
            self.leave()
        if not is_ours:
            self.conversation = database.begin(conversation.model, conversation.system, me)
            ids = [database.add(self.conversation, m.role, m.content, m.reasoning, m.state) for m in stay]
        else:
            self.conversation = conversation.id
            for message in stay:
                if message.state == UNDER_WAY:
                    database.end(message.id, message.content, message.reasoning, STOPPED)
            self._left = [message.id for message in gone]
            ids = [message.id for message in stay]
        self._messages = [(message.role, i) for message, i in zip(stay, ids, strict=True) if message.state != DROPPED]
        return [message for message in stay if message.state != DROPPED], unanswered

    def _try(self, write: Callable[[Database], None]) -> None:
        if self._database is None:
            return
        try:
            write(self._database)
        except DatabaseError as error:
            self._note(f"{error}; from here on this chat is not kept")
            self._database, self.why_not = None, str(error)
            self._answer = self._before = self.conversation = None
            self._messages.clear()


def tidied(messages: Iterable[Kept]) -> tuple[list[Kept], list[Kept], str]:
    """What a killed process left: the messages that stay, those that go (an answer without a word, one that was being
    made again), and the text of a last message that has no answer; it goes, too, since it is asked again."""
    stay: list[Kept] = []
    gone: list[Kept] = []
    for message in messages:
        if message.role == "assistant" and not (message.content or message.reasoning):
            gone.append(message)
            continue
        if message.role == "assistant" and stay and stay[-1].role == "assistant":
            gone.append(stay.pop())
        stay.append(message)
    if not stay or stay[-1].role != "user":
        return stay, gone, ""
    gone.append(stay.pop())
    return stay, gone, gone[-1].content
