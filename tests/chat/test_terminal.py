"""The chat as its users see it, in tmux: what stands on the screen after each step."""

from __future__ import annotations

import os
import re
import signal
import sys

import pytest

from localllm.chat.database import Database
from tests.chat.tmux import HAS_TMUX, Tmux

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not HAS_TMUX, reason="needs tmux")]

CHAT = f"{sys.executable} -m tests.chat.scripted --no-stats"


@pytest.fixture
def window(tmp_path, monkeypatch):
    """A shell in tmux, and a home for what is kept."""
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    made = Tmux(tmp_path)
    yield made
    made.close()


def start(window, options="", variables=""):
    window.run(f"{variables} {CHAT} {options}")
    return window.wait_until(at_prompt, "the prompt")


def at_prompt(screen):
    return screen.rstrip().endswith(">>>")


def ask(window, text, answer):
    window.run(text)
    return window.wait_until(lambda screen: answer in screen and at_prompt(screen), answer)


def tail(screen, first):
    """The lines from the last one that begins so, without spaces at their ends."""
    lines = [line.rstrip() for line in screen.splitlines()]
    at = max(i for i, line in enumerate(lines) if line.startswith(first))
    return lines[at:]


def test_five_turns_a_stop_a_resize_a_name_a_kill_and_back_again(window, tmp_path):
    screen = start(window, variables="SCRIPTED_SECONDS=0.002")
    welcome = [line.rstrip() for line in screen.splitlines() if line.startswith(("scripted", "/help"))]
    assert welcome == [
        "scripted: scripted, context of 8,192 tokens, 0.00 GB of memory",
        '/help lists commands and keys; """ begins a message of several lines; Ctrl-D leaves.',
    ]
    screen = ask(window, "hi", "You said hi.")
    assert tail(screen, ">>> hi") == [">>> hi", "You said hi.", ">>>"]

    # several lines, by Alt-Enter
    window.type("one")
    window.key("M-Enter")
    window.type("two")
    window.key("Enter")
    screen = window.wait_until(lambda s: "You said one" in s and at_prompt(s))
    assert tail(screen, ">>> one") == [">>> one", "... two", "You said one", "two.", ">>>"]

    # Ctrl-C stops an answer and keeps what was said
    window.run("count 7 2000")
    window.wait_for("[7:5]")
    window.key("C-c")
    screen = window.wait_until(lambda s: "[7:5]" in s and at_prompt(s))
    assert "[7:1999]" not in screen
    n_said = len(re.findall(r"\[7:\d+\]", screen))

    # another width while it is written
    window.run("count 8 60")
    window.wait_for("[8:3]")
    window.resize(50, 20)
    screen = window.wait_until(lambda s: "[8:59]" in s and at_prompt(s))
    assert sorted({int(i) for i in re.findall(r"\[8:(\d+)\]", screen.replace("\n", ""))}) == list(range(60))

    ask(window, "/save plan", "This conversation is 'plan'")
    window.run("count 9 5000")
    window.wait_for("[9:20]")
    os.kill(window.pid("tests.chat.scripted"), signal.SIGKILL)
    screen = window.wait_for("Killed")
    shown = max(int(i) for i in re.findall(r"\[9:(\d+)\]", screen.replace("\n", "")))

    window.clear()
    window.run("clear")
    screen = start(window)
    assert "The last conversation was interrupted: /load brings it back (10 messages)." in screen.replace("\n", "")
    screen = ask(window, "/load", "'plan': 10 messages")
    ask(window, "hi again", "You said hi again.")
    window.key("C-d")
    window.wait_for_shell()
    db = Database(tmp_path / "home" / "conversations.db")
    texts = [m.content for m in db.messages(1)]
    db.close()
    assert texts[:4] == ["hi", "You said hi.", "one\ntwo", "You said one\ntwo."]
    assert len(re.findall(r"\[7:\d+\]", texts[5])) == n_said
    assert f"[9:{shown}]" in texts[9]
    assert texts[10:] == ["hi again", "You said hi again."]


def test_what_is_typed_while_an_answer_is_written_is_asked_next(window):
    start(window, variables="SCRIPTED_SECONDS=0.01")
    window.run("count 5 20")
    window.wait_for("[5:2]")
    for line in ("one ä", "/tokens"):
        window.run(line)
    window.type("not ended")
    screen = window.wait_until(lambda s: s.rstrip().endswith(">>> not ended"), "the line that was begun")
    assert "... " not in screen
    assert [line.rstrip() for line in screen.splitlines() if line.startswith((">>> ", "You said"))] == [
        ">>> count 5 20", ">>> one ä", "You said one ä.", ">>> /tokens", ">>> not ended",
    ]  # fmt: skip


def test_a_hundred_kilobytes_are_pasted(window):
    start(window, "-c 200000")
    text = "".join(f"{i:09}\n" for i in range(10_240))
    window.paste(text)
    window.wait_for("[pasted 10,241 lines]")
    screen = ask(window, " count 3 2", "[3:0] [3:1]")
    assert "000000001" not in screen
    screen = ask(window, "/tokens", "are used")
    assert re.search(r"102,4\d\d  you", screen)


def test_the_history_of_another_session_and_completion(window, tmp_path):
    start(window)
    ask(window, "remember me", "You said remember me.")
    window.key("C-d")
    window.wait_for_shell()
    window.run("clear")
    start(window)
    window.key("Up")
    window.wait_for(">>> remember me")
    window.key("C-c")
    window.wait_for("Ctrl-C again, or Ctrl-D, leaves.")
    window.type("/sys")
    window.key("Tab")
    window.wait_for(">>> /system")
    window.type(" x")
    window.key("Enter")
    window.wait_for("The system message is set.")
    (tmp_path / "notes.txt").write_text("count 4 2")
    window.type(f"/read {tmp_path}/no")
    window.key("Tab")
    window.wait_until(lambda screen: "notes.txt" in screen.replace("\n", ""))
    window.key("Enter")
    window.wait_for("1 lines, 9 tokens")
    ask(window, "what is it?", "[4:0] [4:1]")
    window.key("C-c")
    window.wait_until(lambda screen: screen.count("Ctrl-C again, or Ctrl-D, leaves.") == 2 and screen.endswith(">>>"))
    window.key("C-c")
    window.wait_for_shell()


def test_a_full_context_offers_to_drop_turns(window):
    start(window, "-c 120")
    ask(window, "a" * 40, "You said aaa")
    window.run("b" * 40)
    window.wait_for("Drop the oldest turn to make room? [y/N]")
    screen = ask(window, "y", "You said bbb")
    assert "the context holds 120" in screen
    window.run("c" * 40)
    window.wait_until(lambda screen: screen.rstrip().endswith("[y/N]"))
    window.run("n")
    window.wait_until(lambda screen: screen.rstrip().endswith(">>> " + "c" * 40))


@pytest.mark.parametrize("variables", ["TERM=dumb", "NO_COLOR=1", "LC_ALL=C"])
def test_plainer_terminals(window, variables):
    start(window, variables=variables)
    for question, answer in (("hi", "You said hi."), ("table", "Heading"), ("code", "return x + 1")):
        ask(window, question, answer)
    styled = window._call("capture-pane", "-p", "-e", "-S", "-200")
    if variables != "LC_ALL=C":
        assert not re.search(r"\x1b\[[0-9;]*3[1-7]m", styled)
    if variables == "TERM=dumb":
        assert "\x1b" not in styled
    window.run("count 5 3000")
    window.wait_for("[5:9]")
    window.key("C-c")
    window.wait_until(lambda screen: at_prompt(screen) and "[5:9]" in screen)
    window.run("/bye")
    window.wait_for_shell()


def test_nothing_is_kept_if_that_is_wished(window, tmp_path):
    start(window, "--no-keep")
    ask(window, "hi", "You said hi.")
    window.key("C-d")
    window.wait_for_shell()
    assert not (tmp_path / "home").exists()


def test_thinking(window):
    start(window)
    screen = ask(window, "puzzle", "42")
    assert "<think>" not in screen
    window.run("/think fold")
    window.wait_for("thinking is folded")


def test_how_far_a_long_prompt_is_read(window, tmp_path):
    (tmp_path / "long.txt").write_text("x" * 3000)
    start(window, variables="SCRIPTED_SECONDS=0.001")
    ask(window, f"/read {tmp_path}/long.txt", "go along with your next message")
    window.run("well?")
    window.wait_until(lambda screen: re.search(r"reading: [\d,]+/3,\d\d\d tokens, [\d.]+ t/s, 0:\d\d left", screen))
    window.key("C-c")
    window.wait_until(lambda screen: screen.rstrip().endswith("well?"))
    window.key("Enter")
    screen = window.wait_until(lambda screen: "You said" in screen and at_prompt(screen))
    assert "reading" not in screen
