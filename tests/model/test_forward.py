"""The recorded forward against its float64 twin, and against itself: threads, chunks, several sequences."""

from typing import Any

import numpy as np
import pytest

from localllm.errors import ContextFullError, UsageError
from localllm.kernels.cells import CODE_BITS, KV_TYPES
from localllm.model.model import LoadedModel
from tests import tiny_models

ARCHITECTURES = ("llama", "qwen2", "gemma3")
FORMATS = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
IDS = [int(i) for i in np.random.default_rng(7).integers(0, tiny_models.N_VOCAB, 90)]


@pytest.fixture(scope="module")
def model_of(tmp_path_factory):
    """model_of(architecture, format, ...): loaded once for this module."""
    models = {}

    def get(architecture, fmt="F32", kv_type="f32", n_threads=2):
        key = architecture, fmt, kv_type, n_threads
        if key not in models:
            path = tmp_path_factory.mktemp("models") / f"{architecture}-{fmt}.gguf"
            tiny_models.write(path, architecture, fmt)
            models[key] = LoadedModel.load(path, n_ctx=256, kv_type=kv_type, n_threads=n_threads)
        return models[key]

    yield get
    for model in models.values():
        model.close()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_f32_equals_twin(model_of, architecture):
    exact = tiny_models.forward(architecture, tiny_models.weights(architecture), IDS)
    assert tiny_models.nmse(exact, model_of(architecture).logits(IDS)) < 1e-11


@pytest.mark.parametrize("fmt", FORMATS)
def test_formats_near_their_dequantized_twin(model_of, fmt, tmp_path):
    """int8 activations cost some 1e-4; a wrong layout costs everything."""
    import gguf

    tensors = tiny_models.weights("llama")
    kind = gguf.GGMLQuantizationType[fmt]
    for name, x in tensors.items():
        if x.ndim == 2 and fmt != "F32" and x.shape[1] % gguf.GGML_QUANT_SIZES[kind][0] == 0:
            tensors[name] = gguf.quants.dequantize(gguf.quants.quantize(x, kind), kind)
    exact = tiny_models.forward("llama", tensors, IDS)
    bound = 1e-11 if fmt in ("F32", "F16", "BF16") else 3e-4
    assert tiny_models.nmse(exact, model_of("llama", fmt).logits(IDS)) < bound


@pytest.mark.parametrize("fmt", ["F32", "Q4_1", "Q8_0"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bits_do_not_depend_on_threads(model_of, architecture, fmt):
    """In one pass, and token by token: the same bits from 1, 2 and 4 threads."""
    passes, steps = [], []
    for n_threads in (1, 2, 4):
        model = model_of(architecture, fmt, "f16", n_threads)
        passes.append(model.logits(IDS))
        context = model.context()
        steps.append(np.concatenate([context.forward([i]) for i in IDS[:40]]))
        context.close()
    for some in (passes, steps):
        assert np.array_equal(some[0], some[1])
        assert np.array_equal(some[0], some[2])


@pytest.mark.parametrize("chunk", [1, 5, 16, 33])
@pytest.mark.parametrize("fmt", ["F32", "F16", "Q4_1", "Q8_0"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_chunks_equal_one_pass(model_of, architecture, fmt, chunk):
    """Bit for bit: how a prompt is cut decides which kernels run, and they add in one order."""
    model = model_of(architecture, fmt)
    context = model.context()
    parts = []
    for start in range(0, len(IDS), chunk):
        ids = IDS[start : start + chunk]
        parts.append(context.forward(ids, want_logits=[True] * len(ids)))
    context.close()
    assert np.array_equal(model.logits(IDS), np.concatenate(parts))


@pytest.mark.parametrize("fmt", ["F32", "F16", "Q4_1", "Q8_0"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_four_sequences_in_one_batch(model_of, architecture, fmt):
    """Sequences of different lengths, interleaved row by row, then stepped together."""
    model = model_of(architecture, fmt)
    prompts = [IDS[:30], IDS[30:47], IDS[47:48], IDS[50:71]]
    rows = sorted((place, seq) for seq, p in enumerate(prompts) for place in range(len(p)))
    context = model.context(n_seq=4)
    context.forward([prompts[s][i] for i, s in rows], [i for i, _ in rows], [s for _, s in rows], [False] * len(rows))
    assert [context.n_past(s) for s in range(4)] == [len(p) for p in prompts]
    together = context.forward([5, 6, 7, 8], seq_ids=[0, 1, 2, 3], want_logits=[True] * 4)
    context.close()
    for s, prompt in enumerate(prompts):
        alone = model.logits([*prompt, 5 + s])[-1]
        assert np.array_equal(alone, together[s])


def test_wanted_rows_only(model_of):
    model = model_of("llama")
    context = model.context()
    wanted = [i % 7 == 3 for i in range(len(IDS))]
    some = context.forward(IDS, want_logits=wanted)
    assert np.array_equal(some, model.logits(IDS)[wanted])
    assert context.cut(0, 10) == 10
    assert np.array_equal(context.forward(IDS[10:20]), context_from(model, IDS[:20]))
    assert context.forward(IDS[20:22], want_logits=[False, False]).shape == (0, tiny_models.N_VOCAB)
    context.close()


def context_from(model, ids):
    """Logits after ids[:10] and then the rest."""
    context = model.context()
    context.forward(ids[:10])
    logits = context.forward(ids[10:])
    context.close()
    return logits


@pytest.mark.parametrize("kv_type", CODE_BITS)
@pytest.mark.parametrize("architecture", ["qwen2", "gemma3"])
def test_codes_in_the_cache_keep_the_promises(model_of, architecture, kv_type):
    """Quantized keys and values: the same bits from any number of threads, and however a prompt is cut."""
    passes = []
    for n_threads, chunk in ((1, 90), (3, 90), (2, 1), (2, 16), (2, 33)):
        context = model_of(architecture, "Q8_0", kv_type, n_threads).context()
        parts = [IDS[start : start + chunk] for start in range(0, len(IDS), chunk)]
        passes.append(np.concatenate([context.forward(ids, want_logits=[True] * len(ids)) for ids in parts]))
        context.close()
    assert all(np.array_equal(one, passes[0]) for one in passes)


@pytest.mark.parametrize("kv_type", KV_TYPES)
def test_save_copy_restore(model_of, kv_type):
    model = model_of("gemma3", "F32", kv_type)
    context = model.context(n_seq=2)
    context.forward(IDS[:37])
    saved, n_past = context.save(0), context.n_past(0)
    after = context.forward([3])
    context.copy(0, 1)
    context.cut(1, n_past)
    assert np.array_equal(context.forward([3], seq_ids=[1]), after)
    context.clear()
    context.forward(IDS[40:80])
    context.restore(0, n_past, saved)
    assert np.array_equal(context.forward([3]), after)
    context.close()


def test_impossible_batches_change_nothing(model_of):
    context = model_of("llama").context(n_ctx=40)
    context.forward(IDS[:8])
    wrong: dict[str, Any]
    for wrong in (
        {"tokens": []}, {"tokens": [96]}, {"tokens": [-1]}, {"tokens": [1], "positions": [9]},
        {"tokens": [1], "seq_ids": [1]}, {"tokens": [1, 2], "seq_ids": [0]}, {"tokens": [1] * 513},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            context.forward(**wrong)
    with pytest.raises(ContextFullError, match="40"):
        context.forward(IDS[:33])
    assert context.n_past(0) == 8
    assert context.forward(IDS[:32]).shape == (1, tiny_models.N_VOCAB)
    with pytest.raises(ContextFullError):
        context.forward([1])
    context.close()


@pytest.mark.parametrize("kv_type", KV_TYPES)
def test_cache_types(model_of, kv_type):
    exact = tiny_models.forward("qwen2", tiny_models.weights("qwen2"), IDS)
    bound = {"f16": 1e-5, "f32": 1e-11, "q8_0": 1e-4, "q4_0": 0.03}[kv_type]
    assert tiny_models.nmse(exact, model_of("qwen2", "F32", kv_type).logits(IDS)) < bound
