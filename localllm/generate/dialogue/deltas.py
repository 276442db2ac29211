"""What a parser makes of an answer's text: content, thinking, calls of tools."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Content:
    """Text for the reader."""

    text: str


@dataclass(frozen=True)
class Reasoning:
    """Text that the model thought before it answered."""

    text: str


@dataclass(frozen=True)
class CallBegin:
    """The index-th call of the answer; its name is complete. `id` is ours, or the model's where its format has ids."""

    index: int
    id: str
    name: str


@dataclass(frozen=True)
class CallArguments:
    """A piece of the arguments of the index-th call: pieces of one call together are the text of a JSON object.

    They are what the model wrote: where an answer was cut off, or the model broke the syntax, so is their JSON. It is
    not mended, lest somebody run half a command.
    """

    index: int
    text: str


Delta = Content | Reasoning | CallBegin | CallArguments
