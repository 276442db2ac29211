"""Every recorded model: llama.cpp's logits, and the promises that hold for all kinds of states."""

import numpy as np
import pytest

from localllm.errors import UnsupportedError, UsageError
from localllm.kernels.cells import CODE_BITS
from localllm.model.model import LoadedModel
from localllm.model.sequences import Sequences
from localllm.model.states.cells import Cells
from localllm.model.states.state import StateOptions
from tests.recorded import models
from tests.recorded.models import IDS, N_CTX, evaluate, outputs
from tests.tiny_models import nmse

CASES = models.cases()


CACHES = {"f16": 2e-6, "q8_0": 1e-3, "q4_0": 0.3}
"""Kinds of caches and how far most rows of logits are off with them: bits lost once a layer, in 64 of them at most."""


@pytest.fixture(scope="module", params=CASES)
def loaded(request, tmp_path_factory):
    """(name, case, model with an f32 cache), for one case after another."""
    case = CASES[request.param]
    path = models.write(tmp_path_factory.mktemp("recorded") / "m.gguf", case)
    with LoadedModel.load(path, n_ctx=N_CTX, n_threads=2, kv_type="f32") as model:
        yield request.param, case, model


def feed(case, context, ids, seq=0, chunk=None):
    """Logits (or hidden states) of all ids, fed `chunk` at a time."""
    chunk = chunk or len(ids)
    parts = (ids[start : start + chunk] for start in range(0, len(ids), chunk))
    return np.concatenate([evaluate(case, context, p, seq_ids=[seq] * len(p)) for p in parts])


def check_one_batch(case, context, ids, exact):
    """What attends in both directions takes a sequence as one batch, and refuses what would go on with it."""
    for n in (len(ids) - 1, 1):
        feed(case, context, ids[:n])
        with pytest.raises(UsageError, match="attends in both directions: a sequence is one batch of at most"):
            feed(case, context, ids[n : n + 1])
        assert context.n_past(0) == n
        context.clear()
    assert np.array_equal(feed(case, context, ids), exact)


def odd_heads(model):
    """Sizes of the heads in a model's caches that codes, in groups of 32, cannot hold."""
    kept = Sequences(model.network.mixers, StateOptions(N_CTX, 1, "f16"), 1).states.values()
    cells = [state for states in kept for state in states if isinstance(state, Cells) and state.kv_type == "f16"]
    return {plane.dim for state in cells for plane in state.planes if plane.dim % 32}


def test_logits_are_those_of_llamacpp(loaded):
    name, case, model = loaded
    ids = models.ids_of(case.n_ids)
    exact = models.recorded(name)
    assert nmse(exact, case.recorded(outputs(case, model, ids))) < 1e-6
    for pooling in case.poolings:
        exact = models.recorded(name, pooling)
        assert nmse(exact, model.embed([ids], pooling, normalize=False)[0]) < 1e-6


@pytest.mark.parametrize("kv_type", CACHES)
def test_caches_of_fewer_bits(loaded, kv_type):
    """Most rows: in a few, what is rounded is enough to take another expert, or another cell."""
    name, case, model = loaded
    ids, exact = models.ids_of(case.n_ids), models.recorded(name)
    if kv_type in CODE_BITS and (odd := odd_heads(model)):
        with pytest.raises(UnsupportedError, match=rf"layer \d+.* kv_type {kv_type} needs multiples of 32") as refused:
            LoadedModel.load(model.path, n_ctx=N_CTX, n_threads=2, kv_type=kv_type)
        assert any(str(size) in str(refused.value) for size in odd)
        assert str(model.path) in str(refused.value)
        return
    with LoadedModel.load(model.path, n_ctx=N_CTX, n_threads=2, kv_type=kv_type) as other:
        whole = outputs(case, other, ids)
        errors = [nmse(a, b) for a, b in zip(exact, case.recorded(whole), strict=True)]
        assert np.median(errors) < CACHES[kv_type]
        if not (model.network.causal and kv_type == "f16"):
            return
        context = other.context()
        assert np.array_equal(feed(case, context, ids, chunk=7), whole)
        context.close()


def test_the_same_bits_however_it_is_fed(loaded):
    """In one pass, in chunks of 7, token by token, and by one thread."""
    _, case, model = loaded
    ids = models.ids_of(case.n_ids)
    exact = outputs(case, model, ids)
    if not model.network.causal:
        context = model.context()
        check_one_batch(case, context, ids, exact)
        context.close()
    for chunk in (1, 7) if model.network.causal else ():
        context = model.context()
        assert np.array_equal(feed(case, context, ids, chunk=chunk), exact), f"chunks of {chunk}"
        context.close()
    with LoadedModel.load(model.path, n_ctx=N_CTX, n_threads=1, kv_type="f32") as alone:
        assert np.array_equal(outputs(case, alone, ids), exact)


def test_sequences_in_one_batch_do_not_see_each_other(loaded):
    _, case, model = loaded
    prompts = [IDS[:11], IDS[11:30], IDS[30:31]]
    exact = [outputs(case, model, prompt) for prompt in prompts]
    rows = sorted((place, seq) for seq, p in enumerate(prompts) for place in range(len(p)))
    context = model.context(n_seq=3)
    together = evaluate(case, context, [prompts[s][i] for i, s in rows], [i for i, _ in rows], [s for _, s in rows])
    for s, one in enumerate(exact):
        assert np.array_equal(together[[k for k, row in enumerate(rows) if row[1] == s]], one)
    context.close()


def test_save_restore_copy_and_cut(loaded):
    """Whatever way a sequence came to where it is, it goes on by the same bits; what attends in both directions never
    goes on."""
    _, case, model = loaded
    ids = models.ids_of(case.n_ids)
    half, exact = len(ids) // 2, outputs(case, model, ids)
    if not model.network.causal:
        check_that_none_goes_on(case, model, ids, half, exact)
        return
    context = model.context(n_seq=2)
    feed(case, context, ids[:half])
    saved = context.save(0)
    context.copy(0, 1)
    assert np.array_equal(feed(case, context, ids[half:], seq=1), exact[half:])
    assert np.array_equal(feed(case, context, ids[half:], chunk=3), exact[half:])
    for position in (len(ids) - 1, half, half - 1, 7, 0):
        at = context.cut(0, position)
        assert at == context.n_past(0) <= position
        assert np.array_equal(feed(case, context, ids[at:]), exact[at:])
    context.clear()
    feed(case, context, ids[3 * half // 2 :])
    context.restore(0, half, saved)
    assert context.reach(0, half) == half
    spans = [context.span(0, 0, half - 3), context.span(0, half - 3, half)]
    moment = context.moment(0, half) if context.moment_is_needed else None
    assert moment is None or [len(part) for part in moment.parts] == context.moment_bytes(half)
    assert np.array_equal(feed(case, context, ids[half:]), exact[half:])
    context.resume(1, half, spans, moment)
    assert np.array_equal(feed(case, context, ids[half:], seq=1), exact[half:])
    context.close()


def check_that_none_goes_on(case, model, ids, half, exact):
    context = model.context(n_seq=2)
    feed(case, context, ids[:half])
    saved = context.save(0)
    context.copy(0, 1)
    context.clear()
    context.restore(0, half, saved)
    context.restore(1, half, saved)
    for seq, at in ((0, half), (1, half - 1)):
        assert context.cut(seq, at) == context.n_past(seq) == at
        with pytest.raises(UsageError, match="attends in both directions: a sequence is one batch of at most"):
            feed(case, context, ids[at:], seq=seq)
        assert context.cut(seq, 0) == 0
        assert np.array_equal(feed(case, context, ids, seq=seq), exact)
    context.close()


def test_a_prompt_again_feeds_one_token(loaded):
    """As /regen does: back to one token before the prompt's end, after an answer of some length. What attends in both
    directions reads the prompt again as a whole."""
    _, case, model = loaded
    context = model.context()
    if not model.network.causal:
        check_one_batch(case, context, IDS[:25], outputs(case, model, IDS[:25]))
        context.close()
        return
    feed(case, context, IDS[:25])
    feed(case, context, IDS[25:35], chunk=1)
    assert context.cut(0, 24) == 24
    context.close()
