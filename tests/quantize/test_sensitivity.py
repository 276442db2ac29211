"""What taps measure is what a file with that matrix rounded shows."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

import localllm
from localllm.errors import UsageError
from localllm.generate.logprobs import log_softmax
from localllm.kernels.formats.table import FORMATS
from localllm.quantize.encode import Encoder
from localllm.quantize.sensitivity import Sensitivity
from localllm.quantize.sources import open_source
from tests import tiny_models

CHUNKS = [list(range(0, 96, 5)), list(range(1, 60, 4))]


@pytest.fixture(scope="module")
def encoder():
    with Encoder(2) as encoder:
        yield encoder


def log_p(path):
    with localllm.load(path) as model:
        return [log_softmax(model.logits(chunk)) for chunk in CHUNKS]


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("llama", "blk.0.ffn_down.weight"),
        ("llama", "blk.1.attn_q.weight"),
        ("llama", "blk.1.attn_output.weight"),
        ("llama", "token_embd.weight"),
        ("llama", "output.weight"),
        ("qwen2", "blk.2.attn_v.weight"),
        ("gemma3", "blk.0.ffn_gate.weight"),
        ("gemma3", "blk.1.ffn_down.weight"),
        ("gemma3", "token_embd.weight"),
    ],
)
def test_the_divergence_of_a_file_with_that_matrix_rounded(architecture, name, tmp_path, encoder):
    format, tensors = FORMATS["Q4_0"], tiny_models.weights(architecture)
    tensors["output_norm.weight"] *= np.float32(0.1)  # predictions that are not all certain
    path = tiny_models.write(tmp_path / "source.gguf", architecture, tensors=tensors)
    x = tensors[name]
    tensors[name] = encoder.decode(format, encoder.encode(format, x), x.shape[1])
    rounded = tiny_models.write(tmp_path / "rounded.gguf", architecture, tensors=tensors)
    pairs = list(zip(log_p(path), log_p(rounded), strict=True))
    want = np.concatenate([(np.exp(p) * (p - q)).sum(axis=1) for p, q in pairs]).mean()
    with closing(open_source(str(path), encoder.decode)) as source, localllm.load(path) as model:
        meter = Sensitivity(model, source, lambda _: None, encoder, CHUNKS)
        assert meter.can_measure(name)
        assert want > 0
        assert meter.divergence(name, format) == pytest.approx(want, rel=2e-2)


def test_a_text_is_needed(tmp_path, encoder):
    path = tiny_models.write(tmp_path / "source.gguf", "llama")
    with closing(open_source(str(path), encoder.decode)) as source, localllm.load(path) as model:
        assert not Sensitivity(model, source, lambda _: None, encoder, CHUNKS).can_measure("blk.0.attn_norm.weight")
        with pytest.raises(UsageError, match="too short to measure"):
            Sensitivity(model, source, lambda _: None, encoder, [])
