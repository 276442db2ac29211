"""A way of writing that tests can read: `<thought>`, `/name:arguments|`, and content for all else."""

from __future__ import annotations

from localllm.generate.dialogue.deltas import CallArguments, CallBegin, Content, Reasoning
from localllm.generate.dialogue.parser import OutputParser
from localllm.generate.dialogue.prepare import Prepared

_MARKS = {"<": "thought", ">": "content", "/": "name", "|": "content"}


class MarkedParser(OutputParser):
    def __init__(self):
        self.kind, self.name, self.n_calls = "content", "", 0

    def push(self, text):
        return [delta for letter in text for delta in self._letter(letter)]

    def finish(self):
        return []

    def _letter(self, letter):
        if self.kind == "name" and letter == ":":
            self.kind, self.n_calls = "arguments", self.n_calls + 1
            return [CallBegin(self.n_calls - 1, f"call_{self.n_calls - 1}", self.name)]
        if letter in _MARKS:
            self.kind, self.name = _MARKS[letter], ""
        elif self.kind == "name":
            self.name += letter
        elif self.kind == "thought":
            return [Reasoning(letter)]
        elif self.kind == "arguments":
            return [CallArguments(self.n_calls - 1, letter)]
        else:
            return [Content(letter)]
        return []


def prepare_marked(model, conversation, check=None):
    return Prepared("hi", [0, 8, 9], MarkedParser)
