"""Beginnings that are kept: what comes back has the same bits, for every kind of state; what is found and forgotten."""

from itertools import product

import numpy as np
import pytest

from localllm.errors import UsageError
from localllm.generate.prompt_cache import MIN_TOKENS, SPAN_TOKENS, PromptCache
from localllm.kernels.cells import CODE_BITS
from localllm.model.model import LoadedModel
from tests.recorded import models

KINDS = {
    "llama": "attention",
    "gemma3": "windows",
    "mamba": "recurrent",
    "qwen3next": "attention and recurrent",
    "deepseek2": "latent rows",
    "deepseek4": "groups of positions",
}
BIG = 1 << 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def load(folder):
    opened = []

    def load(name, kv_type="f16", n_ctx=2048):
        path = folder / f"{name}.gguf"
        if not path.exists():
            models.write(path, models.cases()[name])
        opened.append(LoadedModel.load(path, n_ctx=n_ctx, kv_type=kv_type))
        return opened[-1]

    yield load
    for model in opened:
        model.close()


def prompt(n, seed=1, n_vocab=80):
    return np.random.default_rng(seed).integers(1, n_vocab, n).tolist()


def read(context, ids, seq_id=0):
    """Feed what is not there; the logits after the last one."""
    for start in range(context.n_past(seq_id), len(ids), context.n_batch):
        chunk = ids[start : start + context.n_batch]
        logits = context.forward(chunk, seq_ids=[seq_id] * len(chunk))
    return logits[-1]


def answer(context, ids, seq_id=0, n=4):
    """Greedy tokens and all their logits."""
    rows = [read(context, ids, seq_id)]
    for _ in range(n):
        rows.append(context.forward([int(rows[-1].argmax())], seq_ids=[seq_id])[-1])
    return np.stack(rows)


@pytest.mark.parametrize(
    ("name", "kv_type"),
    [*product(KINDS, ["f16", "f32"]), *product(("llama", "qwen3next"), CODE_BITS), ("gemma3", "q4_0")],
)
def test_an_answer_after_a_restore_has_the_same_bits(load, name, kv_type):
    model = load(name, kv_type)
    context = model.context(n_seq=3)
    cache = PromptCache(context, BIG)
    ids = prompt(1300)
    read(context, ids)
    assert cache.find(ids).n_past == 0
    assert cache.save(context, 0, ids) >= 1299
    exact = answer(model.context(), ids)
    match = cache.find(ids)
    assert match.n_past == 1299
    assert match.restore_into(context, 1) == 1299
    assert context.n_past(1) == 1299
    assert np.array_equal(answer(context, ids, 1), exact)

    longer = ids + prompt(40, 2)
    match = cache.find(longer)
    assert match.restore_into(context, 2) in (1299, 1300)
    assert np.array_equal(answer(context, longer, 2), answer(model.context(), longer))


@pytest.mark.parametrize("name", KINDS)
def test_a_common_beginning_serves_another_prompt(load, name):
    model = load(name)
    context = model.context(n_seq=2)
    cache = PromptCache(context, BIG)
    first = prompt(700)
    read(context, first)
    cache.save(context, 0, first)
    second = first[:500] + prompt(300, 3)
    match = cache.find(second)
    assert (match.n_past, match.mark) == ((0, 480) if "recurrent" in KINDS[name] else (500, 0))
    context.clear()
    if match.n_past:
        assert match.restore_into(context, 1) == 500
    else:
        read(context, second[:480], 1)
        assert cache.save(context, 1, second[:480]) == 479
    assert np.array_equal(answer(context, second, 1), answer(model.context(), second))
    third = first[:480] + prompt(300, 4)
    match = cache.find(third)
    assert match.restore_into(context, 0) in (479, 480)
    assert np.array_equal(answer(context, third), answer(model.context(), third))


def test_a_window_is_gone_back_from_as_far_as_it_holds(load):
    """The ring of gemma3's window of 20 has 768 cells."""
    model = load("gemma3")
    context = model.context(n_seq=2)
    cache = PromptCache(context, BIG)
    ids = prompt(1500)
    read(context, ids)
    cache.save(context, 0, ids)
    far, near = ids[:600] + prompt(200, 2), ids[:1000] + prompt(200, 2)
    match = cache.find(far)
    assert (match.n_past, match.mark) == (0, 576)
    assert cache.find(near).restore_into(context, 1) == 1000
    assert np.array_equal(answer(context, near, 1), answer(model.context(), near))


def test_a_window_may_lie_in_the_next_node(load):
    model = load("gemma3")
    context = model.context(n_seq=2)
    cache = PromptCache(context, BIG)
    ids = prompt(SPAN_TOKENS + 100)
    read(context, ids)
    cache.save(context, 0, ids)
    other = ids[: SPAN_TOKENS - 10] + prompt(100, 5)
    match = cache.find(other)
    assert match.restore_into(context, 1) == SPAN_TOKENS - 10
    assert np.array_equal(answer(context, other, 1), answer(model.context(), other))


def test_only_what_is_worth_it_is_found_and_kept(load):
    context = load("llama").context()
    cache = PromptCache(context, BIG)
    ids = prompt(MIN_TOKENS + 64)
    read(context, ids)
    assert cache.save(context, 0, ids[: MIN_TOKENS - 1]) == 0
    assert cache.save(context, 0, ids) == len(ids)
    assert cache.save(context, 0, ids) == 0
    assert cache.find(ids, known=len(ids) - 10).n_past == 0
    assert cache.find(ids[:20]).n_past == 0
    assert cache.find(prompt(500, 7)).n_past == 0
    assert cache.find(ids[:100]).n_past == 99
    assert cache.find(ids[:100], known=60).n_past == 99
    more = ids + prompt(20, 2)
    read(context, more)
    assert cache.save(context, 0, more) == 0
    status = cache.status()
    assert (status.lookups, status.hits, status.saved_tokens) == (3, 0, len(ids))
    assert cache.find(ids).restore_into(context, 0) == len(ids) - 1
    assert (cache.status().hits, cache.status().restored_tokens) == (1, len(ids) - 1)


def test_the_oldest_goes_and_what_many_share_stays(load):
    model = load("llama")
    context = model.context()
    system = prompt(512)
    read(context, system)
    one = context.span(0, 0, 512).content.nbytes + 4 * 512
    cache = PromptCache(context, 4 * one)
    cache.save(context, 0, system)
    for seed in range(20):
        context.clear()
        other = [seed + 1, *prompt(499, 100 + seed)]
        read(context, other)
        assert cache.save(context, 0, other) == 500
        ids = [*system, seed + 1, *prompt(399, 200 + seed)]
        assert cache.find(ids).restore_into(context, 0) == 512
        read(context, ids)
        assert cache.save(context, 0, ids) == 400
        assert cache.status().memory_bytes <= 4 * one
    assert cache.find([1, *prompt(499, 100)]).n_past == 0
    assert cache.find(ids).n_past == 911
    assert cache.find([*system, 1, *prompt(399, 200)]).n_past == 512


def test_a_budget_of_nothing_keeps_nothing(load):
    context = load("lfm2").context()
    cache = PromptCache(context, 0)
    ids = prompt(400)
    read(context, ids)
    cache.save(context, 0, ids)
    assert cache.find(ids).n_past == 0
    assert cache.status().entries == 0


def test_a_match_that_was_forgotten_changes_nothing(load):
    context = load("lfm2").context()
    cache = PromptCache(context, BIG)
    ids = prompt(400)
    read(context, ids)
    cache.save(context, 0, ids)
    match = cache.find(ids)
    cache.memory_limit = 0
    cache._evict()
    context.clear()
    context.forward(ids[:3])
    assert match.restore_into(context, 0) == 0
    assert context.n_past() == 3


@pytest.mark.parametrize("name", ["llama", "mamba", "gemma3"])
def test_any_prompts_in_any_order(load, name):
    """Random trees of prompts, a small budget: what is found always begins the prompt, and has its bits."""
    model = load(name)
    context = model.context(n_seq=2)
    chance = np.random.default_rng(5)
    budget = 1_500_000 if name == "gemma3" else 300_000
    cache = PromptCache(context, budget)
    exact = {}
    stems = [prompt(n, seed) for seed, n in enumerate((300, 420, 640))]
    stems += [stem[:250] + prompt(150, 9) for stem in stems]
    restored = 0
    for _ in range(40):
        stem = stems[chance.integers(len(stems))]
        ids = stem[: chance.integers(100, len(stem) + 1)] + prompt(int(chance.integers(1, 90)), int(chance.integers(3)))
        context.clear()
        match = cache.find(ids)
        if match.n_past:
            assert match.restore_into(context, 0) == match.n_past < len(ids)
            restored += 1
        if match.mark:
            read(context, ids[: match.mark])
            cache.save(context, 0, ids[: match.mark])
        logits = read(context, ids)
        cache.save(context, 0, ids)
        if tuple(ids) not in exact:
            exact[tuple(ids)] = read(model.context(), ids)
        assert np.array_equal(logits, exact[tuple(ids)])
        assert cache.status().memory_bytes <= budget
    assert restored > 2


def test_resume_checks_everything_before_it_changes_anything(load):
    context = load("qwen3next").context(n_seq=2)
    ids = prompt(400)
    read(context, ids)
    spans, moment = [context.span(0, 0, 200), context.span(0, 190, 399)], context.moment(0, 399)
    context.forward(ids[:5], seq_ids=[1] * 5)
    later = context.span(0, 201, 399)
    for n_past, given, then, words in (
        (399, spans[:1], moment, "has cells of 200"),
        (399, [spans[0], later], moment, "has cells from 201 to 399 after those to 200"),
        (399, spans, None, "has no states"),
        (398, spans, moment, "has states of 399, from which it goes on at 0"),
        (0, spans, moment, "n_past is 0, must be 1 to"),
        (399, spans, type(moment)(399, 399, moment.parts[:1]), "has 1 states, must have"),
        (399, spans, type(moment)(399, 399, (b"x", *moment.parts[1:])), "has a state 0 that has 1 bytes"),
        (399, [type(later)(0, 399, later.content)], moment, "bytes from 0 to 399, must have"),
    ):
        with pytest.raises(UsageError, match=words):
            context.resume(1, n_past, given, then)
        assert context.n_past(1) == 5
    context.resume(1, 399, spans, moment)
    assert context.n_past(1) == 399
    for call in (lambda: context.span(0, 0, 401), lambda: context.moment(0, 100), lambda: context.span(0, 5, 4)):
        with pytest.raises(UsageError):
            call()


def test_large_states_are_kept_where_they_save_much(load, monkeypatch):
    """A moment of qwen3next takes 90 kB here: with 1 kB a token it must save 90 tokens."""
    monkeypatch.setattr("localllm.generate.prompt_cache._BYTES_A_TOKEN", 1000)
    context = load("qwen3next").context()
    cache = PromptCache(context, BIG)
    ids = prompt(400)
    read(context, ids)
    assert cache.save(context, 0, ids) == 399
    for more, kept in ((60, 0), (120, 120)):
        longer = ids + prompt(more, 2)
        assert cache.find(longer).restore_into(context, 0) == 399
        read(context, longer)
        assert cache.save(context, 0, longer) == kept
    other = ids[:320] + prompt(90, 4)
    assert (cache.find(other).n_past, cache.find(other).mark) == (0, 320)
    assert cache.find(other, known=250).mark == 320
    assert cache.find(other, known=300).mark == 0


def test_what_has_left_the_tree_is_not_held(load):
    context = load("llama").context()
    cache = PromptCache(context, BIG)
    ids = prompt(400)
    read(context, ids)
    cache.save(context, 0, ids)
    tree = cache._tree
    (node,) = tree.held
    content = node.content
    assert content
    tree.prune(node)
    assert (tree.held, tree.held_bytes) == (set(), 0)
    tree.hold(node, content)
    assert (tree.held, tree.held_bytes) == (set(), 0)


def test_memory_that_is_short_is_not_taken(load, monkeypatch):
    context = load("llama").context()
    cache = PromptCache(context, BIG)
    ids = prompt(400)
    read(context, ids)
    monkeypatch.setattr("localllm.generate.prompt_cache.available_memory", lambda: 200 << 20)
    assert cache.save(context, 0, ids) == 0
    monkeypatch.undo()
    assert cache.save(context, 0, ids) == 400
