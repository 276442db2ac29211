"""A bit for each token: those that are not set get a logit of -inf."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class TokenMask:
    """n_words words of 32 bits at `address`, of which the first n_vocab count; n_bytes: their size."""

    def __init__(self, n_vocab: int, n_words: int) -> None:
        self.n_vocab = n_vocab
        self.bits = np.zeros(n_words, np.int32)
        self.address: int = self.bits.ctypes.data
        self.n_bytes = self.bits.nbytes

    def apply(self, logits: NDArray[np.float32]) -> None:
        """logits: float32 [at least n_vocab]; those past n_vocab, which no token has, get -inf, too."""
        bits = np.unpackbits(self.bits.view(np.uint8), bitorder="little")[: self.n_vocab]
        logits[: self.n_vocab][bits == 0] = -np.inf
        logits[self.n_vocab :] = -np.inf
