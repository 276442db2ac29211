"""Guesses at the tokens to come: whoever makes them, and however many are right, the answer is the same."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import localllm
from localllm.errors import UsageError
from localllm.generate.answer import new_sequence
from localllm.generate.loop import Tape, drive
from localllm.generate.params import Sampling
from localllm.generate.sampling import Sampler, sampler_of
from localllm.generate.sequence import AnswerSequence
from localllm.generate.speculation import small_model
from localllm.generate.speculation.drafter import Draft
from localllm.generate.speculation.ngrams import LENGTHS, NGrams
from localllm.generate.speculation.options import Guessing
from localllm.generate.speculation.small_model import SmallModel
from localllm.generate.speculation.speculation import Speculation
from localllm.generate.speculation.watch import SIZES, Watch
from tests.generate.fake import BOS, EOG, FakeContext, FakeModel, FakeStream, FakeTokenizer
from tests.generate.test_chat_states import VOCABULARY
from tests.generate.test_prompt_cache import KINDS
from tests.recorded import models

SCRIPT = "abcabcabd then abcabcabd again"


class Always(Watch):
    """As many guesses as there are."""

    def size(self, kind: int, room: int) -> int:
        return room


class Chancy:
    """Knows the answer, and changes some of it."""

    expected = (0.5,)
    asks_first = False

    def __init__(self, answer: Sequence[int], n_vocab: int, seed: int, share: float = 0.3) -> None:
        self._answer, self._n_vocab, self._share = list(answer), n_vocab, share
        self._random = random.Random(seed)

    def draft(self, ids: Sequence[int], n: int) -> Draft:
        at = next((i for i in range(len(self._answer), 0, -1) if list(ids[-i:]) == self._answer[:i]), 0)
        right = [*self._answer[at:], *range(1, n)][: self._random.randint(0, n)]
        change, others = self._random.random, self._random.randrange
        return Draft([others(self._n_vocab) if change() < self._share else token for token in right])

    def passed(self, ids: Sequence[int], stop: np.ndarray) -> None:
        pass

    def close(self) -> None:
        pass


def answer_of(context: FakeContext, prompt: str, speculation: Speculation | None, **options: Any) -> dict[str, Any]:
    sampling = options.pop("sampling", Sampling(temperature=0))
    ids = [BOS, *FakeTokenizer().encode(prompt)]
    sequence = AnswerSequence(
        ids, Sampler(sampling), FakeStream(), n_ctx=context.n_ctx, eog_ids=frozenset({EOG}), **options
    )
    tape = Tape(context, None, speculation)
    pieces = list(drive(tape, sequence))
    assert tape.ids == context.cells
    text = "".join(piece.text for piece in pieces)
    logprobs = [told for piece in pieces for told in piece.logprobs]
    stats = sequence.stats
    return {"ids": sequence.ids, "text": text, "logprobs": logprobs, "reason": stats.stop_reason,
            "tokens": stats.answer_tokens, "steps": stats.steps}  # fmt: skip


MANNERS: dict[str, dict[str, Any]] = {
    "greedy": {}, "sampled": {"sampling": Sampling(temperature=1.5, seed=3)}, "one token": {"max_tokens": 1},
    "some tokens": {"max_tokens": 7}, "none": {"max_tokens": 0}, "stopped": {"stop": ("n ab",)},
    "with logprobs": {"logprobs": 2},
    "with penalties": {"sampling": Sampling(temperature=0.7, seed=1, repeat_penalty=1.3, presence_penalty=0.4)},
    "mirostat": {"sampling": Sampling(mirostat=2, seed=5)},
}  # fmt: skip


@pytest.mark.parametrize("can_cut", [True, False])
@pytest.mark.parametrize("manner", MANNERS)
def test_the_answer_is_the_same(manner: str, can_cut: bool) -> None:
    model = FakeModel(SCRIPT, can_cut)
    want = answer_of(FakeContext(model, can_cut=can_cut), "say:", None, **MANNERS[manner])
    known = want["ids"][5:]
    for seed in range(20):
        speculation = Speculation(Chancy(known, 64, seed), Always([0.5] * 3))
        got = answer_of(FakeContext(model, can_cut=can_cut), "say:", speculation, **MANNERS[manner])
        if not can_cut:  # what was forgotten is evaluated again
            assert got.pop("steps") >= want["steps"]
            assert got == {key: value for key, value in want.items() if key != "steps"}
        else:
            assert got == want
    assert (
        answer_of(FakeContext(model), "say:", Speculation(NGrams(), Always([0.5] * 3)), **MANNERS[manner])["ids"]
        == want["ids"]
    )


def test_a_context_that_fills() -> None:
    model = FakeModel("x" * 100)
    want = answer_of(FakeContext(model, n_ctx=20), "say:", None)
    assert want["reason"] == "context"
    for seed in range(20):
        speculation = Speculation(Chancy(want["ids"][5:], 64, seed, 0.1), Always([0.5] * 3))
        assert answer_of(FakeContext(model, n_ctx=20), "say:", speculation) == want


def test_right_guesses_save_passes() -> None:
    model = FakeModel(SCRIPT)
    plain, guessed = FakeContext(model), FakeContext(model)
    want = answer_of(plain, "say:", None)
    assert answer_of(guessed, "say:", Speculation(Chancy(want["ids"][5:], 64, 0, 0.0), Always([0.5] * 3))) == want
    assert len(guessed.calls) < len(plain.calls) / 2


def test_an_answer_that_is_closed_in_the_middle_of_right_guesses() -> None:
    """The context holds more than was said: the next prompt must not go on from there."""
    model = FakeModel(SCRIPT)
    context = FakeContext(model)
    tape = Tape(context, None, Speculation(Chancy(FakeTokenizer().encode(SCRIPT), 64, 1, 0.0), Always([0.5] * 3)))

    def ask(prompt: str) -> AnswerSequence:
        ids = [BOS, *FakeTokenizer().encode(prompt)]
        return AnswerSequence(ids, Sampler(Sampling(temperature=0)), FakeStream(), n_ctx=64, eog_ids={EOG})

    first = ask("say:")
    pieces = drive(tape, first)
    said = "".join(next(pieces).text for _ in range(3))
    pieces.close()
    assert said == SCRIPT[:3]
    assert first.stats.stop_reason == "cancelled"
    again = ask(f"say:{said}? say:")
    assert "".join(piece.text for piece in drive(tape, again)) == SCRIPT
    assert tape.ids == context.cells


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 5))
@settings(max_examples=300, deadline=None)
def test_ngrams_find_what_a_search_finds(ids: list[int], step: int) -> None:
    found, n = NGrams(), 5
    for end in range(1, len(ids) + 1, step):
        text = ids[:end]
        draft, want = found.draft(text, n), Draft()
        for kind, length in enumerate(LENGTHS):
            places = [i for i in range(length, end) if text[i - length : i] == text[-length:]]
            if places and end > length:
                following = text[places[-1] :]
                want = Draft((following * n)[:n], kind)
                break
        assert draft == want


def test_ngrams_of_another_text() -> None:
    found = NGrams()
    assert found.draft([1, 2, 3, 1, 2], 2) == Draft([3, 1], 2)
    assert found.draft([1, 2, 4, 1, 2], 2) == Draft([4, 1], 2)
    assert found.draft([1, 2], 2) == Draft()
    ids = [5, 6, 7, 5, 6]
    assert found.draft(ids, 1) == Draft([7], 2)
    ids += [7, 5, 6]
    assert found.draft(ids, 1) == Draft([7], 1)


class TestWatch:
    def test_what_is_always_right_is_guessed_at_length(self) -> None:
        watch = Watch([0.7], {1: 1.0, 16: 2.0})
        for _ in range(50):
            watch.note_guesses(0, 7, 7)
        assert watch.size(0, 15) == 15
        assert watch.size(0, 4) == 3

    def test_what_is_never_right_is_tried_now_and_then(self) -> None:
        watch = Watch([0.7, 0.7], {n + 1: 1.0 + 0.5 * n for n in SIZES})
        for _ in range(50):
            watch.note_guesses(1, 3, 0)
        sizes = [watch.size(1, 15) for _ in range(480)]
        assert set(sizes) == {0, 2}
        assert sizes.count(2) == 10
        assert watch.size(0, 15) > 0, "of another kind nothing is known"

    def test_rows_that_cost_too_much(self) -> None:
        watch = Watch([0.7], {n + 1: float(n + 1) for n in SIZES})
        assert watch.size(0, 15) == 0

    def test_a_drafter_that_is_slow(self) -> None:
        watch = Watch([0.7], {1: 1.0, 16: 1.5})
        assert watch.size(0, 15) > 0
        for _ in range(50):
            watch.note_drafting(4, 8.0)
        assert watch.size(0, 15) == 0

    def test_a_pass_that_stood_still_counts_little(self) -> None:
        watch = Watch([0.7])
        watch.note_pass(1, 1.0)
        watch.note_pass(1, 1000.0)
        assert watch.seconds[1] == pytest.approx(1.2)


class TestSmallModel:
    @pytest.fixture(autouse=True)
    def _sure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The fake's likeliest token has a probability of 0.63."""
        monkeypatch.setattr(small_model, "_SURE", 0.5)

    def drafter(self, script: str, **options: Any) -> tuple[SmallModel, FakeContext]:
        context = FakeContext(FakeModel(script), **options)
        return SmallModel(context, 64), context

    def ids(self, text: str) -> list[int]:
        return FakeTokenizer().encode(text)

    def test_it_follows_the_text_and_reads_only_what_is_new(self) -> None:
        drafter, context = self.drafter("hello")
        assert drafter.draft(self.ids("say:"), 3).tokens == self.ids("hel")
        n = len(context.calls)
        assert drafter.draft(self.ids("say:he"), 2).tokens == self.ids("ll")
        assert sum(map(len, context.calls[n:])) == 2, "one that was held already, and one guess"
        assert drafter.draft(self.ids("say:h!"), 1).tokens == self.ids("?")

    def test_what_is_not_sure_is_no_guess(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(small_model, "_SURE", 0.7)
        assert self.drafter("hello")[0].draft(self.ids("say:"), 3) == Draft([])

    def test_a_full_context_guesses_nothing(self) -> None:
        drafter, _ = self.drafter("hello", n_ctx=5)
        assert drafter.draft(self.ids("say:"), 3).tokens == self.ids("h")
        assert drafter.draft(self.ids("say:h"), 3) == Draft()

    def test_ids_that_the_large_model_lacks_are_no_guesses(self) -> None:
        context = FakeContext(FakeModel("hello"))
        assert SmallModel(context, 5).draft(self.ids("say:"), 3) == Draft([])

    def test_the_answer_is_the_same(self) -> None:
        model = FakeModel(SCRIPT)
        want = answer_of(FakeContext(model), "say:", None)
        for script in (SCRIPT, SCRIPT[:9] + "?" + SCRIPT[10:], "other"):
            drafter, _ = self.drafter(script)
            assert answer_of(FakeContext(model), "say:", Speculation(drafter, Always([0.5] * 3))) == want

    def test_another_vocabulary_is_refused(self) -> None:
        class Other(FakeTokenizer):
            def token_bytes(self, token_id: int, special: bool = False) -> bytes:
                return b"?" if token_id == 7 else super().token_bytes(token_id)

        small, large, context = FakeModel(), FakeModel(), FakeContext(FakeModel())
        small.tokenizer = Other()
        with pytest.raises(
            UsageError, match=r"fake.gguf: cannot guess for this model: token 7 is b'\?' there and b'g'"
        ):
            Guessing(small).of(large, context)
        small.tokenizer = None
        with pytest.raises(UsageError, match="both need a vocabulary"):
            Guessing(small).of(large, context)


STATES = (*KINDS, "rwkv7", "mamba2", "lfm2", "gemma3n", "kimi-linear")


@pytest.mark.slow
@pytest.mark.parametrize("name", STATES)
def test_every_kind_of_state_goes_back(name: str, tmp_path) -> None:
    """What wrong guesses left in states, windows and caches does not count: the same ids, greedy and sampled."""
    case = models.cases()[name]
    path = models.write(tmp_path / "model.gguf", case, **VOCABULARY)
    with localllm.load(path, n_ctx=128, n_threads=2) as model:
        assert model.tokenizer
        prompt = [i % models.N_VOCAB for i in range(3, 40, 2)]
        for sampling in (Sampling(temperature=0), Sampling(temperature=1.0, seed=11)):
            want = model.answer(prompt, sampling, max_tokens=40, ignore_eog=True)
            ids = (list(want), want.ids)[1]
            for seed in range(3):
                context = model.context(n_ctx=128)
                sequence = new_sequence(model, prompt, sampler_of(model, sampling), 128, 40, ignore_eog=True)
                tape = Tape(context, None, Speculation(Chancy(ids, models.N_VOCAB, seed), Always([0.5] * 3)))
                list(drive(tape, sequence))
                context.close()
                assert sequence.ids[sequence.n_prompt :] == ids
                assert sequence.stats.guessed_right
