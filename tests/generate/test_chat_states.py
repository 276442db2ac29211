"""Conversations with models of every kind: a turn reads only what is new, whatever kind of states the layers keep."""

from __future__ import annotations

from typing import Any

import pytest

import localllm
from localllm.generate.chat import Chat
from localllm.generate.params import Sampling
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
        """Tokens fed for an answer beside those that it has made, and the answer."""
        self.fed.clear()
        text = "".join(answer)
        assert answer.stats.answer_tokens == N_ANSWER
        return sum(self.fed) - (N_ANSWER - 1), text

    def close(self):
        self.chat.close()
        self.model.close()


CAUSAL = [name for name, case in models.cases().items() if case.kv.get("attention.causal", True)]


@pytest.fixture(params=CAUSAL)
def talk(request, tmp_path):
    case = models.cases()[request.param]
    path = models.write(tmp_path / "m.gguf", case, **VOCABULARY)
    with localllm.load(path, n_ctx=64) as model:
        if not model.network.causal:
            pytest.skip("attends in both directions")
    made = Counted(path)
    yield made
    made.close()


def test_three_turns_regen_and_another_message(talk):
    """The last token of an answer is fed with the next message: it was never needed before."""
    chat = talk.chat
    n_first, _ = talk.tokens(chat.ask("hello,youthere"))
    assert n_first == len("[user]hello,youthere[assistant]")
    for message in ("andmore", "theend"):
        n, text = talk.tokens(chat.ask(message))
        assert n == len(f"[user]{message}[assistant]") + 1
    assert talk.tokens(chat.regen()) == (1, text)
    del chat.messages[-2:]
    n, _ = talk.tokens(chat.ask("thebeginning"))
    assert n <= len("[user]thebeginning[assistant]") + 1
    del chat.messages[2:]
    n, text = talk.tokens(chat.ask("andmore"))
    assert n <= len("[user]andmore[assistant]") + 1
