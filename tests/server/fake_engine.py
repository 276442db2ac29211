"""An engine that says what its model's script says, in a thread of its own, and waits at a gate where a test wants."""

from __future__ import annotations

import threading
import time

from localllm.engine.options import EngineOptions, EngineStatus, SlotStatus, Totals
from localllm.engine.request import Ended, Failed, PromptRead, Reading, Said
from localllm.errors import ContextFullError, LocalllmError, QueueFullError
from localllm.generate.piece import Piece, TokenLogprob
from localllm.generate.stats import Stats
from tests.generate.fake import ALPHABET, N_VOCAB

PATIENCE = 60
"""Seconds after which a test that left the gate shut fails."""


class FakeHandle:
    def __init__(self):
        self.cancelled = threading.Event()
        self.ended = threading.Event()

    def cancel(self):
        self.cancelled.set()


class FakeEngine:
    """Says `model.script`, a token a character, whatever it is asked. `requests`: all that were submitted.

    gate: pieces come while it is set. full: requests are refused. error: what a request fails with.
    """

    def __init__(self, model, n_ctx=64):
        self.model, self.n_ctx, self.options = model, n_ctx, EngineOptions(n_ctx=n_ctx, n_seq=2)
        self.gate = threading.Event()
        self.gate.set()
        self.width = 1
        """Characters that a token stands for."""
        self.full, self.error, self.closed = False, None, False
        self.alive, self.totals = True, Totals()
        self.broken = ""
        self.requests, self.handles = [], []

    def submit(self, request, on_event):
        if self.full:
            raise QueueFullError("8 requests wait already")
        if len(request.ids) > self.n_ctx:
            raise ContextFullError(f"the prompt has {len(request.ids)} tokens, the context holds {self.n_ctx}")
        handle = FakeHandle()
        self.requests.append(request)
        self.handles.append(handle)
        threading.Thread(target=self._answer, args=(request, on_event, handle), daemon=True).start()
        return handle

    def _answer(self, request, on_event, handle):
        """A mistake within fails the request: its client, and the test, would wait for ever."""
        try:
            self._say(request, on_event, handle)
        except Exception as error:
            on_event(Failed(LocalllmError(f"the fake engine: {error!r}")))
        finally:
            handle.ended.set()

    def _say(self, request, on_event, handle):
        n = len(request.ids)
        on_event(Reading(n, n, 0))
        if self.error:
            on_event(Failed(self.error))
            return
        if request.prompt_logprobs is not None:
            on_event(PromptRead([_logprob(token, request.prompt_logprobs) for token in request.ids[1:]]))
        for index in range(request.n):
            self._one(index, request, on_event, handle)

    def _one(self, index, request, on_event, handle):
        stats = Stats(prompt_tokens=n, prompt_seconds=0.5) if (n := len(request.ids)) else Stats()
        limit = len(self.model.script) if request.max_tokens is None else request.max_tokens
        said, stop_text = "", ""
        for letter in self.model.script[:limit]:
            self._wait_at_gate(handle)
            if handle.cancelled.is_set():
                stats.stop_reason = "cancelled"
                break
            said += letter
            stats.answer_tokens += 1
            stats.answer_seconds += 0.125
            stats.steps += stats.answer_tokens > 1
            token = ALPHABET.index(letter)
            stop_text = next((s for s in request.stop if said.endswith(s)), "")
            logprobs = (_logprob(token, request.logprobs),) if request.logprobs is not None else ()
            on_event(Said(index, Piece("" if stop_text else letter * self.width, (token,), logprobs)))
            if stop_text:
                stats.stop_reason = "stop"
                break
        stats.stop_reason = stats.stop_reason or ("stop" if len(said) == len(self.model.script) else "length")
        on_event(Ended(index, stats, stop_text))

    def _wait_at_gate(self, handle):
        begun = time.monotonic()
        while not self.gate.wait(0.01) and not handle.cancelled.is_set():
            if time.monotonic() - begun > PATIENCE:
                raise TimeoutError(f"the gate was shut for {PATIENCE} seconds")

    def status(self):
        slots = tuple(SlotStatus(i, "idle", 0) for i in range(self.options.n_seq))
        return EngineStatus(self.alive, self.n_ctx, slots, 0, self.totals, error=self.broken)

    def close(self):
        self.closed = True
        for handle in self.handles:
            handle.cancel()


def _logprob(token, n):
    return TokenLogprob(token, -0.25, [((token + i) % N_VOCAB, -0.25 - i) for i in range(n)])
