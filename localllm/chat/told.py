"""Commands that tell figures: /tokens, /stats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localllm.chat.notes import note

if TYPE_CHECKING:
    from localllm.chat.talk import Talk

_WHO = {"system": "system", "user": "you", "assistant": "answer"}
_WIDTH = 56


def tokens(talk: Talk, _rest: str) -> None:
    """What the context holds, message by message."""
    chat = talk.chat
    used, n_ctx = chat.n_tokens(), chat.context.n_ctx
    note(f"{used:,} of {n_ctx:,} tokens are used, {max(0, n_ctx - used):,} are free.")
    counts = [(chat.count(m["content"]), _WHO[m["role"]], m["content"]) for m in chat.messages]
    rest = used - sum(n for n, _, _ in counts)
    for n, who, text in [*counts, *([(rest, "template", "")] if rest > 0 else [])]:
        note(f"{n:>9,}  {who:<8}  {shortened(text, _WIDTH)}".rstrip())


def totals(talk: Talk, _rest: str) -> None:
    """What the answers of this chat took."""
    t, context = talk.totals, talk.chat.context
    note(f"{t.answers} answers: {t.answer_tokens:,} tokens{_rate(t.steps, t.answer_seconds)}")
    note(f"prompts: {t.read_tokens:,} tokens read{_rate(t.read_tokens, t.read_seconds)}, {t.kept_tokens:,} were there")
    note(f"model: {talk.chat.model.description}, context of {context.n_ctx:,} tokens")


def _rate(n: int, seconds: float) -> str:
    return f" in {seconds:.1f} s, {n / seconds:.1f} t/s" if n and seconds else ""


def shortened(text: str, width: int) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 3]}..."
