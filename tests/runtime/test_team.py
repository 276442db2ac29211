"""The thread team: stopping, sleeping, and many runs in a row."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from localllm.errors import Cancelled
from localllm.model.model import LoadedModel
from tests import tiny_models


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tiny_models.write(tmp_path_factory.mktemp("models") / "m.gguf", "llama", "Q8_0")
    with LoadedModel.load(path, n_ctx=2048, n_threads=3) as model:
        yield model


def wide(model):
    """A context and a batch that take a noticeable time."""
    return model.context(), [i % 90 for i in range(512)]


def test_cancel_from_another_thread(model):
    """However long the pass would take, it ends soon after the word, and the context goes on from where it was."""
    context, ids = wide(model)
    expected = model.logits(ids)[-1]
    cancelled = 0
    for delay in np.linspace(0, 0.02, 20):
        timer = threading.Timer(delay, context.cancel)
        timer.start()
        try:
            context.forward(ids)
        except Cancelled:
            cancelled += 1
            assert context.n_past() == 0
        timer.join()
        context.clear()
    assert np.array_equal(context.forward(ids)[0], expected)
    assert cancelled
    context.close()


def test_interrupt_reaches_the_caller(model):
    """Ctrl-C in the middle of a pass raises KeyboardInterrupt there, and the next pass is right."""
    context, ids = wide(model)
    expected = model.logits(ids)[-1]
    stop = threading.Event()

    def interrupt():
        stop.wait(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread, hopeless = threading.Thread(target=interrupt), time.monotonic() + 60
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        thread.start()
        while time.monotonic() < hopeless:  # SIGINT may be ignored where this was started
            context.forward(ids)
            context.clear()
    thread.join()
    context.clear()
    assert np.array_equal(context.forward(ids)[0], expected)
    context.close()


def test_idle_team_sleeps(model):
    """After the last run the workers take no processor time."""
    context, _ = wide(model)
    context.forward([1, 2, 3])
    time.sleep(0.3)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.05
    context.forward([4])
    context.close()


def test_runs_after_sleep_and_without(model):
    """Wake-ups are not lost: runs that follow at once, after the workers' patience, and in between."""
    context, _ = wide(model)
    rng = np.random.default_rng(3)
    first = context.forward([1])
    for pause in rng.choice([0.0, 0.001, 0.004, 0.02], 60):
        time.sleep(pause)
        context.clear()
        assert np.array_equal(context.forward([1]), first)
    context.close()


def test_contexts_take_turns(model):
    """Two threads with a context each get the results they get alone."""
    expected = {seed: model.logits(ids_of(seed)) for seed in range(4)}
    wrong = []

    def work(seed):
        for _ in range(5):
            if not np.array_equal(model.logits(ids_of(seed)), expected[seed]):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(s,)) for s in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def ids_of(seed):
    return [int(i) for i in np.random.default_rng(seed).integers(0, tiny_models.N_VOCAB, 30)]


@pytest.mark.parametrize("n_started", [0, 1, 2])
def test_helpers_that_cannot_be_started(model, n_started, monkeypatch):
    """It ends in an error, not in a wait for a helper that is not there; once they can be, it goes on."""
    ids = ids_of(1)
    expected = model.logits(ids)
    start, left = threading._start_new_thread, [n_started]  # type: ignore[attr-defined]

    def few(*given):
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("can't start new thread")
        return start(*given)

    with LoadedModel.load(model.path, n_ctx=2048, n_threads=3) as other:
        monkeypatch.setattr(threading, "_start_new_thread", few)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            other.logits(ids)
        monkeypatch.undo()
        assert np.array_equal(other.logits(ids), expected)
