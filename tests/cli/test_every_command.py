"""What holds for every command: one line for an error, the exit status, no traceback, whatever goes wrong."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from functools import partial

import pytest

from localllm.cli.main import VERBS
from localllm.errors import INTERRUPTED

WITH_MODEL = {
    "chat": ("{}",), "run": ("{}", "-p", "hi"), "serve": ("{}", "--port", "0"),
    "batch": ("requests.jsonl", "out.jsonl", "{}"), "bench": ("{}", "-p", "4", "-n", "0", "-r", "1"),
    "tune": ("{}",),
    "perplexity": ("{}", "-f", "text.txt"), "compare": ("{}", "text.txt"), "calibrate": ("{}",),
    "embed": ("{}", "hi"), "quantize": ("{}", "small.gguf", "Q8_0"), "tokenize": ("{}", "hi"), "show": ("{}",),
    "rm": ("{}",),
}  # fmt: skip
"""Verbs that take a model -> a command line, with {} where the model stands."""
OTHERS = ("list", "pull", "config", "doctor", "completion", "help")
REQUEST = '{"custom_id": "1", "method": "POST", "url": "/v1/completions", "body": {"prompt": "hi", "max_tokens": 1}}\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text("This is a text. " * 9)
    (tmp_path / "requests.jsonl").write_text(REQUEST)
    (tmp_path / "broken.gguf").write_bytes(b"GGUF\3\0\0\0" + b"\xff" * 64)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_line(result, status):
    assert result.status == status, result.err
    assert result.out == ""
    assert result.err.startswith("localllm: "), result.err
    assert result.err.count("\n") == 1, result.err
    assert "a bug in localllm" not in result.err


def test_every_verb_is_here():
    assert {*WITH_MODEL, *OTHERS} == set(VERBS)


@pytest.mark.parametrize("verb", WITH_MODEL)
class TestModels:
    def test_one_that_is_not_there(self, call, folder, verb):
        one_line(call(verb, *(word.format("none.gguf") for word in WITH_MODEL[verb])), 1)

    def test_a_name_that_is_none(self, call, folder, verb):
        one_line(call(verb, *(word.format("no-such-model-7b") for word in WITH_MODEL[verb])), 1)

    def test_a_broken_file(self, call, folder, verb):
        one_line(call(verb, *(word.format("broken.gguf") for word in WITH_MODEL[verb])), 1)


@pytest.mark.parametrize("verb", VERBS)
class TestAll:
    def test_an_unknown_option(self, call, verb):
        result = call(verb, "--nonsense-option")
        one_line(result, 2)
        assert "--nonsense-option" in result.err
        assert f"localllm {verb} --help" in result.err

    def test_ctrl_c_and_sigterm(self, call, monkeypatch, verb):
        command = importlib.import_module(VERBS[verb][0]).command

        monkeypatch.setattr(command, "params", [])
        for number, status in ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, 143)):
            monkeypatch.setattr(command, "callback", partial(signal.raise_signal, number))
            result = call(verb)
            assert (result.status, result.out, result.err.strip()) == (status, "", "")  # click ends a line after ^C


def run(*args, **streams):
    line = [sys.executable, "-m", "localllm", *map(str, args)]
    return subprocess.run(line, stderr=subprocess.PIPE, text=True, timeout=120, check=False, **streams)


@pytest.fixture
def unread():
    """A pipe whose reader went away."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_nobody_reads_the_output(unread, verb):
    done = run(verb, "--help", stdout=unread, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk():
    with open("/dev/full", "w") as full:
        done = run("list", stdout=full, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert done.stderr == "localllm: the output cannot be written: No space left on device\n"


def test_streams_that_are_closed(tmp_path):
    """As `localllm ... <&- >&-`: nothing else gets their numbers."""
    close = 'exec 0<&- 1>&-; exec "$@"'
    line = ["sh", "-c", close, "sh", sys.executable, "-m", "localllm"]
    for args, status, words in (
        (("list",), 0, ""),
        (("run", "-m", "x.gguf"), 2, "no prompt"),
        (("nonsense",), 2, "nonsense"),
    ):
        done = subprocess.run([*line, *args], capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stdout) == (status, "")
        assert words in done.stderr
        assert "bug" not in done.stderr


@pytest.mark.parametrize("verb", ["run", "tokenize", "embed"])
def test_ctrl_c_while_standard_input_is_read(verb, tmp_path):
    """A real signal, when the process says that it waits."""
    code = (
        "import os, sys\n"
        "from localllm.cli import embed, main, questions, run, tokenize\n"
        "class Waiting:\n"
        "    buffer = property(lambda self: self)\n"
        "    def isatty(self): return False\n"
        "    def fileno(self): return 0\n"
        "    def read(self):\n"
        "        print('reading', flush=True)\n"
        "        return os.read(0, 9)\n"
        "tokenize._load = lambda path: None\n"
        "sys.stdin = Waiting()\n"
        f"sys.exit(main.main(['{verb}', *sys.argv[1:]]))\n"
    )
    model = tmp_path / "m.gguf"
    model.write_bytes(b"")
    args = {"run": ["-m", model, "-f", "-"], "tokenize": [model], "embed": [model]}[verb]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "reading\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.strip()) == (INTERRUPTED, "", "")


@pytest.mark.parametrize("verb", ["run", "tokenize", "embed"])
def test_what_is_no_text_on_standard_input(call, fake, monkeypatch, tmp_path, verb):
    from localllm.cli import embed, tokenize

    model = tmp_path / "m.gguf"
    model.write_bytes(b"")
    monkeypatch.setattr(tokenize, "_load", lambda path: None)
    monkeypatch.setattr(embed, "load_model", lambda *_args, **_given: fake)
    result = call(verb, *(("-m", model) if verb == "run" else (model,)), stdin=b"ab\xff")
    one_line(result, 2)
    assert "standard input is not UTF-8 text: byte 2 is 0xff" in result.err
