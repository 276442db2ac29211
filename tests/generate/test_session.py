"""The public model: what it adds to the computing one, over the fake's context."""

from __future__ import annotations

import pytest

from localllm.errors import ContextFullError, UsageError
from localllm.generate import session
from tests.generate.fake import FakeModel


class Model(session.Model):
    """The public model with the fake's parts in place of a file's."""

    def __init__(self, script="hello"):
        self.fake = FakeModel(script)
        self.__dict__["template"] = self.fake.template
        self.path, self.tokenizer = self.fake.path, self.fake.tokenizer

    def context(self, n_ctx=None, n_seq=1, n_batch=512):
        return self.fake.context(n_ctx, n_seq, n_batch)

    def close(self):
        pass


def test_generate():
    answer = Model().generate("say:", temperature=0)
    assert "".join(answer) == "hello"
    assert answer.stats.stop_reason == "stop"


def test_generate_from_ids():
    model = Model()
    assert "".join(model.generate([1, 2, 3], max_tokens=3, temperature=0.0)) == "def"


def test_chat():
    model = Model()
    assert "".join(model.chat([{"role": "user", "content": "hi"}], temperature=0, stop=["lo"])) == "hel"
    assert model.fake.contexts[0].closed


def test_seed():
    model = Model()
    texts = ["".join(model.generate("abc", max_tokens=20, temperature=3.0, seed=s)) for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_closing_early_releases_the_context():
    model = Model()
    with model.generate("say:", temperature=0) as answer:
        assert next(answer) == "h"
    assert model.fake.contexts[0].closed
    assert answer.stats.stop_reason == "cancelled"


def test_errors_come_at_the_call():
    model = Model()
    with pytest.raises(ContextFullError, match="66 tokens"):
        model.generate("a" * 65)
    assert model.fake.contexts[0].closed
    with pytest.raises(UsageError, match="top_p"):
        model.generate("a", top_p=2)
