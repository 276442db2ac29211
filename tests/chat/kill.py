"""Chats that are killed: python -m tests.chat.kill [--cycles 200] [--seed 1] [--folder FOLDER]

Each cycle is a chat in a process and a terminal of its own, which is sent SIGKILL at a random moment: while it starts,
at its prompt, within an answer, between two. Then every word that had been shown must be in the database, in the
message that it belongs to, after the question that it answers; and the next start must work, from which the next cycle
goes on, by --continue now and then. Half of the chats have the editor and styled answers, half a dumb terminal, where
all that is written is compared letter by letter.
"""

from __future__ import annotations

import argparse
import os
import pty
import random
import re
import select
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from localllm.chat.database import UNDER_WAY, Database, Kept
from tests.chat.scripted import answer_to

ROOT = Path(__file__).parents[2]
WORDS = 60
"""Of an answer."""
LIMIT = 60.0
"""Seconds that a chat may take for anything."""


class Chat:
    """A chat in a pseudo-terminal."""

    def __init__(self, home: Path, term: str, *options: str) -> None:
        self.is_dumb = term == "dumb"
        self._master, slave = pty.openpty()
        environment = {
            **os.environ, "LOCALLLM_HOME": str(home), "TERM": term, "PROMPT_TOOLKIT_NO_CPR": "1", "LC_ALL": "C.UTF-8",
            "SCRIPTED_SECONDS": "0.002",
        }  # fmt: skip
        line = [sys.executable, "-m", "tests.chat.scripted", "--no-stats", *options]
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            line, cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self.seen = ""

    def read(self, seconds: float) -> bool:
        """Take in what was written meanwhile, for so long at most; False at its end."""
        if not select.select([self._master], [], [], max(0.0, seconds))[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says so of a terminal that nobody has open any more
            data = b""
        self.seen += data.decode(errors="replace")
        return bool(data)

    def send(self, text: str) -> None:
        os.write(self._master, text.encode())

    @property
    def at_prompt(self) -> bool:
        return bool(re.search(rf">>>( +count \d+ {WORDS})? *\Z", plain(self.seen)))

    @property
    def has_draft(self) -> bool:
        """A message that had no answer is back in the line."""
        return self.at_prompt and not self.is_dumb and not plain(self.seen).rstrip(" ").endswith(">>>")

    def until(self, end: float, ready: bool = False) -> bool:
        """Read until a moment, or (ready) until a prompt; False where the moment came first."""
        while time.monotonic() < end:
            if ready and self.at_prompt:
                return True
            if not self.read(end - time.monotonic()):
                break
        return ready and self.at_prompt

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        while self.read(0.05) and select.select([self._master], [], [], 0)[0]:
            pass
        os.close(self._master)


def plain(text: str) -> str:
    """Without escape sequences and carriage returns."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>78]|\r", "", text)


def shown(chat: Chat, turn: int) -> str:
    """What was seen of the answer to question `turn`: letter by letter on a dumb terminal, else its whole words."""
    text = plain(chat.seen)
    if not chat.is_dumb:
        numbers = [int(n) for n in re.findall(rf"\[{turn}:(\d+)\]", text)]
        return answer_to(f"count {turn} {max(numbers) + 1}") if numbers else ""
    _, found, after = text.rpartition(f"count {turn} {WORDS}\n")
    return after.partition("\n")[0] if found else ""


def check(messages: list[Kept], chat: Chat, turns: list[int]) -> int:
    """How many letters had been shown. AssertionError where one of them was not kept."""
    kept = {m.content: answer.content for m, answer in pairwise(messages) if m.role == "user"}
    n = 0
    for turn in turns:
        text = shown(chat, turn)
        if text:
            answer = kept.get(f"count {turn} {WORDS}")
            assert answer is not None, f"question {turn} was answered, and is not kept"
            assert answer.startswith(text), f"shown: {text!r}, kept: {answer!r}"
            assert answer_to(f"count {turn} {WORDS}").startswith(answer), f"kept: {answer!r}"
        n += len(text)
    return n


def cycle(home: Path, number: int, choice: random.Random) -> tuple[int, bool, bool]:
    """One chat, killed. Letters that had been shown; whether it was killed within an answer; whether before its first
    prompt."""
    continues = number > 0 and choice.random() < 0.3 and count(home)
    chat = Chat(home, choice.choice(("dumb", "xterm-256color")), *(["--continue"] if continues else []))
    early = choice.random() < 0.1
    turns: list[int] = []
    if early:
        chat.until(chat.begun + choice.uniform(0.05, 1.0))
    else:
        assert chat.until(chat.begun + LIMIT, ready=True), f"no prompt: {chat.seen[-2000:]!r}"
        end = time.monotonic() + choice.uniform(0.0, 2.0)
        if chat.has_draft:
            chat.seen += "\n"
            chat.send("\x03")
        while chat.until(end, ready=True):
            turns.append(number * 1000 + len(turns))
            chat.seen += "\n"  # the prompt that is there is answered
            chat.send(f"count {turns[-1]} {WORDS}\r")
            wait_for_echo(chat, turns[-1], end)
    before_prompt = not chat.at_prompt and not turns
    chat.kill()
    database = Database(home / "conversations.db")
    try:
        (state,) = database._db.execute("PRAGMA integrity_check").fetchone()
        assert state == "ok", state
        found = database.conversations(1)
        messages = database.messages(found[0].id) if found else []
        n = check(messages, chat, turns)
        return n, bool(turns) and bool(messages) and messages[-1].state == UNDER_WAY, before_prompt
    finally:
        database.close()


def wait_for_echo(chat: Chat, turn: int, end: float) -> None:
    """Until the question stands on the screen, so that the prompt before it is not taken for the next one."""
    while f"count {turn} {WORDS}\n" not in plain(chat.seen) and time.monotonic() < end:
        if not chat.read(end - time.monotonic()):
            return


def count(home: Path) -> int:
    with sqlite3.connect(home / "conversations.db") as raw:
        return int(raw.execute("SELECT count(*) FROM messages").fetchone()[0])


def run(folder: Path, cycles: int, seed: int, say: bool = True) -> dict[str, int]:
    """All cycles, and a last chat that ends by itself. AssertionError where anything was lost."""
    choice, totals = random.Random(seed), {"cycles": 0, "letters": 0, "within an answer": 0, "while starting": 0}
    for number in range(cycles):
        n, within, starting = cycle(folder, number, choice)
        totals["cycles"] += 1
        totals["letters"] += n
        totals["within an answer"] += within
        totals["while starting"] += starting
        if say and (number + 1) % 20 == 0:
            print(f"{number + 1}: {totals}", flush=True)
    chat = Chat(folder, "dumb", *(["--continue"] if count(folder) else []))
    assert chat.until(chat.begun + LIMIT, ready=True), chat.seen
    chat.send("/bye\r")
    chat.until(time.monotonic() + LIMIT)
    assert chat.process.wait(LIMIT) == 0
    chat.kill()
    return totals


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cycles", type=int, default=200)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--folder", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as made:
        begun = time.monotonic()
        print(run(given.folder or Path(made), given.cycles, given.seed), f"in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
