"""The fuzzing targets: a module of this folder each, imported when it is wanted, so that it can be instrumented."""

from __future__ import annotations

import importlib
from typing import cast

from tests.fuzz.target import Target

TARGETS = (
    "reader", "headers", "vocabularies", "texts", "templates", "sentencepiece_files", "imatrix", "folders",
    "prompt_files", "states", "conversations", "records", "grammars", "http", "answers", "markdown", "settings",
    "names",
)  # fmt: skip


def target(name: str) -> Target:
    """The target of a name of TARGETS."""
    return cast(Target, importlib.import_module(f"tests.fuzz.{name}").TARGET)
