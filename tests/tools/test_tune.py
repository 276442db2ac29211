"""The race for the fastest number of threads: by speeds and clocks that are made here."""

import random
from types import SimpleNamespace

import pytest

from localllm.generate.session import Model
from localllm.runtime.processors import Processors
from localllm.runtime.tuned import Threads
from localllm.tools import tune
from tests import tiny_models
from tests.generate.fake import FakeModel


@pytest.mark.parametrize(
    ("processors", "expected"),
    [
        (Processors(1, 1, 1), [1]),
        (Processors(2, 2, 2), [1, 2]),
        (Processors(4, 4, 4), [1, 2, 3, 4]),
        (Processors(16, 8, 8), [1, 2, 3, 4, 6, 7, 8, 12, 16]),
        (Processors(20, 14, 6), [1, 2, 3, 4, 5, 6, 8, 12, 14, 16, 20]),
        (Processors(64, 32, 32, 2.5), [1, 2, 3]),
    ],
)
def test_candidates(processors, expected):
    """A quota limits them; threads of one core and slow cores are tried, too."""
    assert tune.candidates(processors) == expected


def run(speeds, seed=1, noise=0.0):
    """A race in which each number of threads has a speed, and the calls that were made."""
    chance, calls = random.Random(seed), []

    def measure(n):
        calls.append(n)
        return speeds[n] * (1 + noise * (chance.random() - 0.5))

    return tune.race(sorted(speeds), measure, random.Random(seed)), calls


def test_the_fastest_wins():
    assert run({1: 10, 2: 19, 4: 35, 8: 30})[0].chosen == 4


def test_of_equals_the_fewest_win():
    outcome, _ = run({1: 10, 2: 19.8, 4: 20.0, 8: 20.1})
    assert outcome.chosen == 2


def test_it_ends_when_one_is_left():
    outcome, calls = run({1: 10, 2: 19, 4: 35, 8: 30})
    assert {n: len(values) for n, values in outcome.samples.items()} == {1: 2, 2: 2, 4: 3, 8: 3}
    assert len(calls) == 10


def test_equals_are_measured_to_the_end():
    outcome, _ = run({1: 10, 4: 20.0, 8: 20.1})
    assert [len(outcome.samples[n]) for n in (1, 4, 8)] == [2, tune.MOST_ROUNDS, tune.MOST_ROUNDS]


def test_each_round_has_an_order_of_its_own():
    _, calls = run(dict.fromkeys(range(1, 9), 10.0))
    rounds = [tuple(calls[i : i + 8]) for i in range(0, len(calls), 8)]
    assert all(sorted(r) == list(range(1, 9)) for r in rounds)
    assert len(set(rounds)) > 1


@pytest.mark.parametrize("seed", range(20))
def test_noise(seed):
    """Runs that differ by a fifth do not hide a number that is a third faster."""
    assert run({1: 10, 2: 20, 3: 30, 4: 40, 6: 29}, seed, 0.2)[0].chosen == 4


def test_one_slow_run_does_not_throw_the_fastest_out():
    """Another program may have run just then."""
    speeds = iter([10, 5, 20, 20] + [10, 20] * 20)
    order = iter([1, 4, 1, 4] + [1, 4] * 20)

    class InTurn(random.Random):
        def sample(self, population, k, *, counts=None):
            return [next(order) for _ in population]

    outcome = tune.race([1, 4], lambda n: next(speeds), InTurn())
    assert outcome.chosen == 4


def test_one_candidate():
    outcome, calls = run({1: 10})
    assert outcome.chosen == 1
    assert calls == [1] * tune.FEWEST_ROUNDS


def test_it_says_how_far_it_is():
    said: list[tuple[int, int]] = []
    tune.race([1, 2], lambda n: n, random.Random(1), lambda *done: said.append(done))
    assert said[-1] == (tune.MOST_ROUNDS, tune.MOST_ROUNDS)
    assert said == sorted(said)


def fake_model():
    return FakeModel()


@pytest.fixture
def clock(monkeypatch):
    """A clock that passes of the fake model move on: prompts run best on four threads, generation on two."""
    now = SimpleNamespace(seconds=0.0, passes=[])

    def work(context):
        n = context.model.team.threads.decode
        now.passes.append(n)
        best = 4 if now.prompt else 2
        now.seconds += 0.001 * (1 + abs(n - best))

    now.prompt, now.work = True, work
    monkeypatch.setattr(tune, "time", SimpleNamespace(perf_counter=lambda: now.seconds))
    return now


def test_both_races_on_a_model(clock):
    model = fake_model()
    model.before_pass = clock.work
    said: list[str] = []

    def say(text, done, most):
        said.append(text)
        clock.prompt = text.startswith("Measuring prompts") and done < most

    found = tune.tune(model, [1, 2, 4, 8], say)
    assert found.threads == Threads(decode=2, prompt=4)
    assert model.team.threads == Threads(2, 2), "the model's own are as before"
    assert set(clock.passes) == {1, 2, 4, 8}
    assert all(context.closed for context in model.contexts)
    assert set(said) == {"Measuring prompts, rounds", "Measuring generation, rounds"}
    assert found.fields()["decode"]["n_threads"] == 2


def test_a_slow_model_gets_a_short_prompt(clock):
    model = fake_model()

    def slow(context):
        clock.seconds += 1.0

    model.before_pass = slow
    speeds = tune._Speeds(model)
    speeds.choose_lengths(Threads(1, 1))
    assert (speeds._n_prompt, speeds._n_gen) == (128, 2)


def test_an_interrupt_leaves_the_model_as_it_was(clock):
    model = fake_model()

    def interrupt(context):
        clock.work(context)
        if context.model.team.threads.decode == 4:
            raise KeyboardInterrupt

    model.before_pass = interrupt
    with pytest.raises(KeyboardInterrupt):
        tune.tune(model, [1, 4])
    assert model.team.threads == Threads(2, 2)
    assert model.contexts[0].closed


def test_a_real_model(tmp_path):
    """All numbers of threads run, whichever wins."""
    with Model.load(tiny_models.write(tmp_path / "m.gguf", "llama", "Q8_0"), n_ctx=1024, n_threads=1) as model:
        found = tune.tune(model, [1, 3])
        assert {found.threads.decode, found.threads.prompt} <= {1, 3}
        assert all(speed > 0 for speed in found.prompt.medians.values())
        assert model.n_threads == 1
