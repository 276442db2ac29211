"""Folded scales: the same function in floats, a smaller error once rounded."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

import localllm
from localllm.errors import UnsupportedError, UsageError
from localllm.kernels.formats.table import FORMATS
from localllm.quantize.calibration import Calibration
from localllm.quantize.encode import Encoder
from localllm.quantize.feedback import output_error
from localllm.quantize.folds import Fold, Scaled, folds
from localllm.quantize.imatrix import Imatrix
from localllm.quantize.job import quantize
from localllm.quantize.methods import awq
from localllm.quantize.methods.plain import Plain
from localllm.quantize.source import Typed
from localllm.quantize.sources import open_source
from tests import tiny_models

IDS = list(range(0, 96, 5))


class Known(Calibration):
    """Of columns of very different sizes, the same for all matrices of k columns."""

    def __init__(self, k_of):
        super().__init__(Imatrix({}))
        self.k_of = k_of

    @property
    def has_hessians(self):
        return True

    def __contains__(self, name):
        return True

    def importance(self, name, k=None):
        return np.diag(self.hessian(name)).copy()

    def hessian_shape(self, name):
        return 1, self.k_of(name)

    def hessian(self, name, held_back=False, matrix=None):
        k = self.k_of(name)
        x = np.random.default_rng(k).normal(size=(3 * k, k)) * np.exp(2 * np.random.default_rng(0).normal(size=k))
        return np.asarray(x.T @ x / len(x), np.float32)


@pytest.fixture(scope="module")
def encoder():
    with Encoder(2) as encoder:
        yield encoder


@pytest.fixture(params=["llama", "qwen2", "gemma3"])
def source(request, tmp_path, encoder):
    with closing(
        open_source(str(tiny_models.write(tmp_path / "source.gguf", request.param)), encoder.decode)
    ) as source:
        yield source


def logits(path):
    with localllm.load(path, kv_type="f32") as model:
        return model.logits(IDS)


def test_any_scales_leave_the_logits_as_they_are(source, tmp_path, encoder):
    scaled, rng = Scaled(source), np.random.default_rng(0)
    found = folds(source)
    assert len(found) >= 3 * len([name for name in source.tensors if name.endswith("ffn_down.weight")])
    for fold in found:
        n = source.tensors[fold.consumers[0]].k // fold.repeats
        scaled.fold(fold, np.exp(rng.normal(size=n)).astype(np.float32))
    formats = {name: FORMATS[tensor.format] for name, tensor in source.tensors.items()}
    out = tmp_path / "out.gguf"
    quantize(scaled, str(out), dict(source.metadata), formats, Plain(encoder), encoder)
    before, after = logits(source.path), logits(out)
    assert tiny_models.nmse(before, after) < 1e-9
    changed = [name for name in source.tensors if not np.array_equal(scaled.read(name), source.read(name))]
    assert {name for fold in found for name in (*fold.consumers, *fold.producers)} == set(changed)


@pytest.mark.slow
def test_scales_make_the_output_nearer(source, encoder):
    formats = {name: FORMATS["Q4_0" if len(t.shape) > 1 else "F32"] for name, t in source.tensors.items()}
    calibration = Known(lambda name: source.tensors[name].k)
    made = awq.method(calibration, encoder)
    scaled = made.prepare(source, formats)
    assert isinstance(scaled, Scaled)
    assert "groups of matrices were scaled" in made.notes()[0]
    ours = theirs = 0.0
    for name, by in scaled.columns.items():
        tensor = source.tensors[name]
        if len(tensor.shape) == 1 or name in scaled.row_factors:
            continue
        x, h = source.read(name), calibration.hessian(name)
        raw = made.encode(tensor, scaled.read(name), FORMATS["Q4_0"])
        ours += output_error(encoder.decode(FORMATS["Q4_0"], raw, tensor.k) / by - x, h)
        raw = encoder.encode(FORMATS["Q4_0"], x, np.diag(h))
        theirs += output_error(encoder.decode(FORMATS["Q4_0"], raw, tensor.k) - x, h)
    assert 0 < ours < theirs


def test_scales_of_key_value_heads():
    fold = Fold(["v"], ["out"], repeats=2, head=2)
    rows = np.array([1.0, 2.0, 3.0, 4.0])
    columns = fold.of_columns(rows)
    assert columns.tolist() == [1, 2, 1, 2, 3, 4, 3, 4]
    assert fold.of_rows(columns).tolist() == rows.tolist()


def test_unknown_structures_are_refused(tmp_path, encoder):
    with closing(open_source(str(tiny_models.write(tmp_path / "source.gguf", "llama")), encoder.decode)) as source:
        metadata = dict(source.metadata)

        class Other(Scaled):
            @property
            def metadata(self):
                key = "general.architecture"
                return metadata | {key: type(metadata[key])("mamba", "str")}

        with pytest.raises(UnsupportedError, match="does not know where scales can go in mamba; it knows llama"):
            awq.method(Known(lambda name: 32), encoder).prepare(Other(source), {})


def test_lengths_that_do_not_agree_are_left_alone(tmp_path, encoder):
    with closing(open_source(str(tiny_models.write(tmp_path / "source.gguf", "llama")), encoder.decode)) as source:
        metadata, tensors = dict(source.metadata), dict(source.tensors)
        metadata["llama.attention.head_count"] = Typed(0, "u32")
        metadata["llama.block_count"] = Typed(1 << 32, "u64")
        tensors["blk.0.ffn_norm.weight"] = replace(tensors["blk.0.ffn_norm.weight"], shape=(5,))

        class Other(Scaled):
            @property
            def metadata(self):
                return metadata

            @property
            def tensors(self):
                return tensors

        found = [fold.producers[0] for fold in folds(Other(source))]
        assert "blk.0.attn_norm.weight" in found
        assert "blk.1.ffn_norm.weight" in found
        assert "blk.0.ffn_norm.weight" not in found
        assert "blk.0.attn_v.weight" not in found
        del metadata["general.architecture"]
        assert folds(Other(source)) == []


def test_hessians_are_needed(encoder):
    with pytest.raises(UsageError, match="calibrate --hessians"):
        awq.method(Calibration(Imatrix({})), encoder)
