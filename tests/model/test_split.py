"""Models that are split into several files: each part is mapped where it lies, and everything is as of one file."""

import os
import threading

import numpy as np
import pytest

import localllm
from localllm.errors import FileError
from localllm.generate import model_digest
from localllm.gguf.reader import open_gguf
from localllm.model.memory import needed
from localllm.tools.compare import memory_of
from tests.generate.kept import keep
from tests.generate.test_chat_states import VOCABULARY
from tests.gguf.parts import split
from tests.recorded import models

IDS = list(range(5, 60))
KINDS = ("llama", "gemma3", "qwen3next", "deepseek2", "lfm2")
"""Attention, windows, recurrent states with experts, latent rows, short convolutions."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return lambda name: models.write(folder / f"{name}.gguf", models.cases()[name], **VOCABULARY)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("tensors_a_part", "metadata_alone"), [(1, False), (4, True), (7, False)])
def test_logits_are_those_of_the_whole_file(whole, tmp_path, name, tensors_a_part, metadata_alone):
    path = whole(name)
    parts = split(path, tmp_path / "m", tensors_a_part, metadata_alone)
    assert len(parts) > 3
    with localllm.load(path, n_ctx=256) as one, localllm.load(parts[2], n_ctx=256) as many:
        assert np.array_equal(one.logits(IDS), many.logits(IDS))
        assert many.path == str(parts[0])
        assert (many.n_params, many.n_bytes, many.description) == (one.n_params, one.n_bytes, one.description)


def test_vectors_at_the_end_of_a_part(tmp_path):
    """Kernels load whole vectors: what a part ends with is copied to where there is memory behind it."""
    path = models.write(tmp_path / "m.gguf", models.cases()["llama"])
    parts = split(path, tmp_path / "m", 1)
    with open_gguf(parts[0]) as file, localllm.load(parts[0]) as model:
        norms = [name for name in file.tensors if name.endswith("norm.weight")]
        assert norms
        for name in norms:
            expected = np.frombuffer(file.data(file.tensors[name]), "<f4")
            np.testing.assert_array_equal(model._weights.values(name, expected.size), expected)


def test_what_is_kept_of_prompts_belongs_to_all_parts(whole, tmp_path):
    parts = split(whole("llama"), tmp_path / "m", 5)
    folder, never = tmp_path / "prompts", threading.Event()
    folder.mkdir()
    ids = [5 + i % 50 for i in range(600)]
    with localllm.load(parts[0], n_ctx=1024) as model:
        before = model_digest.find_content(model.file, folder, never)
        assert keep(model, folder, ids) == 0
    with localllm.load(parts[1], n_ctx=1024) as model:
        assert model_digest.known_content(model.file, folder) == before
        assert keep(model, folder, ids) == len(ids) - 1
    content = bytearray(parts[-1].read_bytes())
    content[-8] ^= 1
    parts[-1].write_bytes(content)
    with localllm.load(parts[0], n_ctx=1024) as model:
        assert model_digest.known_content(model.file, folder) == ""
        assert model_digest.find_content(model.file, folder, never) != before
        assert keep(model, folder, ids) == 0


def test_a_part_that_changes_stops_the_model(whole, tmp_path):
    parts = split(whole("llama"), tmp_path / "m", 9)
    with localllm.load(parts[0], n_ctx=256) as model:
        model.logits(IDS)
        os.utime(parts[-1], ns=(1, 1))
        with pytest.raises(FileError, match=f"{parts[-1]}: changed while in use"):
            model.logits(IDS)


def test_states_and_sizes_are_counted_over_all_parts(whole, tmp_path):
    path = whole("llama")
    parts = split(path, tmp_path / "m", 5)
    assert memory_of(str(parts[1])) == memory_of(str(path))
    with open_gguf(path) as one, open_gguf(parts[0]) as many:
        assert needed(one, 512) == needed(many, 512)
