"""The configuration of a model, from metadata alone."""

from typing import Any

import pytest

from localllm.errors import FormatError, UnsupportedError
from localllm.gguf.config import Config, Keys, Window, read_config
from localllm.gguf.reader import open_header
from tests.gguf import build as b

LLAMA = {
    "general.architecture": (b.STR, "llama"), "llama.block_count": (b.U32, 4), "llama.embedding_length": (b.U32, 64),
    "llama.context_length": (b.U32, 128), "llama.attention.head_count": (b.U32, 8),
}  # fmt: skip
TENSORS = [b.tensor("token_embd.weight", (64, 10))]


def keys_of(changes=None, tensors=TENSORS, data=bytes(4 * 640)):
    """Of LLAMA with other values, or lists of them, by their keys without the architecture; None: without the key."""
    pairs = LLAMA | {f"llama.{key}": value for key, value in (changes or {}).items()}
    rows = [
        b.array(key, *pair) if isinstance(pair[1], list) else b.kv(key, *pair) for key, pair in pairs.items() if pair
    ]
    content = b.gguf(rows, tensors, data)
    return Keys(open_header(content, len(content), "m.gguf"))


def config_of(window: Window | None = None, n_loops: int = 1, **changes: Any) -> Config:
    return read_config(keys_of({k.replace("__", "."): v for k, v in changes.items()}), window, n_loops)


def test_what_a_file_does_not_say():
    c = config_of()
    assert (c.n_head, c.n_head_kv, c.n_rot, c.n_embd_head_k) == ((8,) * 4, (8,) * 4, (8,) * 4, (8,) * 4)
    assert (c.n_vocab, c.n_expert, c.n_expert_groups, c.window, c.swa_layers) == (10, 0, 0, None, (False,) * 4)
    assert c.scaling.n_ctx_orig == 128


def test_a_vocabulary_of_one_token_may_be_a_vector():
    keys = keys_of(tensors=[b.tensor("output.weight", (64,))], data=bytes(256))
    assert read_config(keys).n_vocab == 1


def test_there_must_be_an_embedding():
    with pytest.raises(FormatError, match=r"m\.gguf: tensor token_embd\.weight: is missing"):
        read_config(keys_of(tensors=[], data=b""))


def test_numbers_a_layer():
    c = config_of(attention__head_count=(b.U32, [8, 8, 4, 0, 9]), attention__head_count_kv=(b.U32, [8, 2, 4, 0]))
    assert (c.n_head, c.n_head_kv) == ((8, 8, 4, 0), (8, 2, 4, 0))
    assert keys_of({"swiglu_clamp_exp": (b.F32, [1.5, -2.0])}).numbers_per_layer("swiglu_clamp_exp", 2) == (1.5, -2.0)
    assert keys_of({"swiglu_clamp_exp": (b.F32, 1.5)}).numbers_per_layer("swiglu_clamp_exp", 2) == (1.5, 1.5)
    low = keys_of({"activation_sparsity_scale": (b.F32, [float("-inf"), 1.0])})
    assert low.numbers_per_layer("activation_sparsity_scale", 2, minus_infinity=True) == (float("-inf"), 1.0)
    with pytest.raises(FormatError, match="is -inf, must be finite"):
        low.numbers_per_layer("activation_sparsity_scale", 2)


def test_lists():
    keys = keys_of({"sizes": (b.U32, [3, 4, 5]), "flags": (b.BOOL, [True, False]), "one": (b.U32, 7)})
    assert keys.array("sizes", 2) == [3, 4]
    assert keys.array("flags", 2) == [True, False]
    for key, problem in (("none", "is missing"), ("one", "is 7 .*must be an array"), ("sizes", "3.*9")):
        with pytest.raises(FormatError, match=rf"llama\.{key}: .*{problem}"):
            keys.array(key, 9)


def test_numbers_that_may_not_be_negative():
    key = "hyper_connection.epsilon"
    assert keys_of({key: (b.F32, 0.0)}).at_least_0(key) == 0.0
    with pytest.raises(FormatError, match=r"llama\.hyper_connection\.epsilon: is -1\.0, must be 0 or more"):
        keys_of({key: (b.F32, -1.0)}).at_least_0(key)
    with pytest.raises(FormatError, match=r"logit_scale: is 0\.0, must be above 0"):
        keys_of({"logit_scale": (b.F32, 0.0)}).real("logit_scale")


@pytest.mark.parametrize(
    ("window", "pattern", "swa"),
    [
        (Window(8, 2), None, (True, False, True, False)),
        (Window(8, 3, dense_first=True), None, (False, True, True, False)),
        (Window(8, 0), None, (True,) * 4),
        (Window(8, 2), (b.U32, 4), (True, True, True, False)),
        (Window(8, 2), (b.BOOL, [1, 0, 0, 1]), (True, False, False, True)),
        (Window(8, 2), (b.U32, [1, 0, 0, 1, 1]), (True, False, False, True)),
    ],
)
def test_layers_with_a_window(window, pattern, swa):
    c = config_of(window, attention__sliding_window_pattern=pattern, attention__key_length_swa=(b.U32, 16))
    assert c.swa_layers == swa
    assert c.n_embd_head_k == tuple(16 if s else 8 for s in swa)


def test_groups_of_experts():
    many: dict[str, Any] = {
        "expert_count": (b.U32, 8),
        "expert_used_count": (b.U32, 2),
        "expert_group_used_count": (b.U32, 2),
    }
    c = config_of(**many, expert_group_count=(b.U32, 4))
    assert (c.n_expert_groups, c.n_group_used) == (4, 2)
    assert config_of(**many, expert_group_count=(b.U32, 1)).n_expert_groups == 0
    with pytest.raises(FormatError, match="expert_group_count: is 3, must divide expert_count, 8"):
        config_of(**many, expert_group_count=(b.U32, 3))


def test_layers_that_are_applied_again_count_again():
    assert config_of(n_loops=256).n_layer == 1024
    with pytest.raises(FormatError, match="block_count: 4 layers are applied 257 times, the limit is 1024"):
        config_of(n_loops=257)


def test_no_heads_at_all():
    c = config_of(attention__head_count=None)
    assert (c.n_head, c.n_embd_head_k, c.n_rot) == ((0,) * 4, (0,) * 4, (0,) * 4)


def test_a_scaling_of_no_kind_has_no_factor():
    scaling: dict[str, Any] = {"rope__scaling__factor": (b.F32, 4.0)}
    assert config_of(**scaling).scaling.factor == 4.0
    assert config_of(**scaling, rope__scaling__type=(b.STR, "none")).scaling.factor == 1.0
    with pytest.raises(UnsupportedError, match=r"rope\.scaling\.type: is 'x\\n'; supported: none, linear, yarn"):
        config_of(rope__scaling__type=(b.STR, "x\n"))
