"""How a conversation's answer is directed: which of its tools must, may or may not be called, and in what form; what
its content keeps to; how long it may think."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, Protocol

from localllm.errors import GrammarError
from localllm.generate.constraint import NewConstraint
from localllm.generate.dialogue.conversation import Conversation, ConversationError
from localllm.generate.dialogue.direction import Directions, Prefixed, Trigger
from localllm.generate.dialogue.formats import Format
from localllm.generate.dialogue.lark import MARKER, Lark
from localllm.generate.dialogue.parser import Reading
from localllm.generate.dialogue.shapes import SHAPES, Shape, grammar
from localllm.generate.grammar import Grammar, compile_grammar
from localllm.generate.grammar_vocabulary import TextTokenizer
from localllm.generate.sequence import Decoder

_log = logging.getLogger(__name__)


class DirectedTokenizer(TextTokenizer, Protocol):
    """What directing an answer needs of a tokenizer (localllm.text's Tokenizer is one)."""

    def special_id(self, text: str) -> int | None: ...
    def stream(self, special: bool = False) -> Decoder: ...


def needs_body(conversation: Conversation) -> bool:
    """A grammar holds the answer from its first token on, or from the end of thinking."""
    return conversation.must_call or conversation.grammar is not None


def directions(
    tokenizer: DirectedTokenizer, conversation: Conversation, reading: Reading, row: Format
) -> NewConstraint | None:
    """What directs the answers to a conversation; None where nothing has to be.

    Raises UnsupportedError where a grammar is needed and llguidance is not installed, GrammarError for one that is
    wrong, ConversationError for what cannot be had together. Calls that a model may make are held to their schemas
    where llguidance is installed and can.
    """
    body: NewConstraint | None
    triggers: tuple[Trigger, ...] = ()
    if conversation.must_call:
        body = _calls(tokenizer, SHAPES[row.name], conversation, with_trigger=True)
    else:
        body = _content(tokenizer, conversation, reading)
        triggers = _triggers(tokenizer, conversation, row)
    banned = _starts(tokenizer, row) if conversation.tools and conversation.tool_choice == "none" else ()
    budget = conversation.thinking_budget if reading.thinking else None
    if body is None and not triggers and not banned and budget is None:
        return None
    return Directions(
        new_stream=partial(tokenizer.stream, special=True),
        encode=partial(_encode, tokenizer),
        end_ids=tokenizer.eog_ids,
        thinking=None if reading.is_continued else reading.thinking,
        is_thinking=reading.is_thinking,
        budget=budget,
        body=body,
        triggers=triggers,
        banned=tuple(banned),
        head="<|start|>assistant" if row.is_whole else "",
        thinking_stops=tuple(t.text for t in triggers) if row.ends_thinking else (),
    )


def _content(tokenizer: DirectedTokenizer, conversation: Conversation, reading: Reading) -> NewConstraint | None:
    """What a grammar for the content makes of it."""
    if conversation.grammar is None:
        return None
    content = compile_grammar(tokenizer, conversation.grammar)
    header = reading.thinking.header if reading.thinking and not reading.is_continued else ""
    if not header:
        return content
    tokens = _encode(tokenizer, header)
    return lambda: Prefixed(tokens, content())


def _triggers(tokenizer: DirectedTokenizer, conversation: Conversation, row: Format) -> tuple[Trigger, ...]:
    """Where calls that may come begin."""
    if not conversation.callable_tools or find_spec("llguidance") is None:
        return ()
    shape = SHAPES[row.name]
    first = _encode(tokenizer, shape.trigger)[0]
    if conversation.grammar is not None and tokenizer.special_id(_first_marker(shape.trigger)) != first:
        raise ConversationError(
            "response_format",
            "calls of this model cannot be told from content that keeps to a grammar: "
            "choose one of them by tool_choice 'none' or 'required'",
        )
    try:
        calls = _calls(tokenizer, shape, conversation, with_trigger=False)
    except GrammarError as error:
        if any(tool["function"].get("strict") for tool in conversation.callable_tools):
            raise
        _log.warning("calls are not held to the schemas of their tools: %s", error)
        return ()
    first_if_needed = first if conversation.grammar is not None else None
    texts = (shape.trigger, *shape.more_triggers)
    return tuple(
        Trigger(text, calls, shape.at_start, first_if_needed if i == 0 else None) for i, text in enumerate(texts)
    )


def _calls(tokenizer: DirectedTokenizer, shape: Shape, conversation: Conversation, with_trigger: bool) -> NewConstraint:
    lark = Lark(tokenizer)
    tools: Sequence[Mapping[str, Any]] = conversation.callable_tools
    source = grammar(shape, tools, conversation.parallel_tool_calls, lark, with_trigger)
    return compile_grammar(tokenizer, Grammar("lark", source))


def _starts(tokenizer: DirectedTokenizer, row: Format) -> list[int]:
    """Tokens with which calls begin, and nothing else (a fence begins other things, too)."""
    ids = [tokenizer.special_id(start) for start in row.starts if MARKER.fullmatch(start)]
    return [token for token in ids if token is not None]


def _first_marker(text: str) -> str:
    return next((piece for piece in MARKER.split(text) if piece), "")


def _encode(tokenizer: DirectedTokenizer, text: str) -> list[int]:
    """A text within an answer; control tokens in it are such."""
    ids: list[int] = []
    for piece in MARKER.split(text):
        token = tokenizer.special_id(piece)
        ids += [token] if token is not None else tokenizer.encode_inside(piece) if piece else []
    return ids
