from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from localllm.chat import loop
from localllm.chat.keeping import Keeping
from localllm.chat.notes import note
from localllm.chat.talk import Models, Talk
from localllm.generate.chat import Chat
from localllm.generate.params import Sampling
from tests.generate.fake import FakeModel


class Script:
    """A reader that gives these lines, raises those that are exceptions, and then ends. `defaults`: what stood in the
    line each time; `answers`: to questions, with `questions` those that were asked."""

    def __init__(self, lines, interactive=True, answers=()):
        self.interactive = interactive
        self._lines, self._answers = iter(lines), iter(answers)
        self.defaults, self.questions = [], []

    def line(self, prompt, default=""):
        self.defaults.append(default)
        line = next(self._lines, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    def answer(self, question):
        self.questions.append(question)
        return next(self._answers)


class PlainView:
    """Writes what it is given; thoughts stand in angle brackets."""

    def __init__(self, _folded=False):
        self.thoughts = ""

    def content(self, text):
        sys.stdout.write(text)

    def reasoning(self, text):
        self.thoughts += text

    def end(self):
        if self.thoughts:
            sys.stdout.write(f"<{self.thoughts}>")
        sys.stdout.write("\n")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Where this test's chats are kept."""
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def say(capsys, home):
    """say(lines) -> status, out, err, talk, reader, as in a terminal. keeps: in the database of `home`."""

    def run(*lines, model=None, stats=False, n_ctx=64, interactive=True, keeps=False, answers=(), load=None, **options):
        def converse(model):
            return Chat(model, sampling=Sampling(temperature=0), n_ctx=n_ctx, **options)

        reader = Script(lines, interactive, answers)
        keeping = Keeping.open(keeps, note)
        models = Models(load, converse) if load else None
        talk = Talk(converse(model or FakeModel()), reader, keeping, PlainView, models, stats)
        try:
            status = loop.run(talk)
        finally:
            keeping.close()
        out, err = capsys.readouterr()
        return SimpleNamespace(status=status, out=out, err=err, talk=talk, chat=talk.chat, reader=reader)

    return run
