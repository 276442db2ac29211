"""The card's measurements, each by a stand-in; the start and the memory for real."""

import json
import sys
from types import SimpleNamespace

import pytest

from localllm.errors import LocalllmError
from localllm.runtime import tuned
from localllm.runtime.tuned import Threads
from localllm.tools import against, bench, card, disturbance, limits, peers
from localllm.tools.disturbance import Disturbance
from tests.generate.fake import FakeModel
from tests.server import tiny


def fake_model():
    return FakeModel()


TESTS = bench.combinations([16], [4])
PAIRS = [against.Pair((30.0, 10.0), (4.0, 5.0), Disturbance(0.0, 0.0, 0.0, False, 2))] * 3


@pytest.fixture
def parts(monkeypatch, tmp_path):
    """A quiet machine with limits, on which all can be measured."""
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path))
    made = SimpleNamespace(order=[], others=0.0, peer=PAIRS, job=None)

    def compare(job, peer, pairs, progress, seconds):
        made.order.append("peer")
        made.job = job
        if isinstance(made.peer, Exception):
            raise made.peer
        return made.peer

    def top(n_threads):
        made.order.append(f"limits {n_threads}")
        return {"gb_s": 20.0, "gmac_s": 400.0}

    monkeypatch.setattr(limits, "measured", top)
    monkeypatch.setattr(limits, "work", lambda model, test: (10**6, 10**7))
    monkeypatch.setattr(card, "start_seconds", lambda path: 0.25)
    monkeypatch.setattr(peers.Peer, "version", "1.0")
    monkeypatch.setattr(card, "available_memory", lambda: 1 << 40)
    monkeypatch.setattr(against, "compare", compare)
    monkeypatch.setattr(disturbance, "read", lambda: disturbance.Counters(0, 0, 0, 0, 0))
    monkeypatch.setattr(disturbance, "between", lambda *_: Disturbance(made.others, 0, 0, False))
    # Runs of one length: the figures do not scatter.
    clock = SimpleNamespace(ns=0)

    def perf_counter_ns():
        clock.ns += 10**6
        return clock.ns

    monkeypatch.setattr(bench, "time", SimpleNamespace(perf_counter_ns=perf_counter_ns))
    return made


def test_a_card(parts):
    model = fake_model()
    said: list[str] = []
    made = card.measure(lambda: model, TESTS, repetitions=3, say=said.append)
    assert [test.test.name for test in made.tests] == ["pp16", "tg4"]
    assert [test.unit for test in made.tests] == ["gmac_s", "gb_s"]
    assert made.tests[0].samples_ts == [16000.0] * 3
    assert made.threads == Threads(2, 2)
    assert not made.tuned
    assert (made.start_seconds, made.peak_memory > 1 << 20, made.warnings) == (0.25, True, ())
    assert [row.fields()["median_ratio"] for row in made.peer] == [3.0, 0.8]
    built = ", built for avx2" if peers.PEERS["llamacpp"].built_for else ""
    assert made.peer_note == f"llama.cpp is xllamacpp 1.0{built}: medians of 3 alternating pairs of runs"
    assert model.closed
    assert parts.order == ["limits 2", "peer"]
    assert len(said) == 5
    whole = json.loads(json.dumps(made.fields()))
    assert whole["model"]["file"] == "fake.gguf"
    assert whole["tests"][0]["share"] == made.tests[0].fields()["share"]


def test_two_numbers_of_threads(parts, monkeypatch):
    """Each test beside the limit of its own; the peer gets both."""
    monkeypatch.setattr(FakeModel, "n_threads", 1)
    monkeypatch.setattr(FakeModel, "n_threads_batch", 3)
    model = fake_model()
    model.team.threads = Threads(1, 3)
    monkeypatch.setattr(tuned, "kept", lambda: {"up to 256 MB": Threads(1, 3)})
    made = card.measure(lambda: model, TESTS, repetitions=1)
    assert made.tuned
    assert parts.order == ["limits 1", "limits 3", "peer"]
    assert (parts.job.n_threads, parts.job.n_threads_batch) == (1, 3)
    assert [test.fields()["n_threads"] for test in made.tests] == [3, 1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.setattr(peers.Peer, "version", None), "pip install 'localllm[peer]'"),
        (lambda m: m.setattr(card, "available_memory", lambda: 5 * 10**8), "need 1.1 GB, 500 MB are free"),
    ],
)
def test_no_peer(parts, monkeypatch, change, words):
    change(monkeypatch)
    made = card.measure(fake_model, TESTS, repetitions=1)
    assert made.peer == ()
    assert words in made.peer_note
    assert "peer" not in parts.order


@pytest.mark.parametrize("options", [{"kv_type": "q8_0"}, {"swa_full": True}])
def test_defaults_alone_are_compared(parts, options):
    made = card.measure(fake_model, TESTS, repetitions=1, **options)
    assert made.peer == ()
    assert "defaults alone" in made.peer_note


def test_others_beside_the_peer(parts):
    busy = against.Pair((30.0, 10.0), (4.0, 5.0), Disturbance(1.0, 0.0, 0.0, False, 2))
    parts.peer = [*PAIRS[:2], busy]
    made = card.measure(fake_model, TESTS, repetitions=3)
    assert made.peer == ()
    assert made.peer_note.startswith("llama.cpp was left out: No ratio: during 1 of 3 pairs other programs")
    parts.peer = [*PAIRS, busy]
    assert len(card.measure(fake_model, TESTS, repetitions=3).peer) == 2


def test_a_peer_that_fails(parts):
    parts.peer = LocalllmError("the process of llamacpp ended early (status 1)")
    made = card.measure(fake_model, TESTS, repetitions=1)
    assert made.peer == ()
    assert made.peer_note == "llama.cpp could not be measured: the process of llamacpp ended early (status 1)"


def test_other_programs_are_told(parts):
    """And where they use most of the processor, no peer is run."""
    parts.others = 0.4
    made = card.measure(fake_model, TESTS, repetitions=1)
    assert "0.4 cores" in made.warnings[0]
    assert made.peer
    parts.others = 1.5
    made = card.measure(fake_model, TESTS, repetitions=1)
    assert "1.5 cores" in made.warnings[0]
    assert (made.peer, parts.order.count("peer")) == ((), 1)
    assert "other programs" in made.peer_note


def test_a_model_without_text_has_no_start(parts):
    model = fake_model()
    model.tokenizer = None
    assert card.measure(lambda: model, TESTS, repetitions=1).start_seconds is None


def test_an_interrupt_closes_the_model(parts):
    model = fake_model()

    def interrupt(context):
        raise KeyboardInterrupt

    model.before_pass = interrupt
    with pytest.raises(KeyboardInterrupt):
        card.measure(lambda: model, TESTS)
    assert model.closed


@pytest.mark.parametrize(("pair", "expected"), [(0.0, 5), (1.0, 5), (6.0, 4), (7.0, 3), (100.0, 3)])
def test_pairs(pair, expected):
    assert card.pairs_within(25.0, pair) == expected


def test_long_runs_are_fewer(parts):
    """The clock goes on by a millisecond a run."""
    test = bench.Test(4, 0, 0, 8, None)
    assert len(bench.measure(fake_model(), test, 10, seconds=1.0).samples_ns) == 10
    assert len(bench.measure(fake_model(), test, 10, seconds=0.0035).samples_ns) == 4
    assert len(bench.measure(fake_model(), test, 10, seconds=0.0).samples_ns) == bench.FEWEST
    assert len(bench.measure(fake_model(), test, 2, seconds=0.0).samples_ns) == 2


@pytest.mark.slow
def test_a_start(tmp_path):
    seconds = card.start_seconds(str(tiny.write(tmp_path / "tiny.gguf")), runs=1)
    assert seconds
    assert seconds > 0


def test_a_start_without_an_answer(tmp_path):
    assert card.start_seconds(str(tmp_path / "none.gguf"), runs=1) is None


@pytest.mark.parametrize(("platform", "factor"), [("linux", 1024), ("darwin", 1)])
def test_peak_memory(monkeypatch, platform, factor):
    """Linux counts in kilobytes, macOS in bytes."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=1000))
    monkeypatch.setattr(sys, "platform", platform)
    assert card.peak_memory() == 1000 * factor
