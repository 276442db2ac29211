"""A grammar that directs one answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from localllm.errors import UsageError
from localllm.generate.grammar_errors import DEAD_END
from localllm.generate.token_mask import TokenMask

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from localllm.generate.grammar_vocabulary import Words


class GrammarConstraint:
    """A Constraint (localllm.generate.constraint). on_error is called once its matcher can be used no more.

    Forced tokens are those of the model's own way to write the forced text: the last ones are left to the model where
    it may join them with what follows (llguidance's docs/fast_forward.md).
    """

    def __init__(self, matcher: LLMatcher, words: Words, on_error: Callable[[], None]) -> None:
        self._matcher, self._words, self._on_error = matcher, words, on_error
        self._mask = TokenMask(words.n_vocab, words.n_words)
        self._finished = False

    @property
    def finished(self) -> bool:
        """Nothing may follow."""
        return self._finished

    @property
    def may_end(self) -> bool:
        """What was accepted so far meets the grammar."""
        return self._finished or self._matcher.is_accepting()

    def mask(self, logits: NDArray[np.float32]) -> None:
        """See Constraint. Raises UsageError where the grammar turns out too complex at this place."""
        self._matcher.unsafe_compute_mask_ptr(self._mask.address, self._mask.n_bytes)
        self._check()
        self._mask.apply(logits)

    def accept(self, token: int) -> Sequence[int]:
        """See Constraint. Raises UsageError for a token that the mask did not allow."""
        self._matcher.consume_token(token)
        self._check()
        forced: Sequence[int] = () if self._matcher.is_stopped() else self._matcher.compute_ff_tokens()
        if forced:
            self._matcher.consume_tokens(list(forced))
        self._check()
        self._finished = self._matcher.is_stopped()
        return forced

    def _check(self) -> None:
        self._words.check_writable()
        if self._matcher.is_error():
            self._on_error()
            reason = self._matcher.get_error().split("\n", 1)[0]
            if reason.startswith(DEAD_END):
                reason = "no token of this model leads on from here"
            raise UsageError(f"the grammar cannot direct this answer any further: {reason:.200}")
