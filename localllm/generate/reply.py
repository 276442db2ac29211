"""The answer to a message of a conversation as it comes, with what the model thinks apart from what it says."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from localllm.generate.answer import Answer
from localllm.generate.dialogue.deltas import Content, Reasoning
from localllm.generate.dialogue.parser import OutputParser
from localllm.generate.stats import Stats

Part = Content | Reasoning


class Reply(Iterator[str]):
    """An iterator over the pieces of what is said; `parts` also gives what is thought. Closing it stops the work."""

    def __init__(self, answer: Answer, parser: OutputParser, on_end: Callable[[Reply], None]) -> None:
        self.stats: Stats = answer.stats
        self.text = self.reasoning = ""
        """What has been said so far, and thought."""
        self._answer, self._parser = answer, parser
        self._parts: deque[Part] = deque()
        self._has_ended = False
        self._on_end: Callable[[Reply], None] | None = on_end

    @property
    def is_kept(self) -> bool:
        """Whether it has joined the conversation: one that was stopped before its first token has not."""
        return self.stats.stop_reason != "cancelled" or self.stats.answer_tokens > 0

    def parts(self) -> Iterator[Part]:
        """Content and Reasoning in their order, each as soon as it is certain which of them it is."""
        while (part := self._next()) is not None:
            yield part

    def __next__(self) -> str:
        while (part := self._next()) is not None:
            if isinstance(part, Content):
                return part.text
        raise StopIteration

    def _next(self) -> Part | None:
        """The next part; None at the end."""
        while not self._parts and not self._has_ended:
            try:
                piece = next(self._answer, None)
            except BaseException:  # Ctrl-C or an error: in each case nothing follows
                self.close()
                raise
            self._has_ended = piece is None
            deltas = self._parser.finish() if piece is None else self._parser.push(piece)
            self._parts += [delta for delta in deltas if isinstance(delta, Part)]
        if not self._parts:
            self.close()
            return None
        part = self._parts.popleft()
        if isinstance(part, Content):
            self.text += part.text
        else:
            self.reasoning += part.text
        return part

    def close(self) -> None:
        """Stop here. Does nothing when the answer has ended already."""
        on_end, self._on_end = self._on_end, None
        if on_end is None:
            return
        self._parts.clear()
        self._has_ended = True
        self._answer.close()
        on_end(self)

    def __enter__(self) -> Reply:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
