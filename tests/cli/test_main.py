"""The command itself: help, exit statuses, one line an error."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from types import ModuleType

import click
import pytest

from localllm.cli import main as cli_main
from localllm.cli.examples import EXAMPLES
from localllm.cli.main import ALIASES, VERBS, cli, main
from localllm.errors import INTERRUPTED, TERMINATED, Cancelled, FormatError, LocalllmError, UsageError


@pytest.fixture
def failing(monkeypatch):
    """failing(error): makes a verb `fail` that raises it."""

    def fail_with(error):
        @click.command("fail")
        def command():
            raise error

        module = ModuleType("failing_verb")
        monkeypatch.setattr(module, "command", command, raising=False)
        monkeypatch.setitem(sys.modules, "failing_verb", module)
        monkeypatch.setitem(cli_main.VERBS, "fail", ("failing_verb", "Fails."))

    return fail_with


def test_help_lists_every_verb(call):
    out = call("--help").out
    for verb, (_, text) in VERBS.items():
        assert f"  {verb} " in out
        assert text in out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(call, verb):
    result = call(verb, "--help")
    assert result.status == 0
    assert f"localllm {verb}" in result.out


def test_version(call):
    result = call("--version")
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("localllm ")


def test_without_a_verb_how_to_begin(call):
    result = call()
    assert (result.status, result.err) == (0, "")
    assert "localllm chat" in result.out
    assert "localllm --help" in result.out


@pytest.mark.parametrize("verb", VERBS)
def test_examples_stand_at_the_end_and_their_options_exist(call, verb):
    examples = EXAMPLES[verb]
    assert 2 <= len(examples) <= 4
    shown = call("help", verb).out
    assert shown == call(verb, "--help").out
    command = cli.get_command(click.Context(cli), verb)
    assert command
    known = {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}
    for about, line in examples:
        assert f"  # {about}\n  {line}\n" in shown[shown.index("\nExamples:\n") :]
        words = shlex.split(line.partition("localllm ")[2].partition(" | ")[0].partition(" < ")[0].partition(" >")[0])
        assert words[0] == verb, line
        assert {word for word in words if re.fullmatch(r"--?[a-z][a-z-]*", word)} <= known, line
        if verb != "help":
            command.make_context(verb, words[1:], resilient_parsing=False)


def test_other_programs_names(call):
    for name, verb in ALIASES.items():
        if verb in VERBS:
            assert call(name, "--help").out == call(verb, "--help").out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["rnu"], ("'rnu' is no command; near it: run",)),
        (["help", "lst"], ("'lst' is no command", "list")),
        (["model.gguf"], ("localllm chat model.gguf",)),
        (["ps"], ("'ps' is no command", "/api/ps")),
        (["-m", "x"], ("localllm run -m",)),
    ],
)
def test_what_is_no_command_names_what_is_near(call, args, words):
    result = call(*args)
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    for word in words:
        assert word in result.err


def test_an_unknown_option_names_what_is_near_and_shown(call):
    assert call("run", "--tmep", "1").err.startswith("localllm: no such option: --tmep; near it: --temp")
    assert "-ncmoe" not in call("run", "--ncmo").err


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "localllm", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("localllm ")


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["--nonsense"],
        ["run", "--nonsense"],
        ["run", "-n", "many"],
        ["run", "-n", "-2"],
        ["run", "--top-p", "1.5"],
        ["run", "a.gguf", "b", "c"],
        ["run", "-m", "a.gguf", "-p", "b", "c"],
        ["run", "-p", "b", "a.gguf", "c"],
        ["run", "a.gguf"],
        ["run", "--raw", "--system", "x", "-p", "y"],
        ["run", "--temp", "nan", "-p", "x"],
        ["bench", "-p", "1,x"],
        ["bench", "-p", "-1"],
        ["bench", "-p", "0", "-n", "0"],
        ["bench", "-o", "xml"],
        ["bench", "a.gguf", "-m", "b.gguf"],
        ["chat", "-c", "-1"],
    ],
)
def test_wrong_usage_is_one_line_and_status_2(call, args):
    result = call(*args)
    assert result.status == 2
    assert result.out == ""
    assert result.err.startswith("localllm: ")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (FormatError("a.gguf: bad"), 1, "localllm: a.gguf: bad\n"),
        (LocalllmError("two\nlines"), 1, "localllm: two lines\n"),
        (UsageError("no"), 2, "localllm: no\n"),
        (Cancelled("stopped"), 130, "localllm: stopped\n"),
        (MemoryError(), 1, "localllm: not enough memory\n"),
    ],
)
def test_errors_are_one_line_and_a_status(call, failing, error, status, line):
    failing(error)
    result = call("fail")
    assert (result.status, result.out, result.err) == (status, "", line)


def test_a_bug_is_called_one(call, failing, monkeypatch):
    monkeypatch.delenv("LOCALLLM_DEBUG", raising=False)
    failing(ZeroDivisionError("oh"))
    result = call("fail")
    assert result.status == 1
    assert result.err.count("\n") == 1
    assert "bug" in result.err
    assert "LOCALLLM_DEBUG=1" in result.err
    monkeypatch.setenv("LOCALLLM_DEBUG", "1")
    assert "Traceback" in call("fail").err


def test_ctrl_c(call, failing):
    failing(KeyboardInterrupt())
    result = call("fail")
    assert result.status == 130
    assert "Traceback" not in result.err


def test_the_readers_end_of_a_pipe_may_close():
    code = "import sys; from localllm.cli.main import main; sys.exit(main(['--help']))"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_terminal_without_the_character():
    code = "from localllm.cli import streams; streams.prepare(); print('\\u00e9')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True
    )
    assert done.stdout == "?\n"


def test_main_returns(capsys):
    assert main(["--version"]) == 0


def test_statuses_of_signals_are_the_shells_numbers():
    assert INTERRUPTED == 128 + signal.SIGINT
    assert TERMINATED == 128 + signal.SIGTERM


def test_arguments_are_not_expanded(call, monkeypatch):
    """On Windows, click would put files, variables and homes into prompts: "What is 2*3?", "Explain $PATH"."""
    given = {}
    monkeypatch.setattr(cli, "main", lambda **options: given.update(options))
    assert call("list").status == 0
    assert given["windows_expand_args"] is False
