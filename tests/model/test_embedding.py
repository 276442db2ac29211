"""Embeddings: the same bits whatever is beside a text, pooling as the file or the caller says, and what is refused."""

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from localllm.errors import ContextFullError, FormatError, UnsupportedError, UsageError
from localllm.model import embedding
from localllm.model.model import LoadedModel
from tests.model.test_recorded_quantized import quantizer
from tests.recorded import models
from tests.recorded.cases.encoders import BERT, CASES, MODERN
from tests.recorded.models import IDS, N_VOCAB
from tests.tiny_models import nmse

rng = np.random.default_rng(1)
TEXTS = [[int(i) for i in rng.integers(0, N_VOCAB, n)] for n in (1, 40, 7, 7, 23, 64, 2, 16, 33)]
TOKENIZER: dict[str, Any] = {
    "tokenizer.ggml.model": "bert",
    "tokenizer.ggml.tokens": ["[UNK]", "[CLS]", "[SEP]", "\u2581hello", "\u2581world", *(f"x{i}" for i in range(91))],
    "tokenizer.ggml.token_type": [2, 3, 3, *[1] * 93],
    "tokenizer.ggml.unknown_token_id": 0,
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.seperator_token_id": 2,
}


@pytest.fixture(scope="module")
def model_of(tmp_path_factory):
    """model_of(name of a recorded case, ...): loaded once for this module."""
    loaded = {}

    def get(name, **more):
        key = name, *more
        if key not in loaded:
            path = models.write(tmp_path_factory.mktemp("models") / "m.gguf", CASES[name], **more)
            loaded[key] = LoadedModel.load(path, n_ctx=1024, n_threads=2)
        return loaded[key]

    yield get
    for model in loaded.values():
        model.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert-rank", "modern-bert-rank", "jina-bert-v2-rank", "t5encoder", "qwen3-rank"])
def test_the_same_bits_whatever_is_beside_a_text(model_of, name):
    model = model_of(name)
    for pooling in ("mean", "cls", "last", *(["rank"] if model.network.pooling.classifier else [])):
        alone = [model.embed([text], pooling)[0] for text in TEXTS]
        assert np.array_equal(model.embed(TEXTS, pooling), alone)
        assert np.array_equal(model.embed(TEXTS[::-1] * 9, pooling), alone[::-1] * 9)  # more than one batch of them
        assert np.array_equal(model.embed([TEXTS[1]] * 80, pooling), [alone[1]] * 80)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_a_long_text_of_a_causal_model(model_of, pooling):
    """Batch by batch; the same from its hidden states."""
    model = model_of("qwen3-embedding")
    long = [IDS[i % 40] for i in range(900)]
    rows = model.hidden_states(long)
    assert rows.shape == (900, 96)
    exact = {"mean": np.add.reduce(rows, 0, np.float64) / 900, "cls": rows[0], "last": rows[-1]}[pooling]
    got = model.embed([IDS[:3], long, IDS], pooling, normalize=False)
    assert np.array_equal(got[1], exact.astype(np.float32))
    assert np.array_equal(got[2], model.embed([IDS], pooling, normalize=False)[0])


@pytest.mark.parametrize("name", ["modern-bert", "t5encoder", "jina-bert-v2", "nomic-bert-moe"])
@pytest.mark.parametrize("fmt", ["F32", "Q8_0"])
def test_a_long_text_of_an_encoder(tmp_path, name, fmt):
    """One batch of 1,300 rows, and of each the bits that it has beside others."""
    case = replace(CASES[name], kv=CASES[name].kv | {"context_length": 2048})
    path = models.write(tmp_path / "m.gguf", case, quantizer(fmt, dequantize=False))
    long = [IDS[i % 40] for i in range(1300)]
    texts = [IDS, long, long[:512], long[:513]]
    with LoadedModel.load(path, n_threads=2) as model:
        alone = [model.embed([ids], "mean")[0] for ids in texts]
        assert np.array_equal(model.embed(texts, "mean"), alone)


def test_a_window_goes_both_ways(tmp_path):
    """5 rows before and after, in each of four layers: what lies 20 rows away is not seen."""
    case = replace(MODERN, kv=MODERN.kv | {"attention.sliding_window_pattern": [True] * 4})
    long = [IDS[i * i % 40] for i in range(700)]
    with LoadedModel.load(models.write(tmp_path / "m.gguf", case), n_ctx=1024, n_threads=2, kv_type="f32") as model:
        part, whole = model.hidden_states(long[450:600]), model.hidden_states(long)
    assert nmse(part[20:-20], whole[470:580]) < 1e-9
    assert nmse(part[:20], whole[450:470]) > 1e-6
    assert nmse(part[-20:], whole[580:600]) > 1e-6


def test_normalized_rows_have_length_1(model_of):
    model = model_of("bert")
    rows, raw = (model.embed(TEXTS, "mean", normalize=normalize) for normalize in (True, False))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(raw / np.linalg.norm(raw, axis=1, keepdims=True), rows, rtol=1e-6)
    assert (embedding._normalized(np.zeros((1, 4), np.float32)) == 0).all()


def test_scores_are_as_they_are(model_of):
    assert model_of("bert-rank").embed(TEXTS, "rank").shape == (len(TEXTS), 3)
    shares = model_of("qwen3-rank").embed(TEXTS)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)


def test_text_gets_the_special_tokens(model_of):
    """Those that are written in it do not count."""
    model = model_of("bert", **TOKENIZER)
    assert np.array_equal(model.embed(["Hello world", "hello [SEP]"], "cls")[0], model.embed([[1, 3, 4, 2]], "cls")[0])
    assert model.hidden_states("hello [SEP]").shape == (2 + len(model.tokenizer.encode("hello [SEP]")), 96)
    assert len(model.tokenizer.encode("hello [SEP]")) > len(model.tokenizer.encode("hello [SEP]", parse_special=True))


def test_documents_are_ranked(model_of):
    """Each beside the query, as one text."""
    model = model_of("bert-rank", **TOKENIZER)
    scores = model.rank("hello", ["world", "hello world", "hello hello"])
    pairs = [[1, 3, 2, 4], [1, 3, 2, 3, 4], [1, 3, 2, 3, 3]]
    assert np.array_equal(scores, model.embed(pairs, "rank")[:, 0])
    asked = model_of("bert-rank", **TOKENIZER, **{"tokenizer.chat_template.rerank": "{document} [SEP] {query}"})
    assert np.array_equal(asked.rank("hello", ["world"]), model.embed([[4, 2, 3]], "rank")[:, 0])
    with pytest.raises(UsageError, match="documents are a str, must be a list"):
        model.rank("hello", "world")


def test_nothing_to_embed(model_of):
    assert model_of("bert").embed([], "mean").shape == (0, 96)
    assert model_of("bert-rank").embed([], "rank").shape == (0, 3)


REFUSED = {
    "no pooling": ("bert", {}, [IDS], None, UsageError, "does not say how it pools.*mean.*hidden_states"),
    "unknown pooling": ("bert", {}, [IDS], "max", UsageError, "'max'.*mean, cls, last, rank"),
    "none": ("bert", {}, [IDS], "none", UsageError, "hidden_states"),
    "no classifier": ("bert", {}, [IDS], "rank", UsageError, "no classifier"),
    "an empty text": ("bert", {}, [IDS, []], "cls", UsageError, "text 1 has no tokens"),
    "one text": ("bert", TOKENIZER, "hello", "cls", UsageError, "texts are a str, must be a list"),
    "no vocabulary": ("bert", {}, ["hello"], "cls", UnsupportedError, "no vocabulary"),
    "too long": ("qwen3-rank", {}, [[1], [1] * 1025], "cls", ContextFullError, "text 1 has 1025.*1024.*larger n_ctx"),
    "no more positions": ("bert", {}, [[1] * 65], "cls", ContextFullError, "65 tokens, 64 are .*: shorten it$"),
    "not a token": ("bert", {}, [[N_VOCAB]], "cls", UsageError, "vocabulary of 96"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(model_of, case):
    name, more, texts, pooling, error, match = REFUSED[case]
    with pytest.raises(error, match=match):
        model_of(name, **more).embed(texts, pooling)
    assert model_of(name, **more).embed([IDS[:3]], "cls").shape == (1, 96)  # and it goes on


def test_an_encoder_has_no_logits(model_of):
    for name in ("bert", "gemma-embedding", "t5encoder-gated"):
        with pytest.raises(UnsupportedError, match=r"encoder.*embed"):
            model_of(name).logits(IDS)
    context = model_of("bert").context()
    assert context.forward(IDS, want_logits=[False] * len(IDS)).shape == (0, N_VOCAB)
    context.close()


def test_layers_of_an_encoder_share_their_cells(model_of):
    sizes = []
    for name in ("modern-bert", "bert"):  # four layers, and two
        context = model_of(name).context(n_ctx=256)
        sizes.append(context.n_bytes)
        context.close()
    assert sizes[0] == sizes[1]


def test_threads_take_turns(model_of):
    model = model_of("modern-bert")
    exact, found = model.embed(TEXTS, "mean"), []
    threads = [threading.Thread(target=lambda: found.append(model.embed(TEXTS, "mean"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(rows, exact) for rows in found)
    assert len(found) == 4


@pytest.mark.parametrize("name", ["attn_output_norm", "layer_output_norm"])
def test_a_norm_that_is_missing(tmp_path, name):
    tensors = {k: v for k, v in BERT.tensors.items() if f"blk.1.{name}" not in k}
    path = models.write(tmp_path / "m.gguf", replace(BERT, tensors=tensors))
    with pytest.raises(FormatError, match=rf"blk\.1\.{name}\.weight: is missing"):
        LoadedModel.load(path)
