"""A model that has a template of its own, and one id a letter, but for its special tokens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from localllm.text.template import ChatTemplate

TEMPLATES = Path(__file__).parent / "templates"


def template(name):
    return ChatTemplate((TEMPLATES / f"{name}.jinja").read_text(), "<s>", "</s>")


class Letters:
    """Ids are code points, but for special tokens, from 0x110000 on; texts do not show those of `control`."""

    bos_id, add_bos = None, False
    eog_ids: frozenset[int] = frozenset()

    def __init__(self, control=(), user_defined=()):
        self.control, self.special = frozenset(control), (*control, *user_defined)
        self.cut = re.compile("(" + "|".join(map(re.escape, self.special)) + ")") if self.special else None

    def encode(self, text, add_special=False, parse_special=False):
        parts = self.cut.split(text) if self.cut else [text]
        ids = [[self.special_id(part)] if part in self.special else map(ord, part) for part in parts]
        return [i for part in ids for i in part]

    def special_id(self, text):
        return 0x110000 + self.special.index(text) if text in self.special else None

    def is_control(self, token_id):
        return token_id >= 0x110000 and self.special[token_id - 0x110000] in self.control

    def token_text(self, token_id):
        return self.special[token_id - 0x110000] if token_id >= 0x110000 else chr(token_id)

    def stream(self, special=False):
        return _Stream(self, special)


class _Stream:
    def __init__(self, letters, special):
        self.letters, self.special = letters, special

    def push(self, token_id):
        hidden = self.letters.is_control(token_id) and not self.special
        return "" if hidden else self.letters.token_text(token_id)

    def finish(self):
        return ""


class TemplateModel:
    path = "fake.gguf"

    def __init__(self, template, tokenizer=None, tool_template=None):
        self.template = template
        self.tool_template = tool_template or template
        self.tokenizer: Any = tokenizer or Letters()
