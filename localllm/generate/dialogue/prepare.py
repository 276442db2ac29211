"""From a conversation to what an engine takes: the prompt's ids, what directs the answer, and who reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

from localllm.errors import TemplateError, TemplateTimeError
from localllm.generate.answer import (
    HasVocabulary,
    TextModel,
    TextTokenizer,
    no_vocabulary,
    template_ids,
    vocabulary,
)
from localllm.generate.constraint import NewConstraint
from localllm.generate.dialogue.capabilities import Capabilities, DialogueTemplate, Message, as_parts, capabilities_of
from localllm.generate.dialogue.conversation import Conversation
from localllm.generate.dialogue.direct import DirectedTokenizer, directions, needs_body
from localllm.generate.dialogue.formats import GENERIC, Format, find_format
from localllm.generate.dialogue.messages import (
    ADAPT,
    SHOWS_TOOLS,
    calls_as_texts,
    late_systems_as_users,
    merge_neighbours,
    merge_systems,
    one_call_each,
    plain_messages,
    plain_tools,
    results_as_texts,
    tell_tools,
)
from localllm.generate.dialogue.parser import OutputParser, Reading
from localllm.generate.dialogue.prompts import OWN_FORMS
from localllm.generate.dialogue.thinking import HARMONY, Thinking, find_thinking
from localllm.text.limits import one_clock


class DialogueTokenizer(TextTokenizer, DirectedTokenizer, Protocol):
    """What a conversation needs of a tokenizer (localllm.text's Tokenizer is one)."""


class DialogueModel(HasVocabulary, Protocol):
    """What a conversation needs of a model (localllm.generate.session's Model is one)."""

    @property
    def tokenizer(self) -> DialogueTokenizer | None: ...
    @property
    def template(self) -> DialogueTemplate: ...
    @property
    def tool_template(self) -> DialogueTemplate: ...


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
    n_lasting: int = 0
    """Characters at the prompt's beginning that a longer conversation begins with, too, where the model thinks and its
    template may show earlier answers without their thoughts; 0: the prompt goes on as it is."""


@one_clock()
def prepare(model: DialogueModel, conversation: Conversation, check: Callable[[str], object] | None = None) -> Prepared:
    """Make a conversation ready for `model`. check: sees the prompt before it is tokenized, and may raise.

    Raises TemplateError where the file's template refuses it, UsageError where tools or thinking ask for what this
    model or this installation cannot do.
    """
    template = model.tool_template if conversation.tools else model.template
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise no_vocabulary(model.path)
    can = capabilities_of(template)
    row = find_format(can.source)
    if conversation.tools and not (can.tools or row.name in SHOWS_TOOLS or row.name in OWN_FORMS):
        row = GENERIC
    thinking = find_thinking(can.source, lambda text: tokenizer.special_id(text) is not None)
    prompt = _Prompt(template, conversation, row, thinking)
    if check is not None:
        check(prompt.text)
    reading = Reading(
        row if conversation.callable_tools or row.is_whole or row.drops else None,
        conversation.callable_tools,
        thinking,
        is_thinking=prompt.is_thinking,
        is_continued=prompt.is_continued,
    )
    return Prepared(
        prompt.text,
        template_ids(tokenizer, prompt.text),
        partial(OutputParser, reading),
        directions(tokenizer, conversation, reading, row),
        stop=template.stop,
        show_special=_looks_for_control_tokens(reading, tokenizer),
        n_lasting=prompt.n_lasting,
    )


@one_clock()
def chat_ids(model: TextModel, messages: Sequence[Message]) -> list[int]:
    """Plain messages as ids, through the model's template, ready for the assistant's turn.

    Raises ConversationError for messages that are none, TemplateError where the template refuses them.
    """
    row = find_format(capabilities_of(model.template).source)
    prompt = _Prompt(model.template, Conversation(messages), row, None)
    return template_ids(vocabulary(model), prompt.text)


class _Prompt:
    """What the template writes, and where it breaks off."""

    def __init__(
        self, template: DialogueTemplate, conversation: Conversation, row: Format, thinking: Thinking | None
    ) -> None:
        self._template, self._thinking = template, thinking
        can = capabilities_of(template)
        tools = plain_tools(conversation.tools)
        messages = plain_messages(conversation.messages, can, row)
        begun = messages.pop() if conversation.prefill else None
        told = row.name in SHOWS_TOOLS or not tools or can.tools
        messages = _adapted(messages if told else tell_tools(messages, tools, row), tools, can, row)
        if can.wants_parts:
            messages = as_parts(messages)
        self._extra = can.told(tools if told else ()) | _variables(conversation, thinking)
        self.text = template.render(messages, add_generation_prompt=True, **self._extra)
        self.is_thinking = self.is_continued = False
        self.n_lasting = 0
        if thinking is None and begun is None:
            return
        opening = self._opening(messages)
        if thinking is not None and begun is None:
            self.n_lasting = len(self.text) - len(opening)
        self.is_continued = begun is not None and bool(begun["content"])
        if begun is not None:
            shown = self._shown(messages, begun, opening)
            opening = self._add(opening, shown or _begun_text(begun, opening, thinking))
        self.is_thinking = thinking is not None and not self.is_continued and thinking.is_open(opening)
        unwanted = conversation.thinking is False or conversation.thinking_budget == 0
        if thinking and self.is_thinking and unwanted:
            self._add(opening, thinking.ending)
            self.is_thinking = False
        if thinking is HARMONY and not (self.is_thinking or self.is_continued or unwanted) and needs_body(conversation):
            self.text += thinking.opening  # a grammar could not tell its beginning from that of a call
            self.is_thinking = True

    def _shown(self, messages: Sequence[Message], begun: Message, opening: str) -> str:
        """What the template writes for content that is to be continued, after the prompt: some mark its beginning. ""
        where it does not go on from the prompt, or leaves the content in the midst of thinking."""
        content = begun["content"]
        if not content or begun.get("reasoning_content"):
            return ""
        last = [begun | {"content": content + _HERE}]
        if capabilities_of(self._template).wants_parts:
            last = as_parts(last)
        try:
            full = self._template.render([*messages, *last], add_generation_prompt=False, **self._extra)
        except TemplateTimeError:
            raise
        except TemplateError:
            return ""
        head, here, _ = full.partition(_HERE)
        text = head.removeprefix(self.text)
        if not here or not head.startswith(self.text) or not text.endswith(content):
            return ""
        return "" if self._thinking and self._thinking.is_open(opening + text) else text

    def _add(self, opening: str, text: str) -> str:
        self.text += text
        return opening + text

    def _opening(self, messages: Sequence[Message]) -> str:
        """What the template wrote for the answer's beginning: what is not there without it."""
        try:
            without = self._template.render(messages, add_generation_prompt=False, **self._extra)
        except TemplateTimeError:
            raise
        except TemplateError:
            without = ""
        if not without:  # it refuses a conversation that nobody goes on with
            return self.text[-_OPENING:]
        same = next((i for i, (a, b) in enumerate(zip(without, self.text, strict=False)) if a != b), None)
        return self.text[min(len(without), len(self.text)) if same is None else same :]


_HERE = "zq-here-zq"
"""Marks the end of content that is to be continued."""
_OPENING = 64
"""Characters at a prompt's end in which its beginning of the answer is, where that cannot be told exactly."""


def _adapted(messages: list[Message], tools: Sequence[dict[str, Any]], can: Capabilities, row: Format) -> list[Message]:
    """Messages in the forms that the template takes."""
    if any(message.get("tool_calls") for message in messages) and not can.arguments:
        messages = calls_as_texts(messages, row)
    if any(message["role"] == "tool" for message in messages) and (row is GENERIC or not can.results):
        messages = results_as_texts(messages)
    if any(len(message.get("tool_calls", ())) > 1 for message in messages) and not can.parallel_calls:
        messages = one_call_each(messages)
    if messages and messages[0]["role"] in ("system", "developer"):
        messages = merge_systems(messages, can)
    if any(message["role"] in ("system", "developer") for message in messages[1:]) and not can.late_system:
        messages = late_systems_as_users(messages)
    roles = [message["role"] for message in messages]
    if any(a == b for a, b in pairwise(roles)) and not can.neighbours:
        messages = merge_neighbours(messages)
    adapt = ADAPT.get(row.name)
    return adapt(messages, tools) if adapt else messages


def _variables(conversation: Conversation, thinking: Thinking | None) -> dict[str, Any]:
    """What templates are told about thinking, by the names that they use for it."""
    variables: dict[str, Any] = {}
    wanted = conversation.thinking
    if wanted is None and conversation.prefill and conversation.messages[-1].get("reasoning_content"):
        wanted = True
    if wanted is not None:
        variables |= {"enable_thinking": wanted, "thinking": wanted}
        if thinking is HARMONY and not wanted:
            variables["reasoning_effort"] = "low"  # there is no less
    if conversation.thinking_budget is not None:
        variables["thinking_budget"] = conversation.thinking_budget
    return {**variables, **conversation.template_kwargs}


def _begun_text(begun: Message, opening: str, thinking: Thinking | None) -> str:
    """A message that is to be continued, after what the template wrote for its beginning (llama.cpp: common_chat's
    continuations)."""
    thoughts, content = begun.get("reasoning_content", ""), begun["content"]
    if thinking is None:
        return str(content)
    is_open = thinking.is_open(opening)
    text = ("" if is_open or not thoughts else thinking.opening + thinking.lead) + thoughts
    if content and (is_open or thoughts or thinking is HARMONY):
        text += thinking.ending if is_open or thoughts else thinking.header
    return f"{text}{content}"


def _looks_for_control_tokens(reading: Reading, tokenizer: DialogueTokenizer) -> bool:
    row, thinking = reading.format, reading.thinking
    markers = [*(row.starts + row.drops if row else ())]
    if thinking:
        markers += [thinking.opening, thinking.closing]
    if row and row.is_whole:
        return True
    ids = [tokenizer.special_id(marker) for marker in markers]
    return any(token is not None and tokenizer.is_control(token) for token in ids)
