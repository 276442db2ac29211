"""Guesses by the model's own layer: its rows are of the text that is there, and the answer is the same."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import localllm
from localllm.errors import UsageError
from localllm.generate.answer import new_sequence
from localllm.generate.chat import Chat
from localllm.generate.loop import Tape, drive
from localllm.generate.params import Sampling
from localllm.generate.prompt_cache import CacheOptions
from localllm.generate.sampling import sampler_of
from localllm.generate.speculation.drafter import Draft
from localllm.generate.speculation.options import Guessing
from localllm.generate.speculation.predicting import Predicting
from localllm.generate.speculation.speculation import Speculation
from localllm.generate.speculation.watch import Watch
from tests.generate.fake import FakeContext, FakeModel
from tests.generate.test_chat_states import VOCABULARY
from tests.model.test_nextn import CASES
from tests.recorded import models

NONE = np.zeros(1, np.int64)


class Always(Watch):
    """As many guesses as there are."""

    def size(self, kind: int, room: int) -> int:
        return room


class Text:
    """A context of which only the text is there: the hidden state at a position is that, and the sum of the tokens."""

    n_ctx, n_batch = 64, 16

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.hidden = np.zeros((0, 2), np.float32)

    def feed(self, more: list[int]) -> None:
        first = len(self.ids)
        self.ids += more
        self.hidden = np.array([self.state(i) for i in range(first, len(self.ids))], np.float32)

    def state(self, position: int) -> tuple[int, int]:
        return position, sum(self.ids[: position + 1])


class Rows:
    """A layer that keeps its rows (token, hidden state), and guesses the next number of 100. can_cut: otherwise it goes
    back to its beginning alone."""

    def __init__(self, can_cut: bool = True) -> None:
        self.rows: list[tuple[int, tuple[int, ...] | None]] = []
        self.can_cut, self.closed = can_cut, False
        self.calls = 0

    @property
    def n_past(self) -> int:
        return len(self.rows)

    def forward(self, tokens: Any, hidden: Any = None, want_logits: bool = True, stop: Any = None) -> Any:
        assert hidden is not None or len(tokens) == 1
        states = [None] * len(tokens) if hidden is None else [tuple(map(int, row)) for row in hidden]
        self.rows += list(zip(tokens, states, strict=True))
        self.calls += 1
        return np.eye(100, dtype=np.float32)[(tokens[-1] + 1) % 100] if want_logits else np.zeros(0, np.float32)

    def cut(self, position: int) -> int:
        if position < len(self.rows) and not self.can_cut:
            position = 0
        del self.rows[position:]
        return position

    def close(self) -> None:
        self.closed = True


def check(text: Text, ids: list[int], layer: Rows) -> None:
    """Each row is of the text, and they are in order."""
    places = []
    for token, state in layer.rows:
        assert state
        places.append(state[0])
        assert ids[state[0] + 1] == token
        assert sum(ids[: state[0] + 1]) == state[1]
    assert places == sorted(set(places))


class TestRows:
    def test_a_prompt_and_an_answer(self) -> None:
        text, layer = Text(), Rows()
        drafter = Predicting(text, layer)
        text.feed(list(range(10)))
        drafter.passed(text.ids, NONE)
        assert not layer.rows, "few rows wait"
        assert drafter.draft([*text.ids, 50], 3) == Draft([51, 52, 53])
        assert [token for token, _ in layer.rows] == [*range(1, 10), 50]
        assert layer.calls == 3
        text.feed([50, 51, 52, 53])
        drafter.passed(text.ids, NONE)
        del text.ids[12:]  # 52 and 53 were wrong
        assert drafter.draft([*text.ids, 7], 1) == Draft(), "the last pass is not known to be taken back"
        text.feed([7])
        drafter.passed(text.ids, NONE)
        assert drafter.draft([*text.ids, 8], 2) == Draft([9, 10])
        check(text, [*text.ids, 8], layer)
        assert [state[0] for _, state in layer.rows if state] == list(range(13)), "none is left out"

    def test_long_prompts_are_evaluated_at_once(self) -> None:
        text, layer = Text(), Rows()
        drafter = Predicting(text, layer)
        text.feed(list(range(70)))
        drafter.passed(text.ids, NONE)
        assert len(layer.rows) == 69
        assert layer.calls == 5, "batches of 16"

    def test_tokens_that_are_known_already(self) -> None:
        """As a grammar has them: guesses follow them."""
        text, layer = Text(), Rows()
        drafter = Predicting(text, layer)
        text.feed([1, 2, 3])
        drafter.passed(text.ids, NONE)
        assert drafter.draft([1, 2, 3, 4, 60], 2) == Draft([61, 62])
        assert [token for token, _ in layer.rows] == [2, 3, 4]

    def test_no_guesses(self) -> None:
        text, layer = Text(), Rows()
        drafter = Predicting(text, layer)
        assert drafter.draft([1, 2], 3) == Draft(), "nothing was read"
        text.feed([1, 2, 3])
        drafter.passed(text.ids, NONE)
        assert drafter.draft([1, 2, 3], 3) == Draft(), "no next token"
        assert drafter.draft([1, 5, 3, 4], 3) == Draft(), "another text"
        assert drafter.draft([*text.ids, *range(61)], 3) == Draft(), "the context is full"
        assert drafter.draft([*text.ids, *range(60)], 3).tokens == [60]
        drafter.close()
        assert layer.closed

    def test_an_interrupted_guess_leaves_no_row(self, monkeypatch: pytest.MonkeyPatch) -> None:
        text, layer = Text(), Rows()
        drafter = Predicting(text, layer)
        text.feed([1, 2, 3])
        drafter.passed(text.ids, NONE)
        forward = layer.forward

        def interrupted(tokens: Any, *more: Any, **options: Any) -> Any:
            if tokens == [6]:
                raise KeyboardInterrupt
            return forward(tokens, *more, **options)

        monkeypatch.setattr(layer, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            drafter.draft([1, 2, 3, 4], 5)
        assert layer.n_past == 3
        assert drafter.draft([1, 2, 3, 4], 2) == Draft([5, 6])
        check(text, [1, 2, 3, 4], layer)

    @pytest.mark.parametrize("can_cut", [True, False])
    def test_whatever_happens_to_the_text(self, can_cut: bool) -> None:
        """Passes, cuts, other texts, in any order: rows are of the text that is there."""
        for seed in range(200):
            chance = random.Random(seed)
            text, layer = Text(), Rows(can_cut)
            drafter = Predicting(text, layer)
            for _ in range(30):
                if text.ids and chance.random() < 0.4:
                    del text.ids[chance.randrange(len(text.ids) + 1) :]
                if chance.random() < 0.05:  # another text, of whose beginning nothing is known
                    text.ids = [chance.randrange(5) for _ in range(chance.randrange(20))]
                more = [chance.randrange(5) for _ in range(chance.randint(1, 12))][: 60 - len(text.ids)]
                if not more:
                    break
                text.feed(more)
                drafter.passed(text.ids, NONE)
                if chance.random() < 0.6:
                    ids = [*text.ids, *(chance.randrange(5) for _ in range(chance.randint(1, 2)))]
                    guesses = drafter.draft(ids, 3).tokens
                    assert list(guesses) == [ids[-1] + 1 + i for i in range(min(3, 64 - len(ids)))]
                    check(text, ids, layer)
                    assert not can_cut or layer.rows[-1][1] == text.state(len(text.ids) - 1)


def test_what_is_never_right_is_tried_seldom() -> None:
    watch = Speculation(Predicting(Text(), Rows())).watch
    watch.right[0] = 0.0
    assert sum(watch.size(0, 15) > 0 for _ in range(960)) == 5


def test_how_many_pay_is_asked_first() -> None:
    class Never(Watch):
        def size(self, kind: int, room: int) -> int:
            return 0

    text, layer = Text(), Rows()
    speculation = Speculation(Predicting(text, layer), Never([0.5]))
    text.feed([1, 2, 3])
    speculation.passed(text.ids, NONE)
    assert not speculation.guess([1, 2, 3, 4], 5)
    assert layer.calls == 0
    speculation = Speculation(Predicting(text, layer), Always([0.5]))
    speculation.passed(text.ids, NONE)
    assert speculation.guess([1, 2, 3, 4], 5) == [5, 6, 7, 8, 9]


def test_what_guessing_refuses() -> None:
    with pytest.raises(UsageError, match="has no layer for multi-token prediction"):
        Guessing(mtp=True).of(FakeModel(), FakeContext(FakeModel()))
    with pytest.raises(UsageError, match="either by a model, or by the model's own layer"):
        Guessing(FakeModel(), mtp=True).of(FakeModel(), FakeContext(FakeModel()))


SAMPLINGS = (Sampling(temperature=0), Sampling(temperature=1.0, seed=11))


def guessed_answer(model: Any, prompt: list[int], sampling: Sampling, n: int) -> Any:
    context = model.context(n_ctx=128)
    speculation = Speculation(Predicting(context, model.predictor(128)), Always([0.5]))
    sequence = new_sequence(model, prompt, sampler_of(model, sampling), 128, n, ignore_eog=True)
    list(drive(Tape(context, None, speculation), sequence))
    speculation.close()
    context.close()
    return sequence


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_answer_is_the_same(name: str, tmp_path) -> None:
    """Greedy and sampled, with guesses that are mostly wrong."""
    path = models.write(tmp_path / "model.gguf", CASES[name], **VOCABULARY)
    with localllm.load(path, n_ctx=128, n_threads=2) as model:
        prompt = [i % models.N_VOCAB for i in range(3, 80, 2)]
        for sampling in SAMPLINGS:
            want = model.answer(prompt, sampling, max_tokens=30, ignore_eog=True)
            ids = (list(want), want.ids)[1]
            sequence = guessed_answer(model, prompt, sampling, 30)
            assert sequence.ids[sequence.n_prompt :] == ids
            assert sequence.stats.guessed > 30


def certain() -> models.Case:
    """A model whose next token depends on the last alone, and whose layer knows that: all guesses are right."""
    case, values = CASES["glm4moe"], {}
    for name, shape in case.tensors.items():
        if any(part in name for part in ("attn_output", "ffn_down")):
            values[name] = np.zeros(shape[::-1])
        elif "eh_proj" in name:
            values[name] = np.eye(shape[1], shape[0])
        elif "shared_head_norm" in name:
            values[name] = models.tensor("output_norm.weight", shape)
        elif "enorm" in name:
            values[name] = np.ones(shape)
    return replace(case, values=values)


@pytest.fixture(scope="module")
def sure(tmp_path_factory):
    path = models.write(tmp_path_factory.mktemp("sure") / "m.gguf", certain(), **VOCABULARY)
    with localllm.load(path, n_ctx=128, n_threads=2) as model:
        yield model


def test_right_guesses(sure) -> None:
    want = sure.answer([1, 2, 3], SAMPLINGS[0], max_tokens=40, ignore_eog=True)
    ids = (list(want), want.ids)[1]
    sequence = guessed_answer(sure, [1, 2, 3], SAMPLINGS[0], 40)
    assert sequence.ids[3:] == ids
    assert sequence.stats.guessed == sequence.stats.guessed_right > 30


def test_python_and_a_conversation(sure) -> None:
    options = {"max_tokens": 20, "temperature": 0.8, "seed": 3}
    plain = "".join(sure.generate("abc", **options))
    assert "".join(sure.generate("abc", guessing=Guessing(mtp=True), **options)) == plain
    talks = [Chat(sure, max_tokens=12, guessing=guessing) for guessing in (None, Guessing(mtp=True))]
    for talk in talks:
        talk.sampling = Sampling(temperature=0.0)
    for say in ("hello", "you", "there"):
        first, second = ("".join(talk.ask(say)) for talk in talks)
        assert first == second
    first, second = ("".join(talk.regen()) for talk in talks)
    assert first == second
    for talk in talks:
        talk.close()


def test_after_a_prompt_from_the_cache(sure, tmp_path) -> None:
    """What its tokens left in the last layer is not known: the layer begins behind them."""
    prompt = [i % models.N_VOCAB for i in range(300)]
    want = sure.answer(prompt, SAMPLINGS[0], max_tokens=20, n_ctx=512, ignore_eog=True)
    ids = (list(want), want.ids)[1]
    cache = CacheOptions(tmp_path, 1 << 30, 0)
    for _ in range(2):
        got = sure.answer(
            prompt, SAMPLINGS[0], max_tokens=20, n_ctx=512, ignore_eog=True, cache=cache, guessing=Guessing(mtp=True)
        )
        assert (list(got), got.ids)[1] == ids
    assert got.stats.cached_tokens
