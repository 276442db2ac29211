"""Nothing that files, models, hubs or clients say controls the terminal that it is shown on: each door is fed with it.

A door is a place that writes on standard output or standard error. The table says why each is safe; one that is not in
it fails the test."""

from __future__ import annotations

import ast
import json
import logging
import os
import sys
import threading
from pathlib import Path

import pytest

from localllm.cli.main import main
from localllm.errors import TemplateError
from localllm.server import logs
from localllm.terminal.answer import AnswerView
from localllm.terminal.progress import Progress
from localllm.terminal.screen import Screen
from localllm.text.template import ChatTemplate
from tests.cli.hostile_text import CONTROLS, HOSTILE, controls
from tests.gguf import build as b

ROOT = Path(__file__).parents[2]
pty = pytest.importorskip("pty")
DOORS = {
    "chat/notes.py": "note: made visible",
    "chat/plain.py": "the prompt's own text, a newline",
    "chat/program.py": "a newline",
    "cli/completion.py": "the shell's script, which localllm writes",
    "cli/equip.py": "the help, which localllm writes",
    "cli/help.py": "the help, which localllm writes",
    "cli/main.py": "the line of an error: made visible",
    "cli/run.py": "thoughts: made visible, then dimmed",
    "cli/streams.py": "echo, echo_json: made visible where it is a terminal",
    "cli/tokenize.py": "pieces as escapes; their colours are localllm's",
    "terminal/answer.py": "a Cleaner before every write; no terminal: as it is",
    "terminal/live.py": "spans that a Cleaner has passed, and the escapes of their styles",
    "terminal/progress.py": "texts made visible",
    "terminal/screen.py": "the stream itself, for those above",
    "tools/assembly.py": "a pipe between two processes",
    "tools/instructions.py": "tables of numbers and loops of its own kernels; the line of an error: made visible",
    "tools/llamacpp_built.py": "the line of an error, which localllm writes, and a path of its own",
    "tools/peers.py": "a pipe between two processes",
    "tools/tokenizer_speed.py": "a table of numbers",
}
"""Files that write on standard output or error, and why that is safe. All others call these."""
_STREAMS = {"echo", "secho", "print", "print_exc", "print_exception"}


@pytest.fixture
def on_terminal(monkeypatch):
    """Runs a function with standard output and error on a terminal; gives what arrived there."""

    def run(function, *args):
        ours, its = pty.openpty()
        arrived: list[bytes] = []

        def read():
            while True:
                try:
                    arrived.append(os.read(ours, 65536))
                except OSError:  # the other end is closed
                    return

        reader = threading.Thread(target=read)
        reader.start()
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("NO_COLOR", raising=False)
        with os.fdopen(its, "w", encoding="utf-8") as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            monkeypatch.setattr(sys, "stderr", stream)
            function(*args)
            stream.flush()
        monkeypatch.undo()
        reader.join()
        os.close(ours)
        return b"".join(arrived).decode()

    return run


@pytest.fixture
def file(tmp_path):
    """A model file all of whose texts are hostile, in a folder and under a name that are, too."""
    folder = tmp_path / HOSTILE.replace("/", "")[:40]
    folder.mkdir()
    path = folder / ("x" + HOSTILE.replace("/", "")[:60] + ".gguf")
    keys = [
        b.kv("general.architecture", b.STR, "llama"),
        b.kv("general.name", b.STR, HOSTILE),
        b.kv("general.license", b.STR, HOSTILE),
        b.kv("tokenizer.ggml.model", b.STR, "llama"),
        b.array("tokenizer.ggml.tokens", b.STR, ["<unk>", "<s>", "</s>", HOSTILE, "▁", "a", "\x1b[31m"]),
        b.array("tokenizer.ggml.scores", b.F32, [0.0] * 7),
        b.array("tokenizer.ggml.token_type", b.I32, [2, 3, 3, 1, 1, 1, 1]),
        b.kv("tokenizer.chat_template", b.STR, HOSTILE),
    ]
    path.write_bytes(b.gguf(keys, [b.tensor("token_embd.weight", (32,), 0, 0)], bytes(128)))
    return path


COMMANDS = [
    ("show", "FILE"),
    ("show", "FILE", "--tensors"),
    ("show", "FILE", "-o", "json"),
    ("tokenize", "FILE", "a" + HOSTILE),
    ("tokenize", "FILE", "a", "--ids"),
    ("run", "FILE", "-p", "hi"),
    ("run", HOSTILE, "-p", "hi"),
    ("chat", HOSTILE),
    ("list", "FOLDER"),
    ("list", "-v"),
    ("pull", HOSTILE),
    ("pull", f"org/repo:{HOSTILE}"),
    ("rm", HOSTILE),
    ("rm", "-y", HOSTILE),
    ("serve", HOSTILE),
    ("bench", "-m", "FILE"),
    ("quantize", "FILE", "FOLDER/out.gguf", HOSTILE),
    ("quantize", "--dry-run", "FILE", "Q8_0"),
    ("embed", "FILE", "-p", HOSTILE),
    ("perplexity", "FILE", "-f", HOSTILE),
    ("config", "--path"),
    (HOSTILE,),
    ("show", f"--{HOSTILE}"),
    ("run", "FILE", "-p", "hi", "--chat-template", "{{ raise_exception(messages[0].content) }}" + HOSTILE),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words)[:30].encode("ascii", "replace").decode())
def test_commands(words, on_terminal, file, monkeypatch, tmp_path):
    monkeypatch.setenv("LOCALLLM_HOME", str(file.parent))
    monkeypatch.setenv("LOCALLLM_OFFLINE", "1")
    monkeypatch.setenv("LOCALLLM_DEBUG", "1")
    words = [word.replace("FILE", str(file)).replace("FOLDER", str(file.parent)) for word in words]
    written = on_terminal(main, words)
    assert written.strip()
    assert controls(written) == [], written


def test_an_answer_as_json_keeps_its_text(on_terminal):
    from localllm.cli.streams import echo_json

    written = on_terminal(lambda: echo_json({"text": HOSTILE}, None, False))
    assert controls(written) == []
    assert json.loads(written) == {"text": HOSTILE}


@pytest.mark.parametrize("length", [1, 2, 3, 1000])
@pytest.mark.parametrize("plain", [False, True])
def test_answers_in_pieces(plain, length, on_terminal):
    def answer():
        view = AnswerView(Screen(sys.stdout), plain=plain)
        for write in (view.reasoning, view.content):
            for i in range(0, len(HOSTILE), length):
                write(HOSTILE[i : i + length])
        view.end()

    written = on_terminal(answer)
    assert "stolen" in written
    moves = written.replace("\x1b[1A", "")  # a line that is drawn anew, and no more
    assert controls(moves) == [], written


def test_a_pipe_gets_an_answer_as_it_is(tmp_path):
    with open(tmp_path / "out", "w+", encoding="utf-8", newline="") as stream:
        view = AnswerView(Screen(stream), plain=True)
        view.content(HOSTILE)
        view.end()
        stream.seek(0)
        assert stream.read() == HOSTILE


def test_logs_of_the_server(on_terminal):
    log = logging.getLogger("localllm.server")
    parent = logging.getLogger("localllm")
    before = parent.handlers[:], parent.level, parent.propagate

    def write():
        logs.configure(requests=True)
        log.info("loaded %s", HOSTILE)
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            log.exception("failed")

    try:
        written = on_terminal(write)
    finally:
        parent.handlers[:], parent.level, parent.propagate = before
    assert "stolen" in written
    assert controls(written) == []


def test_progress(on_terminal):
    def show():
        progress = Progress()
        progress.patience = 0
        for done in range(4):
            progress(f"downloading {HOSTILE}", done, 3)

    written = on_terminal(show)
    assert "stolen" in written
    assert controls(written) == []


def test_a_template_that_refuses():
    with pytest.raises(TemplateError) as error:
        ChatTemplate("{{ raise_exception(messages[0].content) }}").render([{"role": "user", "content": HOSTILE}])
    assert not CONTROLS.search(str(error.value))


def test_every_door_is_in_the_table():
    found = set()
    for path in (ROOT / "localllm").rglob("*.py"):
        if "kernels" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _writes(node.func):
                found.add(str(path.relative_to(ROOT / "localllm")))
    assert found == set(DOORS)


def _writes(function: ast.expr) -> bool:
    """Whether it is `print`, one of click's, or `write` of a standard stream or of a screen."""
    if isinstance(function, ast.Name):
        return function.id == "print"
    if not isinstance(function, ast.Attribute):
        return False
    owner = ast.unparse(function.value)
    if function.attr in _STREAMS:
        return owner in ("click", "traceback")
    return function.attr == "write" and owner in (
        "sys.stdout", "sys.stderr", "self._screen", "self.stream", "self._out"
    )  # fmt: skip
