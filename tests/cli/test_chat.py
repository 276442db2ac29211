from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from localllm.cli import chat as chat_module
from localllm.cli.chat import COMMANDS, Talk, read_message
from localllm.generate.chat import Chat
from localllm.generate.params import Sampling
from tests.generate.fake import FakeModel

ROOT = Path(__file__).parents[2]


def reading(lines):
    """A read_line that gives these, raises those that are exceptions, and then ends."""
    rest = iter(lines)

    def read(prompt):
        line = next(rest, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    return read


@pytest.fixture
def talk(capsys):
    """talk(lines) -> (status, stdout, stderr, chat), as in a terminal."""

    def run(*lines, model=None, stats=False, n_ctx=64, interactive=True):
        chat = Chat(model or FakeModel(), sampling=Sampling(temperature=0), n_ctx=n_ctx)
        status = Talk(chat, stats, interactive, reading(lines)).run()
        out, err = capsys.readouterr()
        return status, out, err, chat

    return run


def test_a_pipe_is_read_line_by_line(call, fake):
    result = call("chat", "--temp", 0, "-c", 64, stdin=b"hi\n\nyo\n/bye\nnever\n")
    assert (result.status, result.out) == (0, "hello\nhello\n")
    assert result.err.count("[ prompt") == 2
    assert ">>>" not in result.out + result.err
    assert fake.closed


def test_a_pipe_may_end_without_bye(call, fake):
    assert call("chat", "--temp", 0, "--no-stats", stdin=b"hi").out == "hello\n"


def test_an_error_over_a_pipe_ends_the_chat(call, fake):
    result = call("chat", "-c", 10, stdin=b"0123456789\nhi\n")
    assert result.status == 1
    assert "holds 10" in result.err.splitlines()[-1]


def test_statistics(talk):
    _, out, err, _ = talk("hi", "yo", stats=True)
    assert out == "hello\nhello\n"
    first, second = [line for line in err.splitlines() if line.startswith("[")]
    assert "prompt 8 tokens, " in first
    assert "| answer 5 tokens, " in first
    assert "(13 kept)" in second


def test_help_names_every_command(talk):
    _, _, err, _ = talk("/help")
    assert all(word in err for word in COMMANDS)


def test_commands(talk):
    status, out, err, chat = talk("/system be", "hi", "/regen", "/clear", "/bye", "never")
    assert status == 0
    assert out == "hello\nhello\n"
    assert chat.messages == [{"role": "system", "content": "be"}]
    assert "cleared" in err
    assert talk("/system be", "/system")[3].messages == []


def test_an_unknown_command(talk):
    _, out, err, _ = talk("/nonsense")
    assert out == ""
    assert "/nonsense is no command" in err


def test_a_path_is_no_command(talk):
    assert talk("/etc/x is what?")[1] == "hello\n"


def test_errors_do_not_end_a_chat_in_a_terminal(talk):
    status, out, err, chat = talk("/regen", "0123456789", "hi", n_ctx=15)
    assert (status, out) == (0, "hello\n")
    assert "no answer yet" in err
    assert "holds 15" in err
    assert "/clear" in err
    assert len(chat.messages) == 2


def test_a_full_context_says_what_to_do(talk):
    _, out, err, _ = talk("hi", model=FakeModel("x" * 50), n_ctx=12)
    assert out == "xxxxx\n"
    assert "12 tokens is full" in err
    assert "/clear" in err
    assert "-c" in err


def test_a_model_without_template_is_told(talk):
    model = FakeModel()
    model.template.is_fallback = True
    assert "no chat template" in talk(model=model)[2]


def test_ctrl_c_stops_the_answer_and_then_leaves(talk, monkeypatch):
    model = FakeModel()
    make = model.context

    def interrupting(*args, **options):
        context = make(*args, **options)
        context.interrupt_at = 10
        return context

    monkeypatch.setattr(model, "context", interrupting)
    status, out, _, chat = talk("hi", "yo", KeyboardInterrupt(), "never", model=model, stats=True)
    assert status == 0
    assert out == "hel\nhello\n"
    assert [m["content"] for m in chat.messages] == ["hi", "hel", "yo", "hello"]


def test_ctrl_c_while_a_question_is_prepared_goes_back_to_the_prompt(talk, monkeypatch):
    model = FakeModel()
    render, first = model.template.render, iter([KeyboardInterrupt()])

    def interrupted(*args, **options):
        for error in first:
            raise error
        return render(*args, **options)

    monkeypatch.setattr(model.template, "render", interrupted)
    assert talk("hi", "yo", model=model)[1] == "hello\n"


def test_ctrl_d_leaves(talk):
    assert talk("hi", EOFError(), "never")[1] == "hello\n"


class TestMultiLine:
    @pytest.mark.parametrize(
        ("lines", "want"),
        [
            (["plain"], "plain"),
            (['"""one"""'], "one"),
            (['"""', "one", "two", '"""'], "one\ntwo"),
            (['"""one', "", 'two"""'], "one\n\ntwo"),
            (['"""one', "cut off"], "one\ncut off"),
        ],
    )
    def test_message(self, lines, want):
        assert read_message(reading(lines)) == want

    def test_a_command_word_inside_is_text(self, talk):
        assert talk('"""', "what is", "/bye", '"""')[1] == "hello\n"


class TestHistory:
    def test_place(self, tmp_path, monkeypatch):
        monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))
        path = chat_module.history_path()
        assert path is not None
        assert path == tmp_path / "home" / "history"
        assert path.stat().st_mode & 0o077 == 0

    def test_a_folder_that_cannot_be_made(self, tmp_path, monkeypatch, capsys):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "file"))
        assert chat_module.history_path() is None
        assert "not kept" in capsys.readouterr().err


PROGRAM = textwrap.dedent(
    """
    import sys, time
    sys.path.insert(0, {root!r})
    import localllm.cli.chat as chat
    from localllm.cli.main import main
    from tests.generate.fake import FakeContext, FakeModel

    class Slow(FakeContext):
        def forward(self, tokens, *rest, **options):
            if len(self.cells) > 10:
                time.sleep(0.2)
            return super().forward(tokens, *rest, **options)

    class Model(FakeModel):
        def context(self, n_ctx=None, n_seq=1, n_batch=8):
            return Slow(self, 1000, 8)

    chat.load_model = lambda *args, **options: Model("so " + "x" * 900)
    sys.exit(main(["chat", "--temp", "0"]))
    """
)


class Terminal:
    """A program in a pseudo-terminal."""

    def __init__(self, code, env):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True
        )
        os.close(slave)
        self.seen = ""

    def wait_for(self, text, seconds=30):
        end = time.monotonic() + seconds
        while text not in self.seen:
            left = end - time.monotonic()
            assert left > 0, f"{text!r} did not come; seen: {self.seen[-2000:]!r}"
            if select.select([self.master], [], [], left)[0]:
                data = os.read(self.master, 65536).decode(errors="replace")
                if "\x1b[6n" in data:  # prompt_toolkit asks where the cursor is
                    os.write(self.master, b"\x1b[1;1R")
                self.seen += data
        self.seen = self.seen.partition(text)[2]

    def send(self, text):
        os.write(self.master, text.encode())


@pytest.mark.slow
def test_a_real_terminal(tmp_path):
    env = {**os.environ, "LOCALLLM_HOME": str(tmp_path), "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "NO_COLOR": "1"}
    terminal = Terminal(PROGRAM.format(root=str(ROOT)), env)
    try:
        terminal.wait_for(">>>")
        terminal.send("hi\r")
        terminal.wait_for("so xx")
        os.kill(terminal.process.pid, signal.SIGINT)
        terminal.wait_for("stopped ]")
        terminal.wait_for(">>>")
        terminal.send("\x03")
        assert terminal.process.wait(10) == 0
        assert "+hi" in (tmp_path / "history").read_text()
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.master)
