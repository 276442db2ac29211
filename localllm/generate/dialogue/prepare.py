"""From a conversation to what an engine takes: the prompt's ids, what directs the answer, and who reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from localllm.generate.answer import HasVocabulary, template_ids, vocabulary
from localllm.generate.constraint import NewConstraint
from localllm.generate.dialogue.conversation import Conversation, text_of
from localllm.generate.dialogue.parser import OutputParser


class DialogueTemplate(Protocol):
    """What a conversation needs of a chat template (localllm.text's ChatTemplate and PlainTurns are such)."""

    @property
    def stop(self) -> tuple[str, ...]: ...
    def render(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True, **extra: Any
    ) -> str: ...


class DialogueModel(HasVocabulary, Protocol):
    """What a conversation needs of a model (localllm.generate.session's Model is one)."""

    @property
    def template(self) -> DialogueTemplate: ...


@dataclass(frozen=True)
class Prepared:
    """A conversation, ready to be answered; fields go into an engine's Request as they are."""

    prompt: str
    """The text that the template wrote."""
    ids: list[int]
    new_parser: Callable[[], OutputParser]
    """Each answer has a parser of its own."""
    constraint: NewConstraint | None = None
    stop: tuple[str, ...] = ()
    """Texts before which the answer ends, beside the request's own."""
    show_special: bool = False
    """The parser looks for control tokens: they must be in the text it gets."""


def prepare(model: DialogueModel, conversation: Conversation) -> Prepared:
    """Make a conversation ready for `model`.

    Raises TemplateError where the file's template refuses it, UsageError where tools or thinking ask for what this
    model or this installation cannot do.
    """
    messages = [{**m, "content": text_of(m.get("content"))} for m in conversation.messages]
    extra = dict(conversation.template_kwargs)
    if conversation.thinking is not None:
        extra["enable_thinking"] = conversation.thinking
    prompt = model.template.render(messages, add_generation_prompt=True, **extra)
    return Prepared(prompt, template_ids(vocabulary(model), prompt), OutputParser, stop=model.template.stop)
