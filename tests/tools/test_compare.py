"""Comparison of files of one model: what is measured, which is recommended, the page."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import gguf
import numpy as np
import pytest

import localllm
from localllm.errors import UsageError
from localllm.tools import compare, recommend, report
from localllm.tools.divergence import Divergence
from tests.generate.test_chat_states import LETTERS, VOCABULARY
from tests.recorded import models

TEXT = "".join(LETTERS[i % len(LETTERS)] for i in models.ids_of(100))
PLAN = compare.Plan(n_ctx=32, prompt=8, answer=4, repetitions=2, answer_tokens=5, prompts=("abc", "<b>|&"))


def q8_0(name, tensor):
    if tensor.ndim != 2 or tensor.shape[1] % 32 or "shortconv.conv" in name:
        return None
    kind = gguf.GGMLQuantizationType.Q8_0
    return gguf.quants.quantize(tensor.astype(np.float32), kind), kind


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    case = models.cases()["lfm2"]
    return [
        str(models.write(folder / "f32.gguf", case, **VOCABULARY)),
        str(models.write(folder / "q8.gguf", case, q8_0, **VOCABULARY)),
    ]


@pytest.fixture(scope="module")
def found(paths):
    return compare.compare(
        paths[1:], paths[0], TEXT, PLAN, lambda path: localllm.load(path, n_threads=2), lambda *_: None
    )


def test_what_is_measured(found, paths):
    q8, f32 = found
    assert [q8.path, f32.path] == [paths[1], paths[0]]
    assert f32.divergence.mean_kld.value == 0
    assert f32.divergence.top_1.value == 1
    assert q8.divergence.mean_kld.value > 0
    assert q8.size < f32.size < f32.memory
    assert q8.bits_per_weight < f32.bits_per_weight == pytest.approx(32)
    for c in found:
        assert min(c.prefill, c.decode, c.first_token) > 0
        assert len(c.answers) == 2
    assert compare.largest(paths) == paths[0]
    assert len(f32.divergence.kld) == 3 * 15
    assert q8.as_dict()["divergence"]["mean_kld"] == q8.divergence.mean_kld.value


def test_a_file_of_another_model_is_refused(paths, tmp_path):
    other = {**VOCABULARY, "tokenizer.ggml.tokens": VOCABULARY["tokenizer.ggml.tokens"][::-1]}
    path = str(models.write(tmp_path / "other.gguf", models.cases()["lfm2"], **other))
    with pytest.raises(UsageError, match="another vocabulary"):
        compare.compare([path], paths[0], TEXT, PLAN, localllm.load, lambda *_: None)


def candidate(name, size, kld, decode):
    values = np.full(200, float(kld))
    same = np.ones(200, bool)
    distance = Divergence(values, values, values, values, same)
    return compare.Candidate(name, name, size, size + 50, 4.0, 10.0, decode, 0.1, distance, ("x",))


ROWS = [
    candidate("f16", 1600, 0, 10),
    candidate("q8", 850, 0.004, 20),
    candidate("q5", 600, 0.012, 26),
    candidate("q4", 450, 0.04, 30),
    candidate("q4-bad", 500, 0.06, 29),
    candidate("q2", 300, 0.4, 40),
]


@pytest.mark.parametrize(
    ("need", "memory", "name"),
    [
        ("quality", None, "f16"), ("quality", 1000, "q8"), ("quality", 400, "q2"), ("speed", None, "q4"),
        ("memory", None, "q4"), ("memory", 400, "q2"), ("balance", None, "q4"),
    ],
)  # fmt: skip
def test_recommendations(need, memory, name):
    best, sentence = recommend.recommend(ROWS, "f16", need, memory)
    assert best.path == name
    assert name in sentence
    assert sentence.endswith(".")


def test_nothing_fits():
    with pytest.raises(UsageError, match="q2 takes the least"):
        recommend.recommend(ROWS, "f16", "speed", 200)


def test_the_frontier():
    assert recommend.frontier(ROWS, lambda c: c.size) == {"f16", "q8", "q5", "q4", "q2"}
    assert recommend.frontier(ROWS, lambda c: -c.decode) == {"f16", "q8", "q5", "q4", "q2"}
    same = [candidate("a", 10, 0.1, 1), candidate("b", 10, 0.1, 1)]
    assert recommend.frontier(same, lambda c: c.size) == {"a", "b"}


class Checker(HTMLParser):
    """Counts tags that were opened and closed; notes addresses that would be loaded."""

    def __init__(self):
        super().__init__()
        self.open, self.loads = [], []

    def handle_starttag(self, tag, attrs):
        self.loads += [v for k, v in attrs if k in ("src", "href", "xlink:href") and not (v or "").startswith("#")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page(found, paths):
    best, sentence = recommend.recommend(found, paths[0], "balance")
    text = report.page(found, paths[0], PLAN.prompts, sentence, best.path)
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert checker.loads == []
    assert text.count("<svg") == 2
    assert "&lt;b&gt;|&amp;" in text
    assert "<b>" not in text
    lines = list(report.markdown(found))
    assert len(lines) == 4
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_names_are_no_formulas():
    rows = [candidate("a$\\frac$.gguf", 10, 0.1, 1), candidate("b.gguf", 20, 0, 1)]
    assert report.page(rows, "b.gguf", ("?",), "Take it.", "b.gguf").count("<svg") == 2


def test_the_text_of_the_package():
    assert 6000 < len(compare.evaluation_text()) < 20000
