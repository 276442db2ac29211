"""The job: every tensor through its method in pieces, or copied; and the methods plain and imatrix."""

import numpy as np
import pytest

from localllm.errors import FormatError, LocalllmError, UsageError
from localllm.kernels.formats.table import FORMATS
from localllm.quantize import job
from localllm.quantize.calibration import Calibration
from localllm.quantize.encode import Encoder
from localllm.quantize.imatrix import Entry, Imatrix
from localllm.quantize.job import plan, quantize
from localllm.quantize.methods import METHODS, method
from localllm.quantize.methods.imatrix import importance_of
from localllm.quantize.source import SourceTensor
from localllm.quantize.sources import open_source
from localllm.quantize.writer import Planned, written

Q8_0, Q4_0, F32, F16 = (FORMATS[name] for name in ("Q8_0", "Q4_0", "F32", "F16"))
SHAPES = {"a.weight": (64, 5), "norm": (7,), "e.weight": (32, 3, 4), "kept.weight": (32, 2)}
FORMATS_OF = {"a.weight": Q8_0, "norm": F32, "e.weight": Q4_0, "kept.weight": F32}


@pytest.fixture(scope="module")
def encoder():
    with Encoder(2) as made:
        yield made


@pytest.fixture
def source(tmp_path):
    tensors = [Planned(name, shape, F32) for name, shape in SHAPES.items()]
    with written(str(tmp_path / "source.gguf"), {}, tensors) as output:
        for i, tensor in enumerate(tensors):
            output.write(tensor.name, np.random.default_rng(i).standard_normal(tensor.n_bytes // 4).astype(np.float32))
    with_source = open_source(str(tmp_path / "source.gguf"))
    yield with_source
    with_source.close()


def calibration(**rows):
    entries = {
        name.replace("_", "."): Entry(np.array(row, np.float32), np.ones(len(row))) for name, row in rows.items()
    }
    return Calibration(Imatrix(entries))


@pytest.mark.parametrize("piece", [1 << 25, 64, 1])
def test_tensors_are_encoded_or_copied_whatever_the_size_of_a_piece(tmp_path, source, encoder, monkeypatch, piece):
    monkeypatch.setattr(job, "SLICE", piece)
    seen = []
    out = str(tmp_path / "out.gguf")
    summary = quantize(
        source, out, {}, FORMATS_OF, method("plain")(None, encoder), encoder, progress=lambda *n: seen.append(n)
    )
    made = open_source(out)
    for name, format in FORMATS_OF.items():
        tensor = source.tensors[name]
        x = source.read(name).reshape(tensor.n_rows, tensor.k)
        expected = encoder.encode(format, x)
        np.testing.assert_array_equal(made.encoded(name, format), expected, err_msg=name)
    assert list(made.tensors) == list(SHAPES)
    assert summary.n_weights == 64 * 5 + 7 + 32 * 12 + 64
    assert summary.n_bytes == 5 * 68 + 28 + 12 * 18 + 256 == sum(t.n_bytes for t in plan(source, FORMATS_OF))
    assert seen[-1] == (4, 4, summary.n_weights, summary.n_weights)
    assert sorted(seen) == seen


def test_each_expert_has_its_importance(tmp_path, source, encoder):
    rows = np.random.default_rng(5).random((4, 32)) ** 4
    made = method("imatrix")(calibration(e_weight=rows), encoder)
    quantize(source, str(tmp_path / "out.gguf"), {}, FORMATS_OF, made, encoder)
    raw = open_source(str(tmp_path / "out.gguf")).encoded("e.weight", Q4_0)
    x = source.read("e.weight")
    expected = [encoder.encode(Q4_0, x[i], rows[i].astype(np.float32)) for i in range(4)]
    assert raw is not None
    np.testing.assert_array_equal(raw, np.concatenate(expected))
    assert not np.array_equal(raw, encoder.encode(Q4_0, x.reshape(12, 32)))


def test_importance_weighs_errors(encoder):
    x = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    weight = np.where(np.arange(64) % 2, 1.0, 1e-3)
    tensor = SourceTensor("a.weight", (64, 64), "F32")
    errors = [
        (encoder.decode(Q4_0, made.encode(tensor, x, Q4_0), 64) - x) ** 2 @ weight
        for made in (method("imatrix")(calibration(a_weight=[weight]), encoder), method("plain")(None, encoder))
    ]
    assert errors[0].sum() < 0.98 * errors[1].sum()


def test_tensors_without_calibration_are_rounded_plainly(encoder):
    x = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    made = method("imatrix")(calibration(other_weight=[[1.0] * 64]), encoder)
    raw = made.encode(SourceTensor("a.weight", (64, 4), "F32"), x, Q4_0)
    np.testing.assert_array_equal(raw, encoder.encode(Q4_0, x))


@pytest.mark.parametrize(
    ("rows", "words"), [([[1.0] * 48], "has 48 columns"), ([[1.0] * 32] * 3, "is of 3 matrices, it has 4")]
)
def test_calibration_of_another_model(rows, words):
    with pytest.raises(FormatError, match=rf"tensor e\.weight {words}.*another model"):
        importance_of(calibration(e_weight=rows), SourceTensor("e.weight", (32, 3, 4), "F32"), 0)


def test_one_importance_may_stand_for_all_experts():
    found = importance_of(calibration(e_weight=[[2.0] * 32]), SourceTensor("e.weight", (32, 3, 4), "F32"), 3)
    np.testing.assert_array_equal(found, [2.0] * 32)


def test_values_that_are_no_numbers_are_refused_by_name(tmp_path, encoder):
    tensors = [Planned("a.weight", (32, 1), F32)]
    with written(str(tmp_path / "source.gguf"), {}, tensors) as output:
        output.write("a.weight", np.full(32, np.nan, np.float32))
    source = open_source(str(tmp_path / "source.gguf"))
    with pytest.raises(LocalllmError, match=r"source\.gguf: tensor a\.weight: 32 of 32 values are not finite"):
        quantize(source, str(tmp_path / "out.gguf"), {}, {"a.weight": Q8_0}, method("plain")(None, encoder), encoder)
    assert [path.name for path in tmp_path.iterdir()] == ["source.gguf"]


def test_methods_are_listed(encoder):
    with pytest.raises(UsageError, match=f"no method 'best'; methods are {', '.join(METHODS)}"):
        method("best")
    with pytest.raises(UsageError, match="imatrix needs a file of calibration"):
        method("imatrix")(None, encoder)
