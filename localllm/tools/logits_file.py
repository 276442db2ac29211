"""Files of a base model's predictions, in the format that `llama-perplexity --kl-divergence-base` writes and reads.

"_logits_"   8 bytes
n_ctx, n_vocab, n_chunk   int32 each
tokens       int32 [n_chunk][n_ctx]
rows         [n_chunk][n_ctx - 1 - n_ctx / 2], each: scale and least log-probability, float32, then a code of 16 bits
             a token of the vocabulary (one more where their number is odd): log p = scale * code + least
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator

import numpy as np

from localllm.errors import FileError, FormatError
from localllm.generate.logprobs import log_softmax
from localllm.runtime.whole import check_space, written_whole

MAGIC = b"_logits_"
_HEADER = struct.Struct("<8siii")
_RANGE = np.float32(16.0)
"""Log-probabilities further below the greatest are clipped."""


def _row_codes(n_vocab: int) -> int:
    return n_vocab + n_vocab % 2 + 4


def encode(logits: np.ndarray) -> np.ndarray:
    """Rows of a file: uint16 [n, row]."""
    n, n_vocab = logits.shape
    high = logits.max(axis=1)
    low = np.maximum(logits.min(axis=1), high - _RANGE)
    at_high = log_softmax(logits).max(axis=1)
    scale = ((high - low) / np.float32(65535)).astype(np.float32)
    rows = np.zeros((n, _row_codes(n_vocab)), np.uint16)
    rows[:, :4] = np.stack([scale, low - high + at_high], axis=1).astype(np.float32).view(np.uint16)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    codes = np.rint(np.maximum(logits - low[:, None], 0) * inverse[:, None])
    rows[:, 4 : 4 + n_vocab] = np.minimum(codes, 65535)
    return rows


def decode(rows: np.ndarray, n_vocab: int) -> np.ndarray:
    """Log-probabilities, float32 [n, n_vocab]."""
    scale, least = np.ascontiguousarray(rows[:, :4]).view(np.float32).T
    log_p: np.ndarray = rows[:, 4 : 4 + n_vocab].astype(np.float32) * scale[:, None] + least[:, None]
    return log_p


Add = Callable[[np.ndarray], None]
"""Writes the logits of the next chunk's scored rows, float32 [n, n_vocab]."""


@contextlib.contextmanager
def written_logits(path: str, n_ctx: int, n_vocab: int, tokens: np.ndarray) -> Iterator[Add]:
    """Writes a file, whole or not at all: under its name once the block has ended without an exception.

    tokens: int [n_chunk, n_ctx], as they were before BOS took the first's place. Raises FileError.
    """
    check_space(path, _HEADER.size + tokens.size * 4 + len(tokens) * (n_ctx - 1 - n_ctx // 2) * 2 * _row_codes(n_vocab))
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        file.write(_HEADER.pack(MAGIC, n_ctx, n_vocab, len(tokens)))
        file.write(tokens.astype("<i4").tobytes())

        def add(logits: np.ndarray) -> None:
            file.write(encode(logits).tobytes())

        yield add


class LogitsFile:
    """Reads a file: n_ctx, n_vocab, tokens int32 [n_chunk, n_ctx], and the predictions chunk by chunk."""

    def __init__(self, path: str) -> None:
        """Raises FileError or FormatError."""
        try:
            with open(path, "rb") as file:
                header = file.read(_HEADER.size)
            self._map = np.memmap(path, np.uint8, "r") if header else np.zeros(0, np.uint8)
        except OSError as error:
            raise FileError(f"{path}: {error.strerror or error}") from None
        if len(header) < _HEADER.size or not header.startswith(MAGIC):
            raise FormatError(f"{path}: is no file of logits (it must begin with {MAGIC.decode()})")
        _, self.n_ctx, self.n_vocab, n_chunk = _HEADER.unpack(header)
        if self.n_ctx < 4 or self.n_vocab < 1 or n_chunk < 1:
            raise FormatError(
                f"{path}: {n_chunk} chunks of {self.n_ctx} tokens, a vocabulary of {self.n_vocab}: not possible"
            )
        self.path = path
        self._rows_at = _HEADER.size + n_chunk * self.n_ctx * 4
        self._n_rows = self.n_ctx - 1 - self.n_ctx // 2
        need = self._rows_at + n_chunk * self._n_rows * 2 * _row_codes(self.n_vocab)
        if self._map.size != need:
            raise FormatError(f"{path}: has {self._map.size} bytes, must have {need}: it was not written to its end")
        self.tokens = self._map[_HEADER.size : self._rows_at].view("<i4").reshape(n_chunk, self.n_ctx)
        if self.tokens.min() < 0 or self.tokens.max() >= self.n_vocab:
            raise FormatError(f"{path}: a token lies outside of the vocabulary of {self.n_vocab}")

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Of each chunk the log-probabilities, float32 [n, n_vocab]. Raises FormatError where they are no numbers."""
        row = _row_codes(self.n_vocab)
        rows = self._map[self._rows_at :].view("<u2").reshape(len(self), self._n_rows, row)
        for i, chunk in enumerate(rows):
            log_p = decode(chunk, self.n_vocab)
            if not np.isfinite(log_p).all():
                raise FormatError(f"{self.path}: chunk {i}: has log-probabilities that are not finite")
            yield log_p
