"""What changes a conversation: undo, drop, thinking; and what is told of it: tokens, progress."""

from __future__ import annotations

import threading

import pytest

import localllm
from localllm.errors import UsageError
from localllm.generate.chat import Chat
from localllm.generate.dialogue.deltas import Content, Reasoning
from localllm.generate.params import Sampling
from tests.generate.fake import FakeModel, FakeTemplate
from tests.generate.test_chat_states import VOCABULARY, Counted
from tests.recorded import models

GREEDY = Sampling(temperature=0)


def chat_with(script="hello", n_ctx=64, **options):
    return Chat(FakeModel(script), sampling=GREEDY, n_ctx=n_ctx, **options)


def contents(chat):
    return [m["content"] for m in chat.messages]


def said(chat, *messages):
    for message in messages:
        "".join(chat.ask(message))
    return chat


class TestTurns:
    def test_undo(self):
        chat = said(chat_with(system="be"), "hi", "yo")
        assert chat.undo() == "yo"
        assert contents(chat) == ["be", "hi", "hello"]
        assert chat.undo() == "hi"
        with pytest.raises(UsageError, match="no message yet"):
            chat.undo()

    def test_drop(self):
        chat = said(chat_with(system="be"), "hi", "yo")
        assert chat.n_turns == 2
        chat.drop(1)
        assert contents(chat) == ["be", "yo", "hello"]
        for n in (-1, 2):
            with pytest.raises(UsageError, match="there are 1 turns"):
                chat.drop(n)

    def test_restore(self):
        chat = chat_with()
        chat.restore([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}])
        assert "".join(chat.regen()) == "hello"

    def test_a_regen_that_is_stopped_before_its_first_token_keeps_the_answer(self):
        chat = said(chat_with(), "hi")
        chat.regen().close()
        assert contents(chat) == ["hi", "hello"]

    def test_another_sampling(self):
        chat = chat_with()
        chat.sampling = Sampling(top_k=3)
        assert chat.sampling.top_k == 3
        with pytest.raises(UsageError):
            chat.sampling = Sampling(logit_bias=((9999, 1.0),))
        assert chat.sampling.top_k == 3


class TestTokens:
    def test_counts(self):
        chat = said(chat_with(), "hi")
        assert chat.n_tokens() == 1 + len("u:hi\na:hello\na:")
        assert chat.n_tokens("yo") == 1 + len("u:hi\na:hello\nu:yo\na:")
        assert chat.n_tokens("yo", dropped=1) == 1 + len("u:yo\na:")
        assert chat.count("hello") == 5
        assert chat_with().n_tokens() == 0

    @pytest.mark.parametrize(("n_ctx", "spare", "want"), [(64, 10, 0), (43, 10, 1), (30, 10, 2), (30, 24, None)])
    def test_how_many_turns_must_go(self, n_ctx, spare, want):
        chat = said(chat_with(n_ctx=64), "hi", "yo")
        chat.context.n_ctx = n_ctx
        assert chat.turns_to_drop("my", spare) == want

    def test_bytes(self):
        chat = chat_with()
        assert chat.n_bytes == FakeModel.n_bytes + 1_000


class TestReading:
    def test_progress_of_a_prompt(self):
        chat, told = chat_with(), []
        chat.on_read(lambda done, total: told.append((done, total)))
        list(chat.ask("0123456789"))
        assert told == [(0, 16), (8, 16), (16, 16)]
        told.clear()
        list(chat.ask("hi"))
        assert told[0] == (21, 29)

    def test_a_prompt_that_is_cancelled_goes_on_where_it_was(self):
        chat = chat_with()
        chat.context.before_pass = lambda context: chat.cancel() if len(context.cells) == 8 else None
        answer = chat.ask("0123456789")
        assert list(answer) == []
        assert (answer.stats.stop_reason, answer.is_kept, contents(chat)) == ("cancelled", False, [])
        chat.context.before_pass = lambda context: None
        again = chat.ask("0123456789")
        assert "".join(again) == "hello"
        assert again.stats.cached_tokens == 8

    def test_cancelled_between_two_passes(self):
        """By a signal that comes when nothing is computed."""
        chat = chat_with()
        answer = chat.ask("hi")
        assert next(answer) == "h"
        chat.cancel()
        assert list(answer) == []
        assert contents(chat) == ["hi", "h"]
        assert "".join(chat.ask("yo")) == "hello"

    def test_from_another_thread(self):
        chat = chat_with("x" * 1000, n_ctx=2000)
        answer = chat.ask("hi")
        next(answer)
        stopper = threading.Thread(target=chat.cancel)
        stopper.start()
        stopper.join()
        assert len(list(answer)) < 2
        assert answer.stats.stop_reason == "cancelled"


class ThinkingTemplate(FakeTemplate):
    """Shows answers without what was thought, as Qwen 3's does."""

    source = "<think> </think> enable_thinking"

    def render(self, messages, add_generation_prompt=True, enable_thinking=True, **extra):
        turns = "".join(f"{m['role'][0]}:{m['content']}\n" for m in messages)
        opening = "a:" + ("" if enable_thinking else "<think></think>")
        return turns + opening * add_generation_prompt


def thinking_chat(script="<think>hm hm</think>yes", **options):
    model = FakeModel(script)
    model.template = model.tool_template = ThinkingTemplate()
    return Chat(model, sampling=GREEDY, n_ctx=200, **options)


class TestThinking:
    def test_it_is_told_apart(self):
        chat = thinking_chat()
        answer = chat.ask("hi")
        parts = list(answer.parts())
        assert "".join(part.text for part in parts if isinstance(part, Reasoning)) == "hm hm" == answer.reasoning
        assert "".join(part.text for part in parts if isinstance(part, Content)) == "yes" == answer.text
        assert chat.messages[1] == {"role": "assistant", "content": "yes", "reasoning_content": "hm hm"}

    def test_an_iteration_gives_what_is_said(self):
        answer = thinking_chat().ask("hi")
        assert "".join(answer) == "yes"
        assert answer.reasoning == "hm hm"

    def test_a_turn_reads_the_last_answer_again_and_what_is_new(self):
        """What was thought is not there the next time, so that the answer stands elsewhere; all before it stays."""
        chat = said(thinking_chat(), "hi")
        second = chat.ask("yo")
        list(second)
        assert second.stats.cached_tokens == 1 + len("u:hi\na:")
        assert second.stats.prompt_tokens - second.stats.cached_tokens == len("yes\nu:yo\na:")

    @pytest.mark.parametrize(("wanted", "opening"), [(None, "a:"), (True, "a:"), (False, "a:<think></think>")])
    def test_switches(self, wanted, opening):
        chat = thinking_chat(thinking=wanted)
        next(chat.ask("hi"), None)
        assert chat.can_think
        assert chat.model.tokenizer.decode(chat.context.cells).startswith(f"u:hi\n{opening}")

    def test_a_model_that_does_not_think_is_not_asked_to(self):
        chat = chat_with(thinking=True)
        assert not chat.can_think
        assert "".join(chat.ask("hi")) == "hello"

    def test_thoughts_that_are_cut_off(self):
        chat = thinking_chat(max_tokens=10)
        answer = chat.ask("hi")
        assert "".join(answer) == ""
        assert answer.reasoning == "hm "
        assert chat.messages[1]["content"] == ""

    def test_a_tag_that_is_none_is_text(self):
        assert "".join(thinking_chat("<this is text").ask("hi")) == "<this is text"


DROPPING = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]<think>{% endif %}"
)


@pytest.mark.parametrize("name", ["llama", "qwen3next", "gemma3"])
def test_states_come_back_to_before_the_thoughts(name, tmp_path):
    """The prompt ends in the midst of thinking, several tokens after what the next one begins with, too: recurrent
    states have a checkpoint there. A long message is read once."""
    vocabulary = {**VOCABULARY, "tokenizer.chat_template": DROPPING}
    talk = Counted(models.write(tmp_path / "m.gguf", models.cases()[name], **vocabulary))
    message = "along,longmessage" * 8
    n, text = talk.tokens(talk.chat.ask(message))
    assert text == ""  # nobody told these weights how to end their thoughts
    assert n == len(f"[user]{message}[assistant]<think>")
    n, _ = talk.tokens(talk.chat.ask("more"))
    assert n <= len("[assistant][user]more[assistant]<think>")
    talk.close()


def test_the_same_answers_as_without_pauses(tmp_path):
    vocabulary = {**VOCABULARY, "tokenizer.chat_template": DROPPING}
    path = models.write(tmp_path / "m.gguf", models.cases()["qwen3next"], **vocabulary)
    with localllm.load(path, n_ctx=512, n_threads=2) as model:
        texts = []
        for told in (None, lambda done, total: None):
            chat = Chat(model, sampling=GREEDY, max_tokens=9)
            chat.on_read(told)
            if told is None:
                vars(chat)["_lasting"] = lambda prepared: 0
            texts.append([answer.reasoning for m in ("hello", "you") if list(answer := chat.ask(m)) == []])
            chat.close()
    assert texts[0] == texts[1]
    assert all(texts[0])
