"""A model that has a template of its own, and one id a byte, but for its special tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from localllm.text.template import ChatTemplate
from tests.generate.dialogue.walks import vocabulary

TEMPLATES = Path(__file__).parents[2] / "text" / "templates"


def template(name):
    return ChatTemplate((TEMPLATES / f"{name}.jinja").read_text(), "<s>", "</s>")


class TemplateModel:
    path = "fake.gguf"

    def __init__(self, template, tokenizer=None, tool_template=None):
        self.template = template
        self.tool_template = tool_template or template
        self.tokenizer: Any = tokenizer or vocabulary()
