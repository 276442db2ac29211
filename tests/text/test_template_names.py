"""Templates by name, by a vocabulary, and from a user's file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from localllm.errors import FileError, TemplateError, UsageError
from localllm.text.template import ChatTemplate, PlainTurns, chat_template, chosen_template
from localllm.text.templates import FALLBACKS, TEMPLATES
from tests.text.build import byte_level, tokenizer_of
from tests.text.record_named import PATH

RECORDED = json.loads(PATH.read_text())
OURS = {"alpaca", "dots1", "gemma4"}
"""llama.cpp has no names for these."""
DIFFERENT = {("yandex", "system"), ("yandex", "all")}
"""llama.cpp drops the system's text there; here it heads the user's."""
USER = [{"role": "user", "content": "hi"}]


class FakeTokenizer:
    """A vocabulary of special tokens."""

    bos_id, eos_id = 0, 1

    def __init__(self, *tokens: str) -> None:
        self.tokens = ["<s>", "</s>", *tokens]

    def special_id(self, text: str) -> int | None:
        return self.tokens.index(text) if text in self.tokens else None

    def token_text(self, token_id: int) -> str:
        return self.tokens[token_id]


def of_vocabulary(*tokens: str, kind: str = "gpt2") -> ChatTemplate | PlainTurns:
    tokenizer: Any = FakeTokenizer(*tokens)
    return chat_template({"tokenizer.ggml.model": kind}, tokenizer)


class TestNames:
    def test_all_of_llama_cpp(self):
        assert set(RECORDED["rendered"]) == set(TEMPLATES) - OURS

    @pytest.mark.parametrize("name", sorted(RECORDED["rendered"]))
    def test_writes_what_llama_cpp_does(self, name):
        template = chosen_template(name, {}, None)
        for key, text in RECORDED["rendered"][name].items():
            if (name, key) not in DIFFERENT:
                assert template.render(RECORDED["conversations"][key]) == text, key

    @pytest.mark.parametrize("name", sorted(TEMPLATES))
    def test_nothing_is_dropped(self, name):
        template = chosen_template(name, {}, None)
        assert template.description == f"named: {name}"
        assert (template.is_fallback, template.advice) == (False, "")
        text = template.render(RECORDED["conversations"]["all"])
        assert all(m["content"].strip() in text for m in RECORDED["conversations"]["all"])
        assert text.startswith(template.render(RECORDED["conversations"]["all"], add_generation_prompt=False))

    @pytest.mark.parametrize("name", sorted(TEMPLATES))
    def test_the_system_at_the_end_is_shown(self, name):
        said = [*USER, {"role": "assistant", "content": "Hello!"}, {"role": "system", "content": "Be brief."}]
        template = chosen_template(name, {}, None)
        for messages in (said, said[2:]):
            assert template.render(messages).count("Be brief.") == 1

    def test_unknown(self):
        with pytest.raises(UsageError, match=r"'chatmll', and there is no such file: near it are chatml, "):
            chosen_template("chatmll", {}, None)
        with pytest.raises(UsageError, match=r"by name there are alpaca, .*, zephyr$"):
            chosen_template("zzzzz", {}, None)

    def test_of_the_file(self):
        metadata = {"tokenizer.chat_template": "a", "tokenizer.chat_template.rag": "b"}
        template = chosen_template("rag", metadata, None)
        assert template.render(USER) == "b"
        assert template.description == "the file's own: rag"
        assert chat_template(metadata, None).description == "the file's own"


class TestFiles:
    def test_is_read(self, tmp_path):
        path = tmp_path / "mine.jinja"
        path.write_text("{% for m in messages %}{{ m.content }}é{% endfor %}", encoding="utf-8")
        template = chosen_template(str(path), {}, None)
        assert template.render(USER) == "hié"
        assert template.description == f"from {path}"

    def test_as_text(self):
        template = chosen_template("{{ messages[0].content }}!", {}, None)
        assert (template.render(USER), template.description) == ("hi!", "given as text")

    @pytest.mark.parametrize(
        ("data", "error", "said"),
        [(b"\xff", FileError, "byte 0 is not UTF-8"), (b"x" * (1 << 20), TemplateError, "characters long, at most")],
    )
    def test_that_cannot_be_used(self, tmp_path, data, error, said):
        path = tmp_path / "mine.jinja"
        path.write_bytes(data)
        with pytest.raises(error, match=said):
            chosen_template(str(path), {}, None)

    @pytest.mark.parametrize("given", ["missing.jinja", "some/where", "/nothing/here"])
    def test_that_is_not_there(self, given):
        with pytest.raises(FileError, match="no such file"):
            chosen_template(given, {}, None)


class TestFallbacks:
    @pytest.mark.parametrize("row", FALLBACKS, ids=lambda row: row.name)
    def test_by_the_vocabulary(self, row):
        template = of_vocabulary(*row.signs, kind=row.tokenizer or "llama")
        why = f"its vocabulary has {' and '.join(row.signs)}"
        assert template.description == f"fallback: {row.name} ({why})"
        used = f"This model has no chat template: {row.name} is used, as {why}. "
        assert template.advice == f"{used}--chat-template chooses another."
        assert template.is_fallback
        assert template.stop == TEMPLATES[row.name].stop

    def test_the_kind_of_the_vocabulary_counts(self):
        assert of_vocabulary("[INST]", "[/INST]").render(USER) == "[INST]hi[/INST]"
        assert of_vocabulary("[INST]", "[/INST]", kind="llama").render(USER) == "[INST] hi[/INST]"

    def test_none_fits(self):
        template = of_vocabulary("<|im_start|>", "[INST]")
        assert isinstance(template, PlainTurns)
        assert "plain dialogue" in template.advice
        assert chat_template({}, None).advice == template.advice

    def test_a_real_vocabulary(self):
        metadata = byte_level(0)
        metadata["tokenizer.ggml.tokens"][-2] = "<|im_end|>"
        template = chat_template(metadata, tokenizer_of(metadata))
        assert template.render(USER) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
