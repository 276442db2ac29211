"""How models mark what they think before they answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Thinking:
    """Thinking stands between `opening` and `closing`."""

    opening: str
    closing: str
    lead: str = ""
    """What models write right after the opening."""
    tail: str = ""
    """What they write before the closing."""
    after: str = ""
    """What they write after it, whatever follows."""
    header: str = ""
    """What stands before content."""
    anywhere: bool = False
    """It may also come in the middle of an answer; otherwise only at its beginning."""
    models: str = ""
    """Whose it is, for docs/server.md."""

    @property
    def ending(self) -> str:
        """What ends thinking, and begins content."""
        return self.tail + self.closing + self.after + self.header

    def is_open(self, text: str) -> bool:
        """Whether a text breaks off in the midst of thinking."""
        return text.rfind(self.opening) > text.rfind(self.closing)


FINAL = "<|channel|>final<|message|>"
"""With which gpt-oss's answers to the reader begin."""
HARMONY = Thinking(
    "<|channel|>analysis<|message|>", "<|end|>", after="<|start|>assistant", header=FINAL, models="gpt-oss"
)
THINKING = (
    HARMONY,
    Thinking("<|channel>thought", "<channel|>", lead="\n", anywhere=True, models="Gemma 4"),
    Thinking("[THINK]", "[/THINK]", models="Magistral, Ministral 3 Reasoning"),
    Thinking("<|START_THINKING|>", "<|END_THINKING|>", models="Command R7B and A"),
    Thinking("<seed:think>", "</seed:think>", models="Seed-OSS"),
    Thinking("<think:opensource>", "</think:opensource>", models="Hunyuan 3"),
    Thinking("<mm:think>", "</mm:think>", models="MiniMax M3"),
    Thinking(
        "Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]", lead="\n", tail="\n", after="\n", models="Apriel"
    ),
    Thinking("<|inner_prefix|>", "<|inner_suffix|>", models="Apertus"),
    Thinking("Here is my thought process:", "Here is my response:", models="Granite 3.2"),
    Thinking(
        "<think>",
        "</think>",
        lead="\n",
        tail="\n",
        after="\n\n",
        models="Qwen 3 and 3.5, DeepSeek, GLM, Granite 3.3, Nemotron, and most others",
    ),
)
"""The first that stands in a model's template, or is in its vocabulary: Granite 3.2's is plain text."""


def find_thinking(source: str, is_token: Callable[[str], bool]) -> Thinking | None:
    """How the model of a template thinks; None if it does not. is_token: whether a text is one token."""
    for thinking in THINKING:
        if thinking.opening in source or (thinking is not HARMONY and thinking.closing in source):
            return _as_written(thinking, source)
    for thinking in THINKING:
        if is_token(thinking.opening) and is_token(thinking.closing):
            return thinking
    return None


def _as_written(thinking: Thinking, source: str) -> Thinking:
    """Some families write <think> and </think> with line feeds around them, others without."""
    with_lead = (thinking.opening + lead in source for lead in ("\n", r"\n"))
    if not thinking.lead or thinking.opening not in source or any(with_lead):
        return thinking
    return replace(thinking, lead="", tail="", after="")
