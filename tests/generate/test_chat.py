from __future__ import annotations

import pytest

from localllm.errors import ContextFullError, TemplateError, UnsupportedError, UsageError
from localllm.generate.answer import prompt_ids
from localllm.generate.chat import Chat
from localllm.generate.dialogue.prepare import chat_ids
from localllm.generate.params import Sampling
from tests.generate.fake import ALPHABET, BOS, FakeModel

GREEDY = Sampling(temperature=0)


def chat_with(script="hello", **options):
    model = FakeModel(script, can_cut=options.pop("can_cut", True))
    return Chat(model, sampling=GREEDY, **{"n_ctx": 64, **options})


def roles(chat):
    return [(m["role"], m["content"]) for m in chat.messages]


def test_answers_join_the_messages():
    chat = chat_with(system="be")
    answer = chat.ask("hi")
    assert "".join(answer) == answer.text == "hello"
    assert roles(chat) == [("system", "be"), ("user", "hi"), ("assistant", "hello")]
    assert answer.stats.stop_reason == "stop"


def test_a_turn_computes_only_what_is_new():
    chat = chat_with()
    list(chat.ask("hi"))
    second = chat.ask("yo")
    list(second)
    # "u:hi\na:hello" is there, with the BOS
    assert second.stats.cached_tokens == len("u:hi\na:hello") + 1
    assert second.stats.prompt_tokens == len("u:hi\na:hello\nu:yo\na:") + 1
    fed = [t for call in chat.context.calls for t in call]
    assert len(fed) == second.stats.prompt_tokens + len("hello")


def test_a_cache_that_cannot_be_cut_computes_all_again():
    chat = chat_with(can_cut=False)
    list(chat.ask("hi"))
    chat.system("be")
    answer = chat.ask("yo")
    assert "".join(answer) == "hello"
    assert answer.stats.cached_tokens == 0


def test_regen_replaces_the_answer():
    chat = chat_with()
    list(chat.ask("hi"))
    chat.model.script = "howdy"
    assert "".join(chat.regen()) == "howdy"
    assert roles(chat) == [("user", "hi"), ("assistant", "howdy")]


def test_regen_without_an_answer():
    with pytest.raises(UsageError, match="no answer"):
        chat_with(system="be").regen()


def test_clear_keeps_the_system_message():
    chat = chat_with(system="be")
    list(chat.ask("hi"))
    chat.clear()
    assert roles(chat) == [("system", "be")]
    chat.system("")
    assert roles(chat) == []


def test_a_stopped_answer_is_kept_as_far_as_it_went():
    chat = chat_with()
    answer = chat.ask("hi")
    assert [next(answer), next(answer)] == ["h", "e"]
    answer.close()
    assert roles(chat) == [("user", "hi"), ("assistant", "he")]
    assert answer.stats.stop_reason == "cancelled"
    assert list(answer) == []


def test_an_answer_stopped_before_its_first_token_leaves_no_trace():
    chat = chat_with()
    chat.context.interrupt_at = 3
    with pytest.raises(KeyboardInterrupt):
        next(chat.ask("a long question"))
    assert roles(chat) == []
    assert "".join(chat.ask("hi")) == "hello"


def test_asking_ends_the_running_answer():
    chat = chat_with()
    first = chat.ask("hi")
    next(first)
    assert "".join(chat.ask("yo")) == "hello"
    assert roles(chat)[:2] == [("user", "hi"), ("assistant", "h")]


def test_a_question_that_does_not_fit_is_not_kept():
    chat = chat_with(n_ctx=20)
    list(chat.ask("hi"))
    with pytest.raises(ContextFullError, match="holds 20"):
        chat.ask("0123456789")
    assert roles(chat) == [("user", "hi"), ("assistant", "hello")]


def test_a_refused_template_keeps_the_messages(monkeypatch):
    chat = chat_with()
    list(chat.ask("hi"))

    def refuse(messages, add_generation_prompt=True):
        raise TemplateError("no")

    monkeypatch.setattr(chat.model.template, "render", refuse)
    with pytest.raises(TemplateError):
        chat.ask("yo")
    with pytest.raises(TemplateError):
        chat.regen()
    assert roles(chat) == [("user", "hi"), ("assistant", "hello")]


def test_the_fallbacks_stop_strings():
    model = FakeModel("hello\nu:more")
    model.template.stop = ("\nu:",)
    assert "".join(Chat(model, sampling=GREEDY).ask("hi")) == "hello"


def test_close_releases_the_context():
    chat = chat_with()
    next(chat.ask("hi"))
    chat.close()
    assert chat.context.closed


def test_a_seeded_conversation_is_one_sequence_of_draws():
    def talk():
        chat = Chat(FakeModel("hello"), sampling=Sampling(temperature=3.0, seed=4), n_ctx=64, max_tokens=5)
        return ["".join(chat.ask("hi")), "".join(chat.regen())]

    assert talk() == talk()


def test_answer_of_a_model():
    model = FakeModel()
    answer = model.answer(prompt_ids(model, "say:"), GREEDY)
    assert "".join(answer) == "hello"
    assert model.contexts[0].closed


def test_an_answer_that_is_dropped_releases_its_context():
    model = FakeModel()
    answer = model.answer(prompt_ids(model, "say:"), GREEDY)
    next(answer)
    del answer
    assert model.contexts[0].closed


class TestIds:
    def test_bos_is_added_where_the_template_left_it_out(self, monkeypatch):
        model = FakeModel()
        assert chat_ids(model, [{"role": "user", "content": "x"}])[0] == BOS
        monkeypatch.setattr(model.template, "render", lambda messages, add_generation_prompt: ALPHABET[BOS] + "x")
        assert chat_ids(model, [{"role": "user", "content": "x"}]) == [BOS, ALPHABET.index("x")]

    def test_no_bos_for_a_model_that_wants_none(self, monkeypatch):
        model = FakeModel()
        monkeypatch.setattr(model.tokenizer, "add_bos", False)
        assert chat_ids(model, [{"role": "user", "content": "x"}])[0] == ALPHABET.index("u")

    def test_ids_pass_as_they_are(self):
        assert prompt_ids(FakeModel(), (5, 6)) == [5, 6]

    def test_a_model_without_vocabulary_says_so(self):
        model = FakeModel()
        model.tokenizer = None
        with pytest.raises(UnsupportedError, match="no_vocab"):
            prompt_ids(model, "x")
        with pytest.raises(UnsupportedError, match="no_vocab"):
            Chat(model)
        assert model.contexts == []
