"""A model small enough to read: a language of 64 ids, and a context that says what comes next by a rule.

After the ids [.., a] the likeliest next one is SCRIPT's, or (a + 1) % N_VOCAB; the logits fall off from there.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from localllm.errors import Cancelled, ContextFullError, UsageError
from localllm.generate.params import Sampling
from localllm.generate.session import TextGeneration
from localllm.gguf.metadata import Metadata
from localllm.model.sequences import Moment, Span
from localllm.runtime.tuned import Threads

ALPHABET = "\0abcdefghijklmnopqrstuvwxyz .,!?\n0123456789<>|:ABCDEFGHIJKLMNOP/"
N_VOCAB = len(ALPHABET)
BOS = EOG = 0


class FakeStream:
    def __init__(self):
        self.tail = ""

    def push(self, token):
        return ALPHABET[token]

    def finish(self):
        return self.tail


class FakeTokenizer:
    """One id a character; id 0 begins and ends texts."""

    n_vocab = N_VOCAB
    bos_id = BOS
    eos_id = EOG
    add_bos = True
    eog_ids = frozenset({EOG})
    infill_ids: ClassVar[dict[str, int]] = {}

    def encode(self, text, add_special=False, parse_special=False):
        return [BOS] * add_special + [ALPHABET.index(c) for c in text]

    def at_least(self, text):
        return len(text) // 4

    def token_bytes(self, token_id, special=False):
        return ALPHABET[token_id].encode()

    def decode(self, ids, special=False):
        return "".join(ALPHABET[i] for i in ids if i != BOS)

    def token_text(self, token_id):
        return ALPHABET[token_id]

    def encode_inside(self, text):
        return [ALPHABET.index(c) for c in text if c in ALPHABET]

    def special_id(self, text):
        return None

    def is_control(self, token_id):
        return token_id == EOG

    def stream(self, special=False, at_start=False):
        return FakeStream()


class FakeTemplate:
    source = ""
    is_fallback = False
    advice = "This model has no chat template."
    stop: tuple[str, ...] = ()

    def render(self, messages, add_generation_prompt=True, **extra):
        told = "".join(f"{tool['function']['name']}\n" for tool in extra.get("tools") or ())
        turns = "".join(f"{m['role'][0]}:{m['content']}{self._calls(m)}\n" for m in messages)
        return told + turns + "a:" * add_generation_prompt

    def _calls(self, message):
        calls = [call["function"] for call in message.get("tool_calls", ())]
        return "".join(f"/{c['name']}:{','.join(f'{k} {v}' for k, v in c['arguments'].items())}|" for c in calls)


class FakeContext:
    """Keeps what each sequence was fed, `cells` of sequence 0, and in `calls` the tokens of every pass, in `batches`
    each pass as (sequence, token) rows. `before_pass(context)` is called in each forward, before anything changes."""

    def __init__(self, model, n_ctx=64, n_batch=8, can_cut=True, n_seq=1):
        self.model, self.n_ctx, self.n_batch, self.can_cut = model, n_ctx, n_batch, can_cut
        self.n_seq = n_seq
        self.held: list[list[int]] = [[] for _ in range(n_seq)]
        self.calls: list[list[int]] = []
        self.batches: list[list[tuple[int, int]]] = []
        self.copies: list[tuple[int, int]] = []
        self.closed = False
        self.interrupt_at = None
        self.cancelled = False
        self.before_pass = lambda context: None
        self.n_bytes = 1_000

    @property
    def cells(self):
        return self.held[0]

    def forward(self, tokens, positions=None, seq_ids=None, want_logits=None, stop=None):
        assert not self.closed
        assert 0 < len(tokens) <= self.n_batch
        seq_ids = [0] * len(tokens) if seq_ids is None else seq_ids
        want = [False] * (len(tokens) - 1) + [True] if want_logits is None else want_logits
        assert len(seq_ids) == len(want) == len(tokens)
        for seq in set(seq_ids):
            n = len(self.held[seq]) + seq_ids.count(seq)
            if n > self.n_ctx:
                raise ContextFullError(f"sequence {seq}: {n} > {self.n_ctx}")
            if self.interrupt_at is not None and n > self.interrupt_at:
                self.interrupt_at = None
                raise KeyboardInterrupt
        self.before_pass(self)
        if self.cancelled or (stop is not None and stop[0]):
            self.cancelled = False
            raise Cancelled("stopped")
        self.calls.append(list(tokens))
        self.batches.append(list(zip(seq_ids, tokens, strict=True)))
        logits = []
        for token, seq, wanted in zip(tokens, seq_ids, want, strict=True):
            self.held[seq].append(token)
            if wanted:
                logits.append(self.model.logits_after(self.held[seq]))
        return np.array(logits, np.float32).reshape(-1, self.model.config.n_vocab)

    @property
    def hidden(self):
        return np.zeros((len(self.calls[-1]), 8), np.float32)

    def n_past(self, seq_id=0):
        return len(self.held[seq_id])

    def reach(self, seq_id, position):
        return position if self.can_cut or position == len(self.held[seq_id]) else 0

    def cut(self, seq_id, position):
        position = self.reach(seq_id, position)
        del self.held[seq_id][position:]
        return position

    def copy(self, source, target):
        self.copies.append((source, target))
        self.held[target] = list(self.held[source])

    def checkpoint(self, seq_id=0):
        pass

    moment_is_needed = False

    def reach_of(self, moment, position):
        return position

    def moment(self, seq_id, position):
        return Moment(position, position)

    def span(self, seq_id, start, stop):
        return Span(start, stop, np.array(self.held[seq_id][start:stop], np.uint8))

    def resume(self, seq_id, n_past, spans, moment=None):
        ids: list[int] = []
        for span in spans:
            ids[span.start :] = span.content.tolist()
        self.held[seq_id] = ids[:n_past]

    def clear(self):
        for cells in self.held:
            cells.clear()

    def cancel(self):
        self.cancelled = True

    def close(self):
        self.closed = True


class FakeModel(TextGeneration):
    """`script`: what it answers; it is said letter by letter after any prompt that ends in ':', then EOG."""

    path = "fake.gguf"
    architecture = "fake"
    description = "fake 64 F32"
    n_params, n_bytes, target = 1_234_567, 4_938_268, "generic"
    n_threads, n_threads_batch = 2, 2
    notes: tuple[str, ...] = ()
    default_n_ctx = 64
    max_positions = 1 << 31
    config = SimpleNamespace(n_vocab=N_VOCAB, n_ctx_train=64, n_embd=8)
    network = SimpleNamespace(pooling=SimpleNamespace(kind="mean"), causal=True)

    def __init__(self, script="hello", can_cut=True):
        self.metadata = Metadata(self.path)
        self.script, self.can_cut = script, can_cut
        self.suppressed: tuple[int, ...] = ()
        self.default_sampling = Sampling()
        self.tokenizer: FakeTokenizer | None = FakeTokenizer()
        self.template = self.tool_template = FakeTemplate()
        self.contexts: list[FakeContext] = []
        self.before_pass = lambda context: None
        """Of contexts that are made from then on."""
        self.team = SimpleNamespace(threads=Threads(2, 2))
        self.loaded: list[SimpleNamespace] = []
        """What the fixture `fake` of tests/cli was asked for."""
        self.closed = False

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def predictor(self, n_ctx=None, n_batch=512):
        raise UsageError(f"{self.path}: has no layer for multi-token prediction (MTP)")

    def logits_after(self, cells):
        text = FakeTokenizer().decode(cells)
        said = text.rpartition(":")[2] if ":" in text else None
        if said is not None and self.script.startswith(said):
            rest = self.script[len(said) :]
            nxt = ALPHABET.index(rest[0]) if rest else EOG
        else:
            nxt = (cells[-1] + 1) % N_VOCAB
        distance = (np.arange(N_VOCAB) - nxt) % N_VOCAB
        return (10.0 - distance).astype(np.float32)

    def context(self, n_ctx=None, n_seq=1, n_batch=8):
        made = FakeContext(self, n_ctx or self.default_n_ctx, min(n_batch, 8), self.can_cut, n_seq)
        made.before_pass = self.before_pass
        self.contexts.append(made)
        return made

    def close(self):
        self.closed = True
