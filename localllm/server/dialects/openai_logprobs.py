"""Logprobs in OpenAI's old form, of /v1/completions: parallel lists of tokens, their logprobs and where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from localllm.engine.request import Ended
from localllm.generate.piece import TokenLogprob
from localllm.server.dialects.openai_common import finite, token_name

if TYPE_CHECKING:
    from localllm.text.tokenizer import Tokenizer


class OldLogprobs(msgspec.Struct):
    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    """null for the prompt's first token, before which there is nothing."""
    top_logprobs: list[dict[str, float] | None] = []
    """The likeliest tokens, and the one that is there. Of several with one text, the likelier one."""
    text_offset: list[int] = []
    """Characters of the choice's text before the token."""

    def add(self, more: OldLogprobs) -> None:
        self.tokens += more.tokens
        self.token_logprobs += more.token_logprobs
        self.top_logprobs += more.top_logprobs
        self.text_offset += more.text_offset


@dataclass(frozen=True)
class PromptText:
    """A prompt; `text` as it was given, None where ids were."""

    ids: Sequence[int]
    text: str | None


class Teller:
    """Tells of one answer's tokens, in their order. `echo`: the prompt's text where that is told, too, else ""."""

    def __init__(self, prompt: PromptText, tokenizer: Tokenizer | None, echoed: bool) -> None:
        self._prompt, self._tokenizer = prompt, tokenizer
        self._decoder = None if tokenizer is None else tokenizer.stream(special=echoed, at_start=echoed)
        self._offset = 0
        self.echo = ""
        if echoed:
            self.echo = prompt.text if prompt.text is not None else self._decoded(prompt.ids)

    def of_prompt(self, logprobs: Sequence[TokenLogprob]) -> OldLogprobs:
        """Of the prompt's tokens: logprobs are those from its second one on."""
        ids = self._prompt.ids
        result = OldLogprobs()
        self._add(result, ids[0], None)
        for entry in logprobs:
            self._add(result, entry.token, entry)
        self._offset = len(self.echo)
        self._decoder = None if self._tokenizer is None else self._tokenizer.stream()
        return result

    def of_answer(self, logprobs: Sequence[TokenLogprob]) -> OldLogprobs:
        result = OldLogprobs()
        for entry in logprobs:
            self._add(result, entry.token, entry)
        return result

    def of_end(self, event: Ended) -> OldLogprobs:
        """Of the end token, which is told although it has no text: lm-eval counts on a token after the prompt."""
        return self.of_answer([event.ending] if event.ending else ())

    def _decoded(self, ids: Sequence[int]) -> str:
        return "" if self._tokenizer is None else self._tokenizer.decode(ids, special=True)

    def _add(self, to: OldLogprobs, token: int, entry: TokenLogprob | None) -> None:
        to.tokens.append(token_name(self._tokenizer, token)[0])
        to.text_offset.append(self._offset)
        to.token_logprobs.append(None if entry is None else finite(entry.logprob))
        to.top_logprobs.append(None if entry is None else self._top(entry))
        if self._decoder is not None and not self._is_added(token, entry):
            self._offset += len(self._decoder.push(token))

    def _is_added(self, token: int, entry: TokenLogprob | None) -> bool:
        """Whether this is the token that the model wants before a text, which the text does not have."""
        assert self._tokenizer
        return entry is None and self._prompt.text is not None and token == self._tokenizer.bos_id

    def _top(self, entry: TokenLogprob) -> dict[str, float]:
        found: dict[str, float] = {}
        for token, logprob in (*entry.top, (entry.token, entry.logprob)):
            text = token_name(self._tokenizer, token)[0]
            found[text] = max(found.get(text, finite(logprob)), finite(logprob))
        return found
