"""The templates of many models, beside what transformers' apply_chat_template makes of them."""

from __future__ import annotations

import hashlib
import json

import pytest

from localllm.errors import TemplateError
from localllm.text import template as rendering
from localllm.text.template import ChatTemplate
from tests.text.record_templates import FEATURES, PATH, digest
from tests.text.template_cases import BOS, CASES, EOS, NOW
from tests.text.template_features import MESSAGES
from tests.text.template_features import SOURCES as WRITTEN
from tests.text.template_models import FOLDER, SOURCES, TEMPLATES

RECORDED = json.loads(PATH.read_text())
RENDERED = {key: case for key, case in CASES.items() if "continue_final_message" not in case}
"""Continued messages are those of a conversation: tests/generate/dialogue/test_many_templates.py."""
OURS = {"llama-cpp-deepseek-r1": "Object of type generator is not JSON serializable"}
"""What transformers raises, and we render as llama.cpp does: its own template asks for the JSON of what `map` gives."""


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch):
    monkeypatch.setattr(rendering, "_now", NOW.strftime)


def template(name: str) -> ChatTemplate:
    return ChatTemplate((FOLDER / f"{name}.jinja").read_text(), BOS, EOS)


def test_the_table_has_every_file():
    assert {path.stem for path in FOLDER.glob("*.jinja")} == set(TEMPLATES)
    texts = [(FOLDER / f"{name}.jinja").read_text() for name in TEMPLATES]
    assert len({hashlib.sha256(text.strip().encode()).hexdigest() for text in texts}) == len(texts) >= 70
    assert len({kept.model for kept in TEMPLATES.values()}) == len(TEMPLATES)
    assert {kept.source for kept in TEMPLATES.values()} == set(SOURCES)
    assert sum(map(len, texts)) < 1_000_000
    assert max(map(len, texts)) < 100_000


@pytest.mark.parametrize("name", TEMPLATES)
def test_renders_what_transformers_does(name):
    """In every case: the same text, or an error where transformers raises one."""
    made, recorded = template(name), RECORDED[name]
    assert recorded.keys() == CASES.keys()
    for key, case in RENDERED.items():
        expected, *said = recorded[key]
        if OURS.get(name, "\0") in "".join(said):
            assert "get_weather" in made.render(**case), key
        elif expected:
            text = made.render(**case)
            assert [text] == said or not said, key
            assert digest(text) == expected, key
        else:
            kind, _, message = " ".join(said[0].split()).partition(": ")
            with pytest.raises(TemplateError) as error:
                made.render(**case)
            assert message[:100] in str(error.value), key
            assert ("refuses these messages" in str(error.value)) == (kind == "TemplateError"), key


@pytest.mark.parametrize(("source", "recorded"), list(zip(WRITTEN, json.loads(FEATURES.read_text()), strict=True)))
def test_what_templates_may_write(source, recorded):
    made = ChatTemplate(source, BOS, EOS)
    if isinstance(recorded, str) and source not in REFUSED:
        assert made.render(MESSAGES) == recorded
    elif source in MORE:
        assert made.render(MESSAGES) == MORE[source]
    else:
        with pytest.raises(TemplateError):
            made.render(MESSAGES)


REFUSED = {
    "{{ 'x' | pprint }}", "{{ 'http://a.b' | urlize }}", "{{ {'a': 1} | xmlattr }}", "{{ '<b>a</b>' | striptags }}",
    "{{ 'x' | wordwrap(1) }}", "{{ 'é'.encode('utf-8') }}",
}  # fmt: skip
"""What cannot be held within limits, and no prompt needs."""
MORE = {"{{ [1, 2] | map('string') | tojson }}": '["1", "2"]'}
"""What llama.cpp's templates write."""


def test_most_cases_are_texts():
    """Templates refuse what they do not know; that they do is compared, too."""
    rows = [row for name in TEMPLATES for key, row in RECORDED[name].items() if key in RENDERED]
    assert len(rows) == len(TEMPLATES) * len(RENDERED)
    assert sum(bool(row[0]) for row in rows) > 0.85 * len(rows)
