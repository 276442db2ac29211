"""`localllm embed` on a tiny encoder with a classifier."""

import json

import numpy as np
import pytest

from localllm.model.model import LoadedModel
from tests.model.test_embedding import TOKENIZER
from tests.recorded import models
from tests.recorded.cases.encoders import CASES


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return models.write(tmp_path_factory.mktemp("embed") / "m.gguf", CASES["bert-rank"], pooling_type=1, **TOKENIZER)


@pytest.fixture(scope="module")
def model(path):
    with LoadedModel.load(path) as loaded:
        yield loaded


def numbers(text):
    return np.array([[float(x) for x in line.split()] for line in text.splitlines()])


def test_a_line_a_text(call, path, model):
    done = call("embed", path, "hello", "hello world")
    assert done.status == 0
    np.testing.assert_allclose(numbers(done.out), model.embed(["hello", "hello world"]), rtol=1e-6)


def test_lines_of_standard_input_as_json(call, path, model):
    done = call("embed", path, "-o", "json", "--pooling", "last", "--no-normalize", stdin=b"hello\nworld\n")
    rows = model.embed(["hello", "world"], "last", normalize=False)
    np.testing.assert_allclose(json.loads(done.out), rows, rtol=1e-6)


def test_scores(call, path, model):
    scores = model.rank("hello", ["world", "hello"])
    np.testing.assert_allclose(numbers(call("embed", path, "--query", "hello", "world", "hello").out)[:, 0], scores)
    done = call("embed", path, "--query", "hello", "-o", "json", "world", "hello")
    np.testing.assert_allclose(json.loads(done.out), scores)


def test_wrong_usage(call, path):
    done = call("embed", path, "--query", "hello", "--pooling", "mean", "world")
    assert done.status == 2
    assert "--pooling" in done.err
    done = call("embed", path, "hello " * 100)
    assert done.status == 1
    assert "64 are the most" in done.err
