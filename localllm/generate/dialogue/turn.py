"""The assistant's turn: what families of formats read from and write to."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Mapping, Sequence
from typing import Any

from localllm.generate.dialogue.conversation import parameters_of
from localllm.generate.dialogue.deltas import CallArguments, CallBegin, Content, Delta, Reasoning
from localllm.generate.dialogue.reader import Reader

_ALPHABET = string.ascii_letters + string.digits


class Turn(Reader):
    """The text of one answer as it comes, and the deltas that are made of it, in order."""

    def __init__(self, tools: Sequence[Mapping[str, Any]] = (), id_prefix: str = "call_", id_length: int = 24,
                 seed: int | None = None) -> None:  # fmt: skip
        super().__init__()
        self._schemas = {tool["function"]["name"]: parameters_of(tool) for tool in tools}
        self._id_prefix, self._id_length = id_prefix, id_length
        self._random = random.SystemRandom() if seed is None else random.Random(seed)
        self._deltas: list[Delta] = []
        self.count = 0

    def knows(self, name: str) -> bool:
        """Whether there is a function of that name. What calls another one is content, as it is for llama.cpp."""
        return name in self._schemas

    def properties(self, name: str) -> Mapping[str, Any]:
        """The schemas of a function's arguments."""
        found = self._schemas[name].get("properties")
        return found if isinstance(found, Mapping) else {}

    def begin(self, name: str, call_id: str = "") -> None:
        """A call of a known function was found."""
        made = self._id_prefix + "".join(self._random.choice(_ALPHABET) for _ in range(self._id_length))
        self._deltas.append(CallBegin(self.count, call_id or made, name))
        self.count += 1
        self.commit()

    def arguments(self, text: str) -> None:
        """A piece of the arguments of the call that was begun last."""
        self._add(CallArguments(self.count - 1, text))

    def content(self, text: str) -> None:
        self._add(Content(text))

    def reasoning(self, text: str) -> None:
        self._add(Reasoning(text))

    def drain(self) -> list[Delta]:
        """What was written since the last time."""
        deltas, self._deltas = self._deltas, []
        return deltas

    def _add(self, delta: Content | Reasoning | CallArguments) -> None:
        if not delta.text:
            return
        last = self._deltas[-1] if self._deltas else None
        if isinstance(last, Content | Reasoning) and isinstance(delta, type(last)):
            self._deltas[-1] = type(last)(last.text + delta.text)
        elif isinstance(last, CallArguments) and isinstance(delta, CallArguments):
            self._deltas[-1] = CallArguments(delta.index, last.text + delta.text)
        else:
            self._deltas.append(delta)


def json_text(value: object) -> str:
    """JSON as arguments are written."""
    return json.dumps(value, ensure_ascii=False)


def escaped(text: str) -> str:
    """A text as it stands within a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
