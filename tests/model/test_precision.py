"""High precision: nearer to exact activations, by the same bits however it is fed, at a cost that is told."""

from importlib import resources
from pathlib import Path

import gguf
import numpy as np
import pytest

import localllm
from localllm.errors import UnsupportedError, UsageError
from localllm.generate.logprobs import log_softmax
from localllm.kernels.quantize import MIDDLE
from localllm.model.model import LoadedModel
from tests.model import rounded_activations
from tests.model.test_recorded import feed
from tests.model.test_recorded_quantized import contracting, quantizer
from tests.recorded import models
from tests.recorded.models import N_CTX, evaluate, ids_of, outputs

REAL = Path.home() / ".cache" / "localllm-test-models"
NAMES = ("llama", "gemma3", "qwen2", "mamba", "bert", "deepseek2", "qwen3next", "lfm2", "rwkv7")


def load(path, precision="high", n_threads=2):
    return LoadedModel.load(path, n_ctx=N_CTX, kv_type="f32", n_threads=n_threads, precision=precision)


@pytest.fixture(scope="module", params=NAMES)
def case_and_path(request, tmp_path_factory):
    case = contracting(request.param)
    return case, models.write(tmp_path_factory.mktemp("p") / "m.gguf", case, quantizer("Q8_0", False))


def test_it_is_nearer_to_exact_activations(case_and_path, tmp_path):
    """Random weights and tokens have few one-sided groups: what is gained is less than in real models."""
    case, path = case_and_path
    ids, errors = ids_of(case.n_ids), []
    with load(models.write(tmp_path / "exact.gguf", case, quantizer("Q8_0", True))) as model:
        exact = outputs(case, model, ids).astype(np.float64)
    for precision in ("normal", "high"):
        with load(path, precision=precision) as model:
            errors.append(np.median(((outputs(case, model, ids) - exact) ** 2).mean(-1)))
    assert errors[1] < 0.85 * errors[0]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.real
@pytest.mark.parametrize("name", ["smollm2-135m", "gemma-3-270m", "qwen2.5-coder-0.5b"])
def test_real_models_diverge_half_as_much(name):
    """From exact activations, over the text that `localllm compare` predicts."""
    paths = list(REAL.glob(f"{name}*.gguf"))
    if not paths:
        pytest.skip(f"{name} is not here")
    path, text = str(paths[0]), resources.files("localllm.tools").joinpath("evaluation.txt").read_text("utf-8")
    ids = rounded_activations.ids_of(path, text, 256)
    exact = log_softmax(rounded_activations.Forward(path).logits(ids))
    found = rounded_activations.of_precisions(path, ids, exact)
    assert found["high"] <= 0.5 * found["normal"], found


def test_the_same_bits_however_it_is_fed(case_and_path):
    case, path = case_and_path
    ids = ids_of(case.n_ids)
    with load(path) as model:
        exact = outputs(case, model, ids)
        for chunk in (1, 3, 11) if model.network.causal else ():
            context = model.context()
            assert np.array_equal(feed(case, context, ids, chunk=chunk), exact), f"chunks of {chunk}"
            context.close()
        context = model.context(n_seq=2)
        rows = [(i, seq) for i in range(12) for seq in (0, 1)]
        both = evaluate(case, context, [ids[i] for i, _ in rows], [i for i, _ in rows], [seq for _, seq in rows])
        assert np.array_equal(both[::2], both[1::2])
        context.close()
    with load(path, n_threads=1) as alone:
        assert np.array_equal(outputs(case, alone, ids), exact)


def test_states_of_the_other_precision_are_of_another_kind(case_and_path):
    _, path = case_and_path
    kinds = set()
    for precision in ("normal", "high"):
        with load(path, precision=precision) as model:
            context = model.context()
            kinds.add(context.kind)
            context.close()
    assert len(kinds) == 2


def test_memory_of_the_sums_is_counted(tmp_path):
    case = contracting("llama")
    path = models.write(tmp_path / "m.gguf", case, quantizer("Q8_0", False))
    with load(path) as high, load(path, precision="normal") as normal:
        high.context().close()
        assert high.network.sums
        made = high.network.sums.n_bytes
        file = high.file.tensors
        matrices = [t for name, t in file.items() if len(t.shape) == 2 and t.format.name == "Q8_0"]
        used = sum(t.n_elements for t in matrices if not t.name.startswith("token_embd")) // MIDDLE * 2
        assert 0.9 * used < made < 1.5 * used
        assert high.memory().need(N_CTX).weights == normal.memory().need(N_CTX).weights + made


def test_points_of_a_trace_are_whole(tmp_path):
    """Inputs are not differences, and outputs have what middles bring."""
    case = contracting("llama")
    path = models.write(tmp_path / "m.gguf", case, quantizer("Q8_0", False))
    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}
    with load(path) as model:
        names = [name for name in model.taps() if name.endswith((".input", ".output"))]
        with model.trace(*names, n_ctx=N_CTX) as t:
            t.forward(ids_of(9))
            for name in [name.removesuffix(".output") for name in names if name.endswith(".output")]:
                x, y = t[f"{name}.input"].astype(np.float64), t[f"{name}.output"]
                exact = x @ tensors[f"{name}.weight"].T + tensors.get(f"{name}.bias", 0.0)
                assert ((y - exact) ** 2).mean() < 1e-3 * (exact**2).mean(), name


def test_sums_beyond_f16_are_an_error(tmp_path):
    case = contracting("llama")

    def huge(name, x):
        return quantizer("Q8_0", False)(name, np.full_like(x, 3000.0) if name.endswith("attn_output.weight") else x)

    path = models.write(tmp_path / "m.gguf", case, huge)
    with (
        load(path) as model,
        pytest.raises(UnsupportedError, match=r"attn_output.weight: 32 neighbours have a sum"),
    ):
        model.context()


def test_a_precision_that_is_none(tmp_path):
    path = models.write(tmp_path / "m.gguf", contracting("llama"))
    with pytest.raises(UsageError, match=r"^precision is 'exact', must be one of normal, high$"):
        localllm.load(path, precision="exact")
