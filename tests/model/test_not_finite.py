"""A number that is not finite ends in an error that names where it began; see tests/model/injected.py."""

import gguf
import numpy as np
import pytest

from localllm.errors import FormatError, NotFiniteError
from localllm.gguf.reader import open_gguf
from localllm.gguf.scales import SCALES, damaged
from localllm.kernels.formats.table import FORMATS
from localllm.model.model import LoadedModel
from localllm.model.weights import Weights
from tests.model import injected
from tests.recorded import models

KINDS = ("llama", "gemma2", "gpt-oss", "minimax-m3", "deepseek32", "glm5-next", "mamba2", "rwkv6", "bert")
"""One of each kind of block; the command has all."""


def written(tmp_path, name, tensors=()):
    """The model, and some floats of its file replaced: (tensor, number of the element, value)."""
    path = models.write(tmp_path / "m.gguf", models.cases()[name])
    with LoadedModel.load(path) as model:
        places = {info.name: info.offset for info in model.file.tensors.values()}
    with open(path, "r+b") as file:
        for tensor, element, value in tensors:
            file.seek(places[tensor] + 4 * element)
            file.write(np.float32(value).tobytes())
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_what_is_not_finite_in_an_operation_is_an_error(tmp_path, name):
    case = models.cases()[name]
    with LoadedModel.load(models.write(tmp_path / "m.gguf", case), n_ctx=models.N_CTX, n_threads=1) as model:
        found = list(injected.into_operations(case, model, values=injected.VALUES[:2], batches=(4,)))
    assert {f.result for f in found} <= {"error", "ignored", "unreachable"}, [f for f in found if f.result != "error"]
    assert sum(f.result == "error" for f in found) > 0.9 * len(found)


def test_the_error_names_layer_tensor_and_token(tmp_path):
    path = written(tmp_path, "llama", [("blk.1.ffn_down.weight", 5, np.nan)])
    with LoadedModel.load(path, n_threads=1) as model:
        with pytest.raises(NotFiniteError) as raised:
            model.logits([1, 2, 3])
        assert list(damaged(model.file)) == [("blk.1.ffn_down.weight", 1)]
    assert str(raised.value) == (
        f"{path}: layer 1, blk.1.ffn_down: 1 of 72 results are NaN; first at token position 0; tensor "
        "blk.1.ffn_down.weight holds 1 values that are NaN or infinite: fetch the file again, or compare its SHA-256"
    )
    assert raised.value.sequences == (0,)


def test_a_token_that_is_not_used_may_be_damaged(tmp_path):
    """But it is named as soon as it is, in whatever chunk, and other sequences of the batch go on."""
    n_embd = models.cases()["llama"].tensors["token_embd.weight"][0]
    path = written(tmp_path, "llama", [("token_embd.weight", 7 * n_embd, np.inf)])
    clean = models.write(tmp_path / "clean.gguf", models.cases()["llama"])
    with LoadedModel.load(path, n_threads=1) as model, LoadedModel.load(clean, n_threads=1) as whole:
        np.testing.assert_array_equal(model.logits([1, 2, 3]), whole.logits([1, 2, 3]))
        context = model.context(n_ctx=64, n_seq=2)
        context.forward([1, 2, 3])
        with pytest.raises(
            NotFiniteError, match="token_embd: 1 of 72 results are infinite; first at token position 4;"
        ):
            context.forward([5, 7, 1, 2], seq_ids=[0, 0, 1, 1])
        assert context.n_past(0) == 3
        assert context.n_past(1) == 0
        np.testing.assert_array_equal(context.forward([4])[0], whole.logits([1, 2, 3, 4])[-1])
        context.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_what_is_not_finite_in_a_tensor_is_an_error(tmp_path, name):
    """Of each tensor the first element; or the answer has the same bits, as where an expert is not chosen."""
    case = models.cases()[name]
    ids = models.ids_of(case.n_ids)
    with LoadedModel.load(models.write(tmp_path / "clean.gguf", case), n_ctx=models.N_CTX, n_threads=1) as model:
        exact = models.outputs(case, model, ids)
    n_errors, unnamed = 0, []
    for tensor in case.tensors:
        if "tid2eid" in tensor:
            continue
        path = written(tmp_path, name, [(tensor, 0, np.nan if len(tensor) % 2 else np.inf)])
        try:
            with LoadedModel.load(path, n_ctx=models.N_CTX, n_threads=1) as model:
                got = models.outputs(case, model, ids)
        except (NotFiniteError, FormatError) as error:
            unnamed += [f"{tensor}: {error}"] if tensor not in str(error) else []
            n_errors += 1
            continue
        np.testing.assert_array_equal(got, exact, err_msg=tensor)
    assert not unnamed
    assert n_errors > 0.7 * len(case.tensors)


@pytest.mark.parametrize(
    "name", [f.name for f in FORMATS.values() if f.supported and f.name in gguf.GGMLQuantizationType.__members__]
)
def test_damage_of_each_format_is_found(tmp_path, name):
    """A scale that is NaN, in each place of a block; formats whose scales are always finite have none."""
    fmt = FORMATS[name]
    writer = gguf.GGUFWriter(str(tmp_path / "m.gguf"), "llama")
    for at in SCALES.get(name, (0,)):
        raw = np.zeros((4, 2 * fmt.bytes), np.uint8)
        if name == "IQ1_M":
            raw[2].view("<u2")[24 + 2 : 24 + 4] = 0xC000, 0x7000  # the nibbles of 0x7C00, highest word last
        elif fmt.block > 1:
            raw[2, fmt.bytes + at : fmt.bytes + at + 2] = np.array([0xFE00], "<u2").view(np.uint8)
        else:
            raw[2] = np.resize(np.frombuffer({4: b"\0\0\xc0\x7f", 2: b"\xff\x7f"}[fmt.bytes], np.uint8), 2 * fmt.bytes)
        writer.add_tensor(f"t{at}", raw, raw_dtype=gguf.GGMLQuantizationType[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with open_gguf(tmp_path / "m.gguf") as file:
        found = dict(damaged(file))
    wanted = (
        {} if name in ("MXFP4", "NVFP4") else {f"t{at}": 2 if fmt.block == 1 else 1 for at in SCALES.get(name, (0,))}
    )
    assert found == wanted


def test_damage_is_named_by_an_address(tmp_path):
    """In the file, or in a copy of its floats; other addresses, in the header or nowhere, name nothing."""
    path = written(tmp_path, "llama", [("blk.0.attn_norm.weight", 1, np.nan)])
    with open_gguf(path) as file:
        weights, info = Weights(file), file.tensors["blk.0.attn_norm.weight"]
        header = weights._parts[0].ctypes.data
        copy = weights.vector("blk.0.attn_norm.weight", info.shape[0]).address
        for address in (header + info.offset + 4, copy, copy + 4):
            assert "blk.0.attn_norm.weight holds 1 values" in weights.damage([address], "blk.7.")
        assert weights.damage([header + 8, 0, "text"], "blk.7.") == ""
