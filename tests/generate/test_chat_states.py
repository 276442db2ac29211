"""Conversations with models of every kind: a turn reads only what is new, whatever kind of states the layers keep."""

from __future__ import annotations

from typing import Any

import pytest

import localllm
from localllm.errors import UnsupportedError, UsageError
from localllm.generate.chat import Chat
from localllm.generate.params import Sampling
from localllm.model.spec import spec_for
from localllm.model.specs import FILES
from tests.recorded import models

LETTERS = [chr(i) for i in range(0x21, 0x21 + models.N_VOCAB - 2)]
VOCABULARY: dict[str, Any] = {
    "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": [*LETTERS, "Ġ", "<end>"],
    "tokenizer.ggml.token_type": [1] * (models.N_VOCAB - 1) + [3], "tokenizer.ggml.merges": ["! !"],
    "tokenizer.ggml.eos_token_id": models.N_VOCAB - 1,
    "tokenizer.chat_template": "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]",
}  # fmt: skip
"""A token a letter, so that an answer's text gives its ids again."""
N_ANSWER = 9


class Counted:
    """A conversation, and the batches that its context was fed."""

    def __init__(self, path):
        self.model = localllm.load(path, n_ctx=512, n_threads=2)
        self.chat = Chat(self.model, sampling=Sampling(temperature=0.0), max_tokens=N_ANSWER)
        self.fed: list[int] = []
        forward = self.chat.context.forward

        def counted(tokens, *arguments, **more):
            self.fed.append(len(tokens))
            return forward(tokens, *arguments, **more)

        vars(self.chat.context)["forward"] = counted

    def tokens(self, answer):
        """Tokens of the prompt that were fed, and the answer.

        `left`: tokens of it the context lacks: the last one, unless the end token came after it."""
        self.fed.clear()
        text = "".join(answer)
        self.left = 0 if answer.stats.stop_reason == "stop" else 1
        return sum(self.fed) - answer.stats.steps, text

    def close(self):
        self.chat.close()
        self.model.close()


def writes(case: models.Case) -> bool:
    """Whether it goes on with a text: encoders have no logits, others attend in both directions."""
    spec = spec_for(case.architecture)
    return spec.logits and spec.causal and case.kv.get("attention.causal", True)


def one_a_kind(wanted: bool) -> list[str]:
    """A case for each file of specs, of those that write, or do not: every kind of block and stack has one of its
    own."""
    first: dict[str, str] = {}
    for name, case in models.cases().items():
        if case.kv.get("vocab_size", models.N_VOCAB) == models.N_VOCAB and writes(case) is wanted:
            first.setdefault(FILES[case.architecture], name)
    return list(first.values())


@pytest.fixture(params=one_a_kind(True))
def talk(request, tmp_path):
    made = Counted(models.write(tmp_path / "m.gguf", models.cases()[request.param], **VOCABULARY))
    yield made
    made.close()


@pytest.mark.parametrize("name", one_a_kind(False))
def test_refused_by_name(name, tmp_path):
    path = models.write(tmp_path / "m.gguf", models.cases()[name], **VOCABULARY)
    with localllm.load(path, n_ctx=64, n_threads=2) as model:
        chat = Chat(model, sampling=Sampling(temperature=0.0), max_tokens=N_ANSWER)
        with pytest.raises((UnsupportedError, UsageError), match=r"run as an encoder|attends in both directions"):
            "".join(chat.ask("hello,youthere"))
        chat.close()


def test_three_turns_regen_and_another_message(talk):
    """The last token of an answer is fed with the next message: it was never needed before."""
    chat = talk.chat
    n_first, _ = talk.tokens(chat.ask("hello,youthere"))
    assert n_first == len("[user]hello,youthere[assistant]")
    for message in ("andmore", "theend"):
        left = talk.left
        n, text = talk.tokens(chat.ask(message))
        assert n == len(f"[user]{message}[assistant]") + left
    assert talk.tokens(chat.regen()) == (1, text)
    for n_kept, message in ((-2, "thebeginning"), (2, "andmore")):
        del chat.messages[n_kept:]
        n, _ = talk.tokens(chat.ask(message))
        assert n <= len(f"[user]{message}[assistant]") + 1
