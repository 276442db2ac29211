"""RWKV: what its files must agree on, and what they may leave out."""

from dataclasses import replace

import numpy as np
import pytest

from localllm.errors import FormatError, UnsupportedError
from localllm.model.model import LoadedModel
from tests.recorded import models
from tests.recorded.models import IDS

CASES = models.cases()
REFUSED = {
    "heads do not divide": ("rwkv7", {"wkv.head_size": 48}, "wkv.head_size: is 48, must divide .*128"),
    "one shift of two": ("rwkv7", {"token_shift_count": 1}, "token_shift_count: is 1, must be .* 2"),
    "two shifts of one": ("arwkv7", {"token_shift_count": 2}, "token_shift_count: is 2, must be .* 1"),
    "a rank of another width": ("rwkv7", {"attention.iclr_lora_rank": 25}, r"time_mix_a1.weight.*\[128, 25\]"),
    "no rank": ("rwkv7", {"attention.gate_lora_rank": 0}, "gate_lora_rank: is 0"),
    "no feed-forward length": ("rwkv6", {"feed_forward_length": 0}, "feed_forward_length: is 0"),
    "shared heads": ("rwkv6qwen2", {"attention.head_count_kv": 3}, "head_count_kv: is 3, must divide .* 4"),
}
"""Of a recorded model, with other metadata."""


def load(folder, case):
    return LoadedModel.load(models.write(folder / "m.gguf", case), n_ctx=64, n_threads=1)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path, name):
    of, change, match = REFUSED[name]
    with pytest.raises(FormatError, match=match):
        load(tmp_path, replace(CASES[of], kv=CASES[of].kv | change))


@pytest.mark.parametrize("tensor", ["attn_norm_2.weight", "time_mix_lerp_fused.weight", "channel_mix_lerp_k.weight"])
def test_missing(tmp_path, tensor):
    case = CASES["rwkv7"]
    without = {name: shape for name, shape in case.tensors.items() if name != f"blk.1.{tensor}"}
    with pytest.raises(FormatError, match=rf"blk\.1\.{tensor}: is missing"):
        load(tmp_path, replace(case, tensors=without))


def test_half_of_a_norm_has_no_use(tmp_path):
    case = CASES["arwkv7"]
    without = {name: shape for name, shape in case.tensors.items() if name != "blk.2.time_mix_ln.bias"}
    with pytest.raises(UnsupportedError, match=r"blk\.2\.time_mix_ln\.weight"):
        load(tmp_path, replace(case, tensors=without))


def test_values_of_the_first_layer_are_drawn_nowhere(tmp_path):
    """Files may lack what would draw them."""
    case = CASES["rwkv7"]
    without = {name: shape for name, shape in case.tensors.items() if not name.startswith("blk.0.time_mix_v")}
    without["blk.0.time_mix_value.weight"] = case.tensors["blk.0.time_mix_value.weight"]
    logits = []
    for one in (case, replace(case, tensors=without)):
        with load(tmp_path, one) as model:
            logits.append(model.logits(IDS))
    assert np.array_equal(*logits)


def test_what_a_context_takes_does_not_grow(tmp_path):
    with load(tmp_path, CASES["rwkv7"]) as model:
        sizes = []
        for n_ctx in (64, 1 << 20):
            context = model.context(n_ctx=n_ctx)
            sizes.append(context.n_bytes)
            context.close()
        assert sizes[0] == sizes[1]
