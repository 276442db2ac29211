"""gpt-oss's answers (OpenAI's harmony format; llama.cpp: parsers/gpt-oss.cpp): messages with a channel and a recipient,

<|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>final<|message|>...
<|channel|>commentary to=functions.name <|constrain|>json<|message|>{...}<|call|>
"""

from __future__ import annotations

from dataclasses import dataclass

import regex

from localllm.generate.dialogue.reader import Markers, Step
from localllm.generate.dialogue.turn import Turn

_WORD = regex.compile(r"[\w.-]{1,160}")
_TYPE = regex.compile(r" ?[A-Za-z0-9_-]{1,64}")
_ENDS = ("<|end|>", "<|call|>", "<|return|>")
_BORDERS = Markers([*_ENDS, "<|start|>", "<|channel|>"])
_FUNCTIONS = "functions."


@dataclass
class _Header:
    channel: str = ""
    recipient: str = ""


def read_answer(turn: Turn) -> Step[None]:
    """All messages of an answer; the first one goes on after <|start|>assistant."""
    while True:
        header = _Header()
        if (yield from turn.attempt(_read_header(turn, header))):
            yield from _body(turn, header)
        elif not (yield from turn.peek()):
            return
        else:  # no message: text without a header
            for border in _BORDERS.texts:
                if (yield from turn.at(border)):
                    turn.content(turn.take(len(border)))
            yield from turn.until(_BORDERS, turn.content, keep_space=True)
        for end in _ENDS:
            yield from turn.accept(end)


def _read_header(turn: Turn, header: _Header) -> Step[None]:
    if (yield from turn.accept("<|start|>")):
        yield from turn.match(_WORD)
    while not (yield from turn.accept("<|message|>")):
        if (yield from turn.accept("<|channel|>")):
            header.channel = yield from turn.match(_WORD)
        elif (yield from turn.accept(" to=")):
            header.recipient = yield from turn.match(_WORD)
        elif (yield from turn.accept(" <|constrain|>")) or (yield from turn.accept("<|constrain|>")):
            yield from turn.match(_WORD)
        elif not header.channel or not (yield from turn.match(_TYPE)):
            return
    turn.commit()


def _body(turn: Turn, header: _Header) -> Step[None]:
    name = header.recipient.removeprefix(_FUNCTIONS)
    if header.recipient.startswith(_FUNCTIONS) and turn.knows(name):
        yield from turn.space()
        if (yield from turn.at("{")):
            turn.begin(name)
            yield from turn.json_value(turn.arguments)
            yield from turn.space()
    is_for_reader = header.channel != "analysis" and header.recipient in ("", "assistant")
    # what is said to tools that are not there is no answer, either
    yield from turn.until(_BORDERS, turn.content if is_for_reader else turn.reasoning, keep_space=True)
