"""What a user does with a model: open it, read its metadata, encode a text, render a conversation, read a prompt, and
write a few tokens; in this process, on one thread, which all models share."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from unittest.mock import patch

from localllm import gate
from localllm.errors import LocalllmError
from localllm.generate.session import Model
from localllm.model import memory
from localllm.model import model as loading
from localllm.runtime.system import free_memory
from localllm.runtime.team import Team
from localllm.runtime.teams import Teams
from tests.mutants.vocabularies import TEXT

MAX_MESSAGE = 2500
"""Characters: there is one that names all architectures."""
_TURNS = [{"role": "user", "content": "ab the cab"}]
_IS_FAILURE = ("fail", "error", "_fail", "_wrong", "_cut", "unknown")
"""Functions that make an error for those that call them."""


@dataclass(frozen=True)
class Outcome:
    """kind: "ran", "refused" or "failed"; where: the check that refused, or what failed; text: the message, or a
    traceback."""

    kind: str
    where: str = ""
    text: str = ""


class _SharedTeams(Teams):
    """The teams of all models are one: starting threads takes longer than a small model's tokens."""

    shared: dict[int, Team] = {}  # noqa: RUF012

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._teams = self.shared

    def close(self) -> None:
        pass


@contextmanager
def shared_threads() -> Iterator[None]:
    """Models that are loaded meanwhile share their threads, and what was read of the machine's memory."""
    free = free_memory()
    with (
        patch.object(loading, "Teams", _SharedTeams),
        patch.object(memory, "free_memory", lambda **mapped: free),
    ):
        yield


def use(path: Path, rng: Random) -> Outcome:
    """What becomes of it: it runs, or is refused by an error of ours; anything else is a failure."""
    try:
        _use(path, rng)
    except LocalllmError as error:
        message = str(error)
        if "\n" in message or not message or len(message) > MAX_MESSAGE or not message.isprintable():
            return Outcome("failed", "a message that is no clear line", repr(message))
        return Outcome("refused", _where(error), message)
    except Exception as error:
        return Outcome("failed", f"{type(error).__name__} in {_where(error)}", traceback.format_exc())
    return Outcome("ran")


def _use(path: Path, rng: Random) -> None:
    with Model.load(path, n_threads=1) as model:
        if rng.randrange(4) == 0:
            dict(model.metadata)
            _ = model.description
        ids = _prompt(model, rng)
        if model.network.output is None:
            model.embed([ids], "rank" if model.network.pooling.classifier else "mean")
            model.hidden_states(ids)
        elif model.tokenizer is None:
            context = model.context()
            for tokens in (ids, ids[:1], ids[1:2]):
                context.forward(tokens)
            context.close()
        else:
            for _ in model.generate(ids, max_tokens=3, temperature=rng.choice((0.0, 0.0, 0.8)), seed=1):
                pass


def _prompt(model: Model, rng: Random) -> list[int]:
    """Of 3 to 20 tokens: by vectors or by tiles."""
    tokenizer, n = model.tokenizer, rng.choice((3, 5, 12, 20))
    if tokenizer is None:
        return [i % model.config.n_vocab for i in range(1, n + 1)]
    ids = tokenizer.encode(TEXT, add_special=True, parse_special=rng.randrange(2) == 0)
    tokenizer.decode(ids, special=True)
    if rng.randrange(4) == 0:
        ids = tokenizer.encode(model.template.render(_TURNS), parse_special=True) + ids
    return ids[-n:] or [0]


def _where(error: BaseException) -> str:
    """The check of the gate, or the function, that raised it."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [(str(frame.f_globals.get("__name__")), frame.f_code.co_name) for frame in frames]
    of_gate = [(module, name) for module, name in names if module.startswith(f"{gate.__name__}.")]
    ours = [(m, n) for m, n in names if m.startswith("localllm.") and n not in _IS_FAILURE]
    module, name = of_gate[0] if of_gate else (ours or names)[-1]
    return f"{module.removeprefix('localllm.')}.{name}"
