"""What vLLM's server has beside OpenAI's paths."""

from __future__ import annotations

from tests.generate.fake import FakeTokenizer


def test_what_the_tokenizer_is(ask, monkeypatch):
    for name, value in {"kind": "fake", "eos_id": 0, "token_text": lambda self, token: f"<{token}>"}.items():
        monkeypatch.setattr(FakeTokenizer, name, value, raising=False)
    assert ask("/tokenizer_info", None, method="GET").json == {
        "tokenizer_class": "fake", "bos_token": "<0>", "eos_token": "<0>", "pad_token": None, "chat_template": None,
    }  # fmt: skip
