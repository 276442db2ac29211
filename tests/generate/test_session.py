"""The public model: the text that it makes, over the fake's context."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from localllm.errors import ContextFullError, UsageError
from localllm.generate.chat import Chat
from localllm.generate.params import Sampling, SamplingOptions
from tests.generate.fake import ALPHABET, FakeModel, FakeTokenizer


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


def test_the_file_says_how_tokens_are_chosen_where_nobody_does():
    model = FakeModel("hello")
    model.default_sampling = Sampling(temperature=0, bans=(ALPHABET.index("h"),))
    messages = [{"role": "user", "content": "hi"}]
    assert "".join(model.generate("say:", max_tokens=1)) == "i"
    assert "".join(model.chat(messages, max_tokens=1)) == "i"
    assert "".join(model.generate("say:", max_tokens=1, bans=())) == "h"
    assert "".join(model.generate("say:", max_tokens=1, sampling=Sampling(temperature=0))) == "h"
    chat = Chat(model, max_tokens=1)
    assert "".join(chat.ask("say")) == "i"
    chat.close()


def test_logits_processors():
    """They see the prompt and what was said; one callable, or several."""
    seen = []

    def no_l(ids, logits):
        seen.append(list(ids))
        logits[ALPHABET.index("l")] = -100

    model, prompt = FakeModel("hello"), FakeTokenizer().encode("say:", add_special=True)
    text = "".join(model.generate("say:", max_tokens=4, temperature=0, logits_processor=no_l))
    assert text[:2] == "he"
    assert "l" not in text
    assert seen == [prompt + [ALPHABET.index(c) for c in text[:n]] for n in range(4)]
    messages = [{"role": "user", "content": "hi"}]
    seen.clear()
    both = [no_l, lambda ids, logits: -logits]
    assert "".join(model.chat(messages, max_tokens=1, temperature=0, logits_processor=both)) == "l"
    assert len(seen) == 1


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


def test_an_answer_that_cannot_begin_closes_what_was_opened():
    class Kept:
        closed = False

        def of(self, context):
            return self

        def close(self):
            self.closed = True

    kept: Any = Kept()
    model = FakeModel()
    with pytest.raises(UsageError, match="names token 1000"):
        model.answer([1, 2], Sampling(bans=(1000,)), cache=kept)
    assert kept.closed
    assert model.contexts[0].closed
