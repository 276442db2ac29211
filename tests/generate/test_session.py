"""The public model: the text that it makes, over the fake's context."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from localllm.errors import ContextFullError, UsageError
from localllm.generate.chat import Chat
from localllm.generate.params import Sampling, SamplingOptions
from tests.generate.fake import ALPHABET, FakeModel


def test_generate():
    answer = FakeModel().generate("say:", temperature=0)
    assert "".join(answer) == "hello"
    assert answer.stats.stop_reason == "stop"


def test_generate_from_ids():
    model = FakeModel()
    assert "".join(model.generate([1, 2, 3], max_tokens=3, temperature=0.0)) == "def"


def test_chat():
    model = FakeModel()
    assert "".join(model.chat([{"role": "user", "content": "hi"}], temperature=0, stop=["lo"])) == "hel"
    assert model.contexts[0].closed


def test_suppressed_tokens_are_not_in_answers():
    """In a text, and in a conversation: the next best one comes in their place."""
    model = FakeModel("hello")
    model.suppressed = (ALPHABET.index("l"),)
    assert "".join(model.generate("say:", temperature=0, max_tokens=3))[:2] == "he"
    chat = Chat(model, sampling=Sampling(temperature=0), max_tokens=30)
    for text in ("".join(model.generate("say:", temperature=0, max_tokens=30)), "".join(chat.ask("say"))):
        assert text
        assert "l" not in text
    chat.close()


def test_seed():
    model = FakeModel()
    texts = ["".join(model.generate("abc", max_tokens=20, temperature=3.0, seed=s)) for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_sampling_as_a_whole_or_by_fields():
    """`sampling` gives the start, single arguments change it; the penalty's reach is among them."""
    model, whole = FakeModel("aaaa"), Sampling(temperature=0, repeat_penalty=3.0, repeat_last_n=-1)
    expected = "".join(model.generate("say:", max_tokens=9, sampling=whole))
    given: SamplingOptions = {"temperature": 0, "repeat_penalty": 3.0, "repeat_last_n": -1}
    assert "".join(model.generate("say:", max_tokens=9, **given)) == expected
    assert "".join(model.generate("say:", max_tokens=9, sampling=whole, repeat_last_n=64)) == expected
    assert "".join(model.generate("say:", max_tokens=9, sampling=whole, repeat_last_n=1)) != expected
    messages = [{"role": "user", "content": "hi"}]
    assert "".join(model.chat(messages, sampling=whole)) == "".join(model.chat(messages, **given))


def test_options_are_the_fields_of_sampling():
    assert set(SamplingOptions.__annotations__) == {f.name for f in fields(Sampling)}
    unknown: Any = {"top_q": 1}
    with pytest.raises(TypeError, match="top_q"):
        FakeModel().generate("a", **unknown)


def test_closing_early_releases_the_context():
    model = FakeModel()
    with model.generate("say:", temperature=0) as answer:
        assert next(answer) == "h"
    assert model.contexts[0].closed
    assert answer.stats.stop_reason == "cancelled"


def test_errors_come_at_the_call():
    model = FakeModel()
    with pytest.raises(ContextFullError, match="66 tokens"):
        model.generate("a" * 65)
    assert model.contexts[0].closed
    with pytest.raises(UsageError, match="top_p"):
        model.generate("a", top_p=2)
