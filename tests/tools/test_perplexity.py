"""Perplexity and divergence on a tiny model, beside obvious sums in float64, and files of logits."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import localllm
from localllm.errors import FormatError, UsageError
from localllm.generate.logprobs import log_softmax
from localllm.tools import likelihood, perplexity
from localllm.tools.divergence import Divergence, divergence
from localllm.tools.logits_file import LogitsFile, decode, encode, written_logits
from tests.generate.test_chat_states import LETTERS, VOCABULARY
from tests.recorded import models

N_CTX = 32
TEXT = "".join(LETTERS[i % len(LETTERS)] for i in models.ids_of(150))


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "bos"])
def path(tmp_path_factory, request):
    bos: dict[str, Any] = (
        {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": 5} if request.param else {}
    )
    return models.write(tmp_path_factory.mktemp("ppl") / "m.gguf", models.cases()["lfm2"], **VOCABULARY, **bos)


@pytest.fixture(scope="module")
def model(path):
    with localllm.load(path, n_ctx=64, n_threads=2) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def ids(model):
    return likelihood.text_ids(model, TEXT)


def naive(model, tokens, first, last):
    """Negative log-likelihoods of tokens first + 1 to last, in float64."""
    logits = model.logits(tokens).astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return [-log_p[i, tokens[i + 1]] for i in range(first, last)]


def test_the_second_half_of_each_chunk_is_scored(model, ids):
    expected = []
    for start in range(0, len(ids) - N_CTX + 1, N_CTX):
        tokens = list(ids[start : start + N_CTX])
        if model.tokenizer.add_bos:
            tokens[0] = 5
        expected += naive(model, tokens, N_CTX // 2, N_CTX - 1)
    parts = likelihood.chunks(model, ids, N_CTX)
    nll = np.concatenate(list(perplexity.negative_log_likelihoods(model, parts)))
    np.testing.assert_allclose(nll, expected, atol=2e-6)
    found = likelihood.perplexity(nll)
    assert found.value == pytest.approx(math.exp(np.mean(expected)), rel=1e-6)
    assert found.error == pytest.approx(found.value * np.std(expected) / math.sqrt(len(expected) - 1), rel=1e-5)


def test_a_stride_scores_the_end_of_chunks_that_overlap(model, ids):
    expected = []
    for start in range(0, len(ids) - N_CTX, 8):
        expected += naive(model, list(ids[start : start + N_CTX]), N_CTX - 9, N_CTX - 1)
    parts = likelihood.chunks(model, ids, N_CTX, stride=8)
    np.testing.assert_allclose(
        np.concatenate(list(perplexity.negative_log_likelihoods(model, parts))), expected, atol=2e-6
    )


def test_chunks_larger_than_a_batch_give_the_same_logits(model, ids):
    (chunk,) = likelihood.chunks(model, ids, 64, 1)
    small = model.context(n_ctx=64, n_batch=7)
    whole = model.context(n_ctx=64)
    assert np.array_equal(likelihood.logits_of(small, chunk), likelihood.logits_of(whole, chunk))
    small.close()
    whole.close()


@pytest.mark.parametrize(
    ("n_ctx", "stride", "what"), [(2, 0, "must have 4 or more"), (151 + 2, 0, "the text has"), (32, 32, "stride")]
)
def test_chunks_that_are_not_possible(model, ids, n_ctx, stride, what):
    with pytest.raises(UsageError, match=what):
        likelihood.chunks(model, ids, n_ctx, stride=stride)


def test_divergence_is_that_of_the_definitions():
    rng = np.random.default_rng(1)
    base, other = rng.standard_normal((2, 300, 50)).astype(np.float32) * 2
    targets = rng.integers(0, 50, 300)

    def softmax(x):
        e = np.exp(x.astype(np.float64))
        return e / e.sum(1, keepdims=True)

    p, q = softmax(base), softmax(other)
    found = divergence(log_softmax(base), other, targets)
    rows = np.arange(300)
    np.testing.assert_allclose(found.kld, (p * np.log(p / q)).sum(1), atol=1e-5)
    np.testing.assert_allclose(found.p_diff, (q - p)[rows, targets], atol=1e-6)
    assert found.top_1.value == np.mean(p.argmax(1) == q.argmax(1))
    assert found.mean_kld.value == pytest.approx(found.kld.mean())
    logs = np.log(q[rows, targets]), np.log(p[rows, targets])
    assert found.correlation == pytest.approx(np.corrcoef(*logs)[0, 1], rel=1e-2)
    assert found.log_ratio.value == pytest.approx(logs[1].mean() - logs[0].mean(), rel=1e-4)
    assert found.log_ratio.error == pytest.approx(np.std(logs[0] - logs[1]) / math.sqrt(299), rel=1e-2)
    halves = [divergence(log_softmax(base[s]), other[s], targets[s]) for s in (slice(0, 90), slice(90, 300))]
    assert Divergence.joined(halves).mean_kld == found.mean_kld


def test_a_model_does_not_differ_from_itself(model, ids, tmp_path):
    path = str(tmp_path / "base.kld")
    nll = perplexity.save_logits(model, ids, N_CTX, path)
    found = Divergence.joined(list(perplexity.divergences(model, LogitsFile(path))))
    held = nll < 16  # less likely ones are clipped
    np.testing.assert_allclose(found.base_nll[held], nll[held], atol=3e-4)  # a code of 16 bits
    assert (found.base_nll[~held] > 15.9).all()
    assert abs(found.mean_kld.value) < 1e-6
    assert found.top_1.value > 0.99
    report = "\n".join(found.report())
    assert "Mean    KLD:" in report
    assert "Same top p: " in report


def test_the_layout_of_a_file(tmp_path):
    """Written by hand from what llama.cpp's reader takes."""
    path = str(tmp_path / "base.kld")
    rng = np.random.default_rng(2)
    logits = rng.standard_normal((2, 3, 5)).astype(np.float32) * 2
    tokens = np.array([[0, 1, 2, 3, 4, 0, 1, 2], [4, 3, 2, 1, 0, 4, 3, 2]])
    with written_logits(path, 8, 5, tokens) as add:
        for chunk in logits:
            add(chunk)
    raw = Path(path).read_bytes()
    assert raw[:20] == b"_logits_" + struct.pack("<iii", 8, 5, 2)
    assert np.array_equal(np.frombuffer(raw, "<i4", 16, 20), tokens.ravel())
    assert len(raw) == 20 + 64 + 2 * 3 * 2 * (5 + 1 + 4)
    scale, least = struct.unpack_from("<ff", raw, 84)
    codes = np.frombuffer(raw, "<u2", 5, 92)
    exact = log_softmax(logits[0])[0]
    np.testing.assert_allclose(codes * scale + least, exact, atol=scale)
    assert codes.max() == 65535
    for read, chunk in zip(LogitsFile(path), logits, strict=True):
        np.testing.assert_allclose(read, log_softmax(chunk), atol=1e-3)


def test_codes_of_extreme_logits():
    logits = np.array([[0, -40, -16, -15.9], [3, 3, 3, 3]], np.float32)
    log_p = decode(encode(logits), 4)
    assert log_p[0, 1] == log_p[0, 2] == pytest.approx(-16, abs=1e-3)
    np.testing.assert_allclose(log_p[1], math.log(1 / 4), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda raw: b"", "is no file of logits"),
        (lambda raw: b"x" + raw[1:], "is no file of logits"),
        (lambda raw: raw[:-1], "was not written to its end"),
        (lambda raw: raw[:8] + struct.pack("<iii", -8, 5, 2) + raw[20:], "not possible"),
        (lambda raw: raw[:8] + struct.pack("<iii", 8, 2**31 - 1, 2**31 - 1) + raw[20:], "must have"),
        (lambda raw: raw[:20] + struct.pack("<i", 5) + raw[24:], "outside of the vocabulary"),
    ],
)
def test_damaged_files(tmp_path, change, what):
    path = tmp_path / "base.kld"
    with written_logits(str(path), 8, 5, np.zeros((2, 8), np.int64)) as add:
        add(np.zeros((3, 5), np.float32))
        add(np.zeros((3, 5), np.float32))
    LogitsFile(str(path))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(FormatError, match=what):
        LogitsFile(str(path))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_predictions_that_are_no_numbers(tmp_path, value):
    path = tmp_path / "base.kld"
    with written_logits(str(path), 8, 5, np.zeros((1, 8), np.int64)) as add:
        add(np.zeros((3, 5), np.float32))
    raw = bytearray(path.read_bytes())
    struct.pack_into("<f", raw, 20 + 8 * 4 + 4, value)
    path.write_bytes(raw)
    with pytest.raises(FormatError, match="chunk 0: has log-probabilities that are not finite"):
        next(iter(LogitsFile(str(path))))


def test_nothing_is_half_written(tmp_path):
    path = tmp_path / "base.kld"
    with pytest.raises(KeyboardInterrupt), written_logits(str(path), 8, 5, np.zeros((2, 8), np.int64)):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_another_vocabulary_is_refused(model, tmp_path):
    path = str(tmp_path / "base.kld")
    with written_logits(path, 8, 5, np.zeros((1, 8), np.int64)) as add:
        add(np.zeros((3, 5), np.float32))
    with pytest.raises(UsageError, match="vocabulary of 5"):
        list(perplexity.divergences(model, LogitsFile(path)))
