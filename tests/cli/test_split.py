"""Any part of a split model stands for it, wherever a path is asked for."""

import json

import pytest

import localllm
from localllm.gguf.reader import open_gguf
from tests.generate.test_chat_states import LETTERS, VOCABULARY
from tests.gguf.parts import split
from tests.recorded import models


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return models.write(tmp_path_factory.mktemp("whole") / "m.gguf", models.cases()["lfm2"], **VOCABULARY)


@pytest.fixture
def parts(whole, tmp_path):
    return split(whole, tmp_path / "m", 6, metadata_alone=True)


def test_show(parts, whole, call):
    said = [json.loads(call("show", path, "-o", "json").out) for path in (parts[1], whole)]
    assert said[0]["file"] == str(parts[0])
    assert said[0]["size"] == sum(part.stat().st_size for part in parts)
    for key in ("n_params", "formats", "support", "bits_per_weight"):
        assert said[0][key] == said[1][key]


def test_run_and_tokenize(parts, whole, call):
    for verb, *more in (("run", "-p", "abc", "-n", "6", "--temp", "0"), ("tokenize", "abc")):
        said = [call(verb, path, *more) for path in (parts[2], whole)]
        assert said[0].status == 0, said[0].err
        assert said[0].out == said[1].out != ""


def test_a_missing_part(parts, call):
    parts[1].unlink()
    done = call("run", "-m", parts[0], "-p", "abc")
    assert done.status == 1
    assert done.out == ""
    expected = f"{parts[1]}: is missing: {parts[0]} is one of {len(parts)} parts of a model"
    assert done.err.count("\n") == 1
    assert expected in done.err


def test_quantize_makes_one_file_of_the_parts(parts, whole, tmp_path, call):
    out = tmp_path / "out.gguf"
    assert call("quantize", parts[3], out, "COPY").status == 0
    with open_gguf(out) as made, open_gguf(whole) as old:
        assert {n: bytes(made.data(i)) for n, i in made.tensors.items()} == {
            n: bytes(old.data(i)) for n, i in old.tensors.items()
        }
        assert "split.count" not in made.metadata


def test_tokenizer(parts):
    tokenizer = localllm.load_tokenizer(parts[1])
    assert tokenizer is not None
    assert tokenizer.decode(tokenizer.encode(LETTERS[3])) == LETTERS[3]
