"""Commands about the model: /model, /think."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from localllm.chat.notes import note
from localllm.errors import NotEnoughMemoryError, UsageError

if TYPE_CHECKING:
    from localllm.chat.talk import Models, Talk
    from localllm.generate.chat import Chat


def switch(talk: Talk, name: str) -> None:
    """Go on with another model; the conversation is read anew by it. What cannot be loaded changes nothing."""
    if not name:
        note(f"{talk.chat.model.description} ({talk.chat.model.path})")
        return
    if talk.models is None:
        raise UsageError("/model: another model cannot be loaded here")
    before = talk.chat
    try:
        after = talk.models.start(name)
    except NotEnoughMemoryError:
        after = _in_place(talk, talk.models, name)
    else:
        _close(before)
    _go_on(talk, after)
    talk.keeping.set(model=after.model.path)
    note(f"{after.model.description}, context of {after.context.n_ctx:,} tokens. The conversation goes on.")
    n = after.n_tokens()
    if n > after.context.n_ctx:
        note(f"It takes {n:,} tokens: /drop forgets the oldest turns.")


def _in_place(talk: Talk, models: Models, name: str) -> Chat:
    """Where there is no memory for two, the first one goes before the other comes, and comes back if it does not."""
    before = talk.chat
    _close(before)
    try:
        return models.start(name)
    except BaseException:
        _go_on(talk, models.start(before.model.path))
        raise


def _go_on(talk: Talk, after: Chat) -> None:
    """The conversation, and what was set, with another model."""
    after.restore(talk.chat.messages)
    after.thinking = talk.chat.thinking
    after.sampling = replace(after.sampling, **talk.settings)
    talk.chat = after


def _close(chat: Chat) -> None:
    chat.close()
    chat.model.close()


def names(_talk: Talk, _rest: str) -> Iterable[str]:
    """Models that are here, and those of the catalog."""
    from localllm.store.catalog import catalog
    from localllm.store.found import found_models

    return dict.fromkeys([*(model.name for model in found_models()), *catalog().entries])


def think(talk: Talk, rest: str) -> None:
    """Switch thinking, or how it is shown."""
    if rest not in ("", *_THINKING):
        raise UsageError(f"/think {rest}: write on, off, show or fold")
    if not talk.chat.can_think:
        raise UsageError("/think: this model does not think before it answers, as far as its template tells")
    if rest:
        field, value = _THINKING[rest]
        setattr(talk.chat if field == "thinking" else talk, field, value)
    wanted = {None: "thinks as its template has it", True: "thinks", False: "does not think"}[talk.chat.thinking]
    note(f"The model {wanted}; thinking is {'folded' if talk.folds_thinking else 'shown'}.")


_THINKING = {
    "on": ("thinking", True),
    "off": ("thinking", False),
    "show": ("folds_thinking", False),
    "fold": ("folds_thinking", True),
}
"""Argument -> field and value, of the chat or of the talk."""
