"""Architectures against the float64 twin: each way of norming, rotating, attending, choosing experts, near and far."""

import math
from dataclasses import replace

import numpy as np
import pytest

from localllm.errors import ContextFullError, UnsupportedError, UsageError
from localllm.model.model import LoadedModel
from localllm.model.spec import architectures, spec_for
from tests.model import twin
from tests.model.twin import HEAD, N_EMBD, Case, Experts
from tests.tiny_models import nmse

EXPONENTS = np.arange(0, HEAD, 2) / HEAD
LLAMA3 = np.linspace(1, 8, HEAD // 2)


def yarn(factor: float, n_ctx_orig: int, fast: float = 32.0, slow: float = 1.0, base: float = 10000.0) -> np.ndarray:
    """Frequencies by the paper (arXiv 2309.00071, 3.2), its ramp over whole pairs as in its code."""
    plain = base**-EXPONENTS
    pair = [HEAD * math.log(n_ctx_orig / (n * 2 * math.pi)) / (2 * math.log(base)) for n in (fast, slow)]
    low, high = max(0, math.floor(pair[0])), min(HEAD - 1, math.ceil(pair[1]))
    keep = 1 - np.clip((np.arange(HEAD // 2) - low) / max(0.001, high - low), 0, 1)
    return plain / factor * (1 - keep) + plain * keep


CASES = {
    "llama3 factors, Mixtral": Case(
        "llama", pairing="adjacent", frequencies=lambda i: 10000.0**-EXPONENTS / LLAMA3,
        extra={"rope_freqs.weight": LLAMA3}, experts=Experts(),
    ),
    "linear scaling": Case(
        "llama", {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, pairing="adjacent",
        frequencies=lambda i: 10000.0**-EXPONENTS / 4,
    ),
    "YaRN and temperature": Case(
        "mistral3",
        {"rope.scaling.type": "yarn", "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 64,
         "attention.temperature_scale": 0.1},
        pairing="adjacent", frequencies=lambda i: yarn(8.0, 64), magnitude=0.1 * math.log(8) + 1,
        temperature=lambda p: np.log(p // 64 + 1.0) * 0.1 + 1,
    ),
    "qwen3 heads": Case("qwen3", qk_norm="head"),
    "qwen2moe": Case("qwen2moe", experts=Experts(normed=False, shared=96, shared_gate=True)),
    "a row of specs": Case("deepseek2-ocr", experts=Experts(normed=False, shared=96)),
    "gemma2": Case(
        "gemma2", {"attention.sliding_window": 24}, post_norms=True, gate=twin.gelu, embedding=N_EMBD**0.5, cap=50.0,
        final_cap=30.0, window=lambda i: 0 if i % 2 else 24, tied=True,
    ),
    "gpt-oss": Case(
        "gpt-oss",
        {"attention.sliding_window": 24, "expert_feed_forward_length": twin.N_FF, "rope.scaling.type": "yarn",
         "rope.scaling.factor": 32.0, "rope.scaling.original_context_length": 128},
        biases=True, ffn_norm="post_attention_norm", sinks=True, window=lambda i: 0 if i % 2 else 24,
        frequencies=lambda i: yarn(32.0, 128), magnitude=0.1 * math.log(32) + 1,
        experts=Experts(gating="chosen", normed=False, biases=True, function=twin.oai),
    ),
    "phi3 LongRoPE": Case(
        "phi3", {"rope.scaling.original_context_length": 64, "rope.scaling.attn_factor": 1.25}, fused=True,
        frequencies=lambda i: 10000.0**-EXPONENTS / (2 * LLAMA3), magnitude=1.25,
        extra={"rope_factors_long.weight": 2 * LLAMA3, "rope_factors_short.weight": LLAMA3},
    ),
    "bloom": Case(
        "bloom", layer_norm=True, biases=True, fused=True, plain=twin.gelu, alibi=True, has_rope=lambda i: False,
    ),
    "gpt2": Case(
        "gpt2", layer_norm=True, biases=True, fused=True, plain=twin.gelu, has_rope=lambda i: False, positions=True,
    ),
    "cohere2": Case(
        "cohere2", {"attention.sliding_window": 24, "attention.sliding_window_pattern": 2, "logit_scale": 0.25},
        layer_norm=True, parallel=True, pairing="adjacent", window=lambda i: 0 if i % 2 else 24,
        has_rope=lambda i: i % 2 == 0, logits=0.25, tied=True,
    ),
    "granite": Case(
        "granite", {"logit_scale": 8.0, "residual_scale": 0.22, "embedding_scale": 12.0, "attention.scale": 0.02},
        pairing="adjacent", logits=1 / 8, residual=0.22, embedding=12.0, scale=0.02,
    ),
    "olmo2": Case("olmo2", pre_norm=False, post_norms=True, qk_norm="row"),
    "nemotron": Case("nemotron", layer_norm=True, biases=True, plain=lambda x: np.maximum(x, 0) ** 2),
    "apertus": Case(
        "apertus",
        {"xielu.alpha_p": [0.3, -0.4], "xielu.alpha_n": [0.5, 1.2], "xielu.beta": [0.5, 0.6], "xielu.eps": -1e-6},
        qk_norm="head", plain=twin.xielu((0.3, -0.4), (0.5, 1.2), (0.5, 0.6)),
    ),
    "both ways": Case("dream", both_ways=True),
    "groups, bias, shared": Case(
        "dots1", {"expert_gating_func": 2, "expert_weights_norm": True, "expert_weights_scale": 2.5,
                  "expert_feed_forward_length": twin.N_FF, "expert_group_count": 4, "expert_group_used_count": 2},
        qk_norm="head", experts=Experts(gating="sigmoid", choice_bias=True, factor=2.5, shared=64, groups=(4, 2)),
    ),
    "weight before, fused": Case(
        "llama4", {"attention.sliding_window": 0, "interleave_moe_layer_step": 1}, pairing="adjacent",
        experts=Experts(gating="sigmoid", normed=False, before=True, used=1, shared=64, n=128),
    ),
    "experts without a gate": Case(
        "ernie4_5-moe", {"interleave_moe_layer_step": 1}, pairing="adjacent", experts=Experts(plain=True),
    ),
    "fused experts": Case(
        "hy_v3", qk_norm="head", experts=Experts(gating="sigmoid", normed=False, shared=64, fused=True),
    ),
}  # fmt: skip

IDS = [int(i) for i in np.random.default_rng(7).integers(0, twin.N_VOCAB, 70)]


@pytest.fixture(scope="module")
def model_of(tmp_path_factory):
    """model_of(name): (model, its weights), loaded once for this module; the context is longer than phi3's original."""
    models = {}

    def get(name):
        if name not in models:
            case = CASES[name]
            tensors = twin.weights(case)
            path = twin.write(tmp_path_factory.mktemp("models") / "m.gguf", case, tensors)
            models[name] = LoadedModel.load(path, n_ctx=512, kv_type="f32", n_threads=2), tensors
        return models[name]

    yield get
    for model, _ in models.values():
        model.close()


@pytest.mark.parametrize("name", CASES)
def test_equals_twin(model_of, name):
    model, tensors = model_of(name)
    assert nmse(twin.forward(CASES[name], tensors, IDS), model.logits(IDS)) < 1e-10


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if not c.both_ways])
def test_chunks_and_steps_equal_one_pass(model_of, name):
    """To the bit, experts and all."""
    model, _ = model_of(name)
    whole = model.logits(IDS)
    for sizes in ([1] * 20 + [50], [33, 2, 17, 18]):
        context, parts, first = model.context(), [], 0
        for n in sizes:
            parts.append(context.forward(IDS[first : first + n], want_logits=[True] * n))
            first += n
        context.close()
        assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("name", ["llama3 factors, Mixtral", "gpt-oss", "weight before, fused", "fused experts"])
def test_sequences_of_experts_in_one_batch(model_of, name):
    model, _ = model_of(name)
    context = model.context(n_seq=3)
    context.forward([*IDS[:9], *IDS[20:25]], seq_ids=[0] * 9 + [2] * 5, want_logits=[False] * 14)
    together = context.forward([5, 6, 7], seq_ids=[0, 1, 2], want_logits=[True] * 3)
    context.close()
    for token, row, before in zip((5, 6, 7), together, (IDS[:9], [], IDS[20:25]), strict=True):
        assert np.array_equal(model.logits([*before, token])[-1], row)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["YaRN and temperature", "gpt-oss", "phi3 LongRoPE", "bloom", "cohere2"])
def test_far_out(model_of, name, tmp_path):
    """4,096 tokens: windows, sinks, scalings and the chunks of the prompt, compared at the end of it."""
    case = CASES[name]
    ids = [int(i) for i in np.random.default_rng(3).integers(0, twin.N_VOCAB, 4096)]
    _, tensors = model_of(name)
    exact = twin.forward(case, tensors, ids)
    path = twin.write(tmp_path / "m.gguf", case, tensors)
    with LoadedModel.load(path, n_ctx=4096, kv_type="f32") as model:
        assert nmse(exact, model.logits(ids)) < 1e-9


def test_every_architecture_has_a_spec():
    for name in architectures():
        spec = spec_for(name)
        assert spec.name == name
        assert spec.about


def test_both_ways_takes_a_sequence_at_once(model_of):
    model, _ = model_of("both ways")
    context = model.context(n_seq=2)
    context.forward(IDS[:5])
    with pytest.raises(UsageError, match="both directions"):
        context.forward(IDS[5:7])
    context.forward(IDS[:6], seq_ids=[1] * 6)
    context.clear()
    assert context.forward(IDS[:5]).shape == (1, twin.N_VOCAB)
    context.close()


@pytest.mark.parametrize("name", ["gemma2", "gpt-oss", "cohere2"])
def test_windows_keep_no_more_than_they_see(model_of, name):
    """Rings of 768 cells for 1,700 tokens: the same bits as from whole caches, in chunks, steps, several sequences."""
    model, _ = model_of(name)
    ids = [int(i) for i in np.random.default_rng(5).integers(0, twin.N_VOCAB, 1700)]
    found = []
    for swa_full in (False, True):
        context = model.context(n_ctx=2048, n_seq=2, swa_full=swa_full)
        chunks = [ids[i : i + 512] for i in range(0, 1700, 512)]
        parts = [context.forward(chunk, want_logits=[True] * len(chunk)) for chunk in chunks]
        context.forward(ids[:300], seq_ids=[1] * 300)
        for pair in zip(ids[:40], ids[300:340], strict=True):
            parts.append(context.forward(pair, seq_ids=[0, 1], want_logits=[True] * 2))
        parts.append(context.forward(ids[:9], want_logits=[True] * 9))
        found.append((np.concatenate(parts), context.n_bytes))
        context.close()
    assert np.array_equal(found[0][0], found[1][0])
    assert found[0][1] < 0.8 * found[1][1]


def test_a_model_says_what_its_contexts_keep(tmp_path):
    case = CASES["gemma2"]
    path = twin.write(tmp_path / "m.gguf", case, twin.weights(case))
    sizes = []
    for swa_full in (False, True):
        with LoadedModel.load(path, n_ctx=2048, swa_full=swa_full) as model:
            context = model.context()
            other = model.context(swa_full=not swa_full)
            sizes += [context.n_bytes, other.n_bytes]
            context.close()
            other.close()
    assert sizes == [sizes[0], sizes[1], sizes[1], sizes[0]]
    assert sizes[0] < sizes[1]


def test_cutting_back_a_ring(model_of):
    """As far as the window still lies in it; then save, restore and copy hold what was held."""
    model, _ = model_of("gemma2")
    ids = [int(i) for i in np.random.default_rng(5).integers(0, twin.N_VOCAB, 1000)]
    context = model.context(n_ctx=1024, n_seq=2)
    for start in (0, 500):
        context.forward(ids[start : start + 500])
    assert context.cut(0, 900) == 900
    exact = context.forward(ids[900:950])
    fresh = model.context(n_ctx=1024)
    for start in (0, 500):
        fresh.forward(ids[start : min(start + 500, 900)])
    assert np.array_equal(fresh.forward(ids[900:950]), exact)
    fresh.close()
    saved = context.save(0)
    after = context.forward([3])
    context.copy(0, 1)
    assert context.cut(1, 950) == 950
    assert np.array_equal(context.forward([3], seq_ids=[1]), after)
    context.clear()
    context.restore(0, 950, saved)
    assert np.array_equal(context.forward([3]), after)
    assert context.cut(0, 100) == 0  # the ring has lost what the token at 100 would see: all must be fed again
    assert context.n_past(0) == 0
    context.close()


def test_learned_positions_end(tmp_path):
    case = CASES["gpt2"]
    tensors = twin.weights(case)
    tensors["position_embd.weight"] = tensors["position_embd.weight"][:40]
    case = replace(case, meta={"context_length": 40})
    with LoadedModel.load(twin.write(tmp_path / "m.gguf", case, tensors), n_ctx=64, kv_type="f32") as model:
        assert nmse(twin.forward(replace(case, positions=True), tensors, IDS[:40]), model.logits(IDS[:40])) < 1e-10
        with pytest.raises(ContextFullError, match="40 positions"):
            model.logits(IDS[:41])


def test_the_output_is_the_embedding(tmp_path):
    """As CodeShell's files may have it."""
    case = Case("codeshell", layer_norm=True, biases=True, plain=twin.gelu, tied=True)
    tensors = twin.weights(case)
    renamed = {k.replace("token_embd", "output"): v for k, v in tensors.items()}
    with LoadedModel.load(twin.write(tmp_path / "m.gguf", case, renamed), kv_type="f32", n_ctx=128) as model:
        assert nmse(twin.forward(case, tensors, IDS), model.logits(IDS)) < 1e-10


def test_prediction_layers_are_left_alone(tmp_path):
    """The layers past those that nextn_predict_layers counts off, and heads for other uses."""
    case = Case("qwen3", {"nextn_predict_layers": 1, "block_count": 3}, qk_norm="head")
    tensors = twin.weights(case)
    more = {"blk.2.nextn.eh_proj.weight": np.zeros((8, 8), np.float32), "cls.output.weight": np.zeros(4, np.float32)}
    with LoadedModel.load(twin.write(tmp_path / "m.gguf", case, tensors | more), kv_type="f32", n_ctx=128) as model:
        assert sorted(model.skipped) == sorted(more)
        assert nmse(twin.forward(case, tensors, IDS), model.logits(IDS)) < 1e-10


def test_a_tensor_that_nothing_consumed_is_refused(tmp_path):
    case = CASES["qwen3 heads"]
    tensors = twin.weights(case) | {"blk.1.attn_k_b.weight": np.zeros((4, 4), np.float32)}
    path = twin.write(tmp_path / "m.gguf", case, tensors)
    with pytest.raises(UnsupportedError, match=r"blk\.1\.attn_k_b\.weight"):
        LoadedModel.load(path)
