"""Looking inside a forward pass: the same bits as without, the right numbers, and edits that reach what follows."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import localllm
from localllm.errors import ContextFullError, UnsupportedError, UsageError
from localllm.kernels.cells import CODE_BITS, KV_TYPES
from localllm.model.model import LoadedModel
from tests import tiny_models
from tests.recorded import models

INSIDE = (Path(__file__).parents[2] / "docs/inside.md").read_text()
IDS = [int(i) for i in np.random.default_rng(5).integers(0, tiny_models.N_VOCAB, 40)]
ATTENTION = (
    "llama", "gemma2", "gemma3", "gpt-oss", "bloom", "mpt", "t5encoder", "qwen2", "cohere2", "llama4", "olmo2-windows",
)  # fmt: skip
"""Windows, chunks, sinks, caps, ALiBi, biases by distance, both directions."""


@pytest.fixture
def llama(tmp_path):
    with LoadedModel.load(tiny_models.write(tmp_path / "m.gguf", "llama"), n_ctx=256, n_threads=2) as model:
        yield model


def recorded(name: str, folder: Path, **options) -> LoadedModel:
    path = models.write(folder / "m.gguf", models.cases()[name])
    return LoadedModel.load(path, n_ctx=models.N_CTX, n_threads=2, **options)


@pytest.mark.parametrize("name", models.cases())
def test_the_same_bits(name, tmp_path):
    """With all points read, in batches of many rows, of a few, and of one."""
    case = models.cases()[name]
    with recorded(name, tmp_path) as model:
        if case.poolings:
            if model.network.output_norm and not model.network.pooling.dense:
                with model.trace("*", n_batch=64) as t:
                    t.feed(models.IDS)
                    assert np.array_equal(t["result_norm"], model.hidden_states(models.IDS))
            return
        exact = model.logits(models.IDS)
        for n_batch, n in ((33, 40), (5, 10), (1, 3)) if model.network.causal else ((64, 40),):
            with model.trace("*", n_batch=n_batch) as t:
                for i in range(0, n, n_batch):
                    ids = models.IDS[i : min(n, i + n_batch)]
                    assert np.array_equal(t.forward(ids, want_logits=[True] * len(ids)), exact[i : i + len(ids)])


@pytest.mark.parametrize("fmt", ["F32", "Q4_1", "Q8_0"])
def test_nobody_notices(tmp_path, fmt):
    """The plan of a context is the same whether something was traced or not."""
    with LoadedModel.load(tiny_models.write(tmp_path / "m.gguf", "llama", fmt), n_ctx=256) as model:
        context = model.context()
        exact = context.forward(IDS)
        (plan, head) = (context.plans["body", 512], context.plans["head", 1])
        before = plan.ops.tobytes(), head.ops.tobytes(), plan.blocks.tobytes(), head.blocks.tobytes()
        with model.trace("*") as t:
            assert np.array_equal(t.forward(IDS), exact)
        context.clear()
        assert np.array_equal(context.forward(IDS), exact)
        assert before == (plan.ops.tobytes(), head.ops.tobytes(), plan.blocks.tobytes(), head.blocks.tobytes())
        context.close()


def test_numbers(llama):
    """Each product's output is that of its input, and the stream is the sum of what is added to it."""
    w = tiny_models.weights("llama")
    with llama.trace("*") as t:
        logits = t.forward(IDS, want_logits=[True] * len(IDS))
        products = [name for name in t.names if name.endswith(".input") and f"{name[:-6]}.output" in t.names]
        assert len(products) == 7 * 3
        for name in products:
            exact = t[name].astype(np.float64) @ w[f"{name[:-6]}.weight"].T.astype(np.float64)
            assert np.allclose(t[f"{name[:-6]}.output"], exact, rtol=1e-4, atol=1e-4), name
        stream = t["inp_embd"]
        for i in range(3):
            stream = (stream + t[f"blk.{i}.attn_output.output"]) + t[f"blk.{i}.ffn_down.output"]
            assert np.array_equal(t[f"l_out-{i}"], stream)
            assert np.array_equal(t[f"blk.{i}.attn_norm"], t[f"blk.{i}.attn_v.input"])
        assert np.array_equal(t["logits"], logits)
        assert np.array_equal(t["result_norm"], t["output.input"])
        assert np.array_equal(t.unembed(stream), logits)
        assert llama.taps()["blk.1.ffn_down.input"] == ("n_rows", 320)


@pytest.mark.parametrize("kv_type", KV_TYPES)
@pytest.mark.parametrize("name", ATTENTION)
def test_shares_of_attention(name, kv_type, tmp_path):
    """The values, weighted by them, are what attention gives."""
    bound = {"f32": 1e-5, "f16": 2e-3, "q8_0": 3e-2, "q4_0": 0.5}[kv_type]
    with recorded(name, tmp_path) as model:
        heads = (*model.config.n_embd_head_k, *model.config.n_embd_head_v)
    if kv_type in CODE_BITS and any(n % 32 for n in heads):
        with pytest.raises(UnsupportedError, match=rf"kv_type {kv_type} needs multiples of 32"):
            recorded(name, tmp_path, kv_type=kv_type)
        return
    with recorded(name, tmp_path, kv_type=kv_type) as model:
        ids = models.ids_of(models.cases()[name].n_ids)[:512]
        assert [p for p in model.taps() if p.endswith("attn_scores")]
        layers = [i for i in range(model.config.n_layer) if f"blk.{i}.attn_scores" in model.taps()][:3]
        with model.trace(*(f"*blk.{i}.attn*" for i in layers), n_batch=512, n_ctx=512) as t:
            t.feed(ids)
            for i in layers:
                check_attention(t, i, model.config, bound)


def check_attention(t, i: int, c, bound: float) -> None:
    n_kv = c.n_head_kv[i]
    prefix = next(
        name for name in t.names if name.endswith(f"blk.{i}.attn_q.input") or name.endswith(f"blk.{i}.attn_qkv.input")
    )
    prefix = prefix[: prefix.index("blk.")]
    shares = t[f"blk.{i}.attn_scores"]
    n_head, n_v = shares.shape[1], c.n_embd_head_v[i]
    if f"{prefix}blk.{i}.attn_v.output" in t.names:
        v = t[f"{prefix}blk.{i}.attn_v.output"]
    else:
        v = t[f"{prefix}blk.{i}.attn_qkv.output"][:, -n_kv * n_v :]
    if clamp := c.keys.number("attention.clamp_kqv", 0.0):  # in place, after the product
        v = v.clip(-clamp, clamp)
    v = np.repeat(v.reshape(len(v), n_kv, n_v), n_head // n_kv, axis=1)
    out = next(name for name in t.names if re.fullmatch(rf".*blk\.{i}\.attn_o(utput)?\.input", name))
    exact = np.einsum("rhs,shd->rhd", shares, v).reshape(len(v), -1)
    scale = np.abs(exact).max()
    assert np.abs(t[out] - exact).max() < bound * scale


def test_edits_reach_what_follows(llama):
    exact = llama.logits(IDS)
    with llama.trace() as t:
        t.edit("*.input", lambda x: x)
        t.edit("*.output", lambda x: x + np.float32(-0.0))
        assert np.array_equal(t.forward(IDS, want_logits=[True] * 40), exact)
    with llama.trace("l_out-1") as t:
        t.edit("blk.1.ffn_down.input", np.zeros_like)
        by_input = t.forward(IDS), t["l_out-1"]
        t.clear()
    with llama.trace("l_out-1", "blk.1.ffn_down.output") as t:
        t.edit("blk.1.ffn_down.output", np.zeros_like)
        by_output = t.forward(IDS), t["l_out-1"]
        assert not t["blk.1.ffn_down.output"].any()
    assert all(np.array_equal(a, b) for a, b in zip(by_input, by_output, strict=True))
    assert not np.array_equal(by_input[0][0], exact[-1])
    with llama.trace() as t:
        t.edit("logits", lambda x: x + 1)
        t.edit("l_out-2", lambda x: x)
        assert np.array_equal(t.forward(IDS)[0], exact[-1] + 1)


def test_feed_joins_batches_and_partial_ends_early(llama):
    with llama.trace("blk.0.ffn_down.input", "result_norm", n_batch=7) as t:
        t.feed(IDS)
        parts = t["blk.0.ffn_down.input"], t["result_norm"]
        assert parts[0].shape == (40, 320)
        assert np.array_equal(t.unembed(np.zeros((0, 256))), np.zeros((0, tiny_models.N_VOCAB)))
    seen = []
    with llama.trace("blk.0.ffn_down.input", partial=True) as t:
        t.on("blk.0.ffn_*.input", lambda name, x: seen.append((name, x.shape)))
        t.feed(IDS)
        assert np.array_equal(t["blk.0.ffn_down.input"], parts[0])
        assert "body" in {part for part, _ in t.context.plans}
        assert "head" not in {part for part, _ in t.context.plans}
        with pytest.raises(UsageError, match="partial"):
            t.forward(IDS)
    assert seen[-1] == ("blk.0.ffn_down.input", (40, 320))
    assert ["blk.0.ffn_gate.input", "blk.0.ffn_up.input"] in t.shared()


def test_several_sequences(llama):
    with llama.trace("l_out-2", "blk.0.attn_scores", n_seq=2) as t:
        t.forward([1, 2, 3, 4, 5], seq_ids=[1, 0, 1, 0, 0])
        together, shares = t["l_out-2"], t["blk.0.attn_scores"]
        assert shares.shape == (5, 6, 3)
        assert not shares[2, :, 2].any()
        t.clear()
        t.forward([1, 3], seq_ids=[1, 1])
        assert np.array_equal(t["l_out-2"], together[[0, 2]])


@pytest.mark.parametrize("name", ["olmoe", "gpt-oss", "llama4"])
def test_experts(name, tmp_path):
    """Rows, and the experts that they go to, against products in NumPy."""
    case = models.cases()[name]
    with recorded(name, tmp_path) as model:
        i = next(i for i in range(9) if f"blk.{i}.ffn_down_exps.input" in model.taps())
        with model.trace(f"blk.{i}.ffn_*_exps.*", f"blk.{i}.ffn_norm") as t:
            t.forward(models.IDS)
            down, out = f"blk.{i}.ffn_down_exps.input", t[f"blk.{i}.ffn_down_exps.output"]
            experts, n_used = t.experts(down), t[down].shape[1]
            assert experts.shape == (40, n_used)
            assert t.n_experts(down) == case.tensors[f"blk.{i}.ffn_down_exps.weight"][2] > experts.max()
            w = models.tensor(
                f"blk.{i}.ffn_down_exps.weight", case.tensors[f"blk.{i}.ffn_down_exps.weight"], case.scales
            )
            exact = np.einsum("rsk,rsnk->rsn", t[down], w[experts])
            if bias := case.tensors.get(f"blk.{i}.ffn_down_exps.bias"):
                exact += models.tensor(f"blk.{i}.ffn_down_exps.bias", bias, case.scales)[experts]
            assert np.allclose(out, exact, rtol=1e-3, atol=1e-4)
        with model.trace() as t:
            t.edit(f"blk.{i}.ffn_*_exps.*", lambda x: x)
            assert np.array_equal(t.forward(models.IDS), model.logits(models.IDS)[-1:])


def test_wrong_names_and_edits(llama):
    for pattern, near in (("blk.0.ffn_dwn.input", "blk.0.ffn_down.input"), ("nothing", "inp_embd"), ("", "inp_embd")):
        with pytest.raises(UsageError, match=re.escape(near)):
            llama.trace(pattern)
    with llama.trace("l_out-0", n_batch=40) as t:
        with pytest.raises(UsageError, match="name it in trace"):
            t["l_out-1"]
        with pytest.raises(UsageError, match="run forward"):
            t["l_out-0"]
        with pytest.raises(UsageError, match="cannot be edited"):
            t.edit("blk.0.attn_*", lambda x: x)
        with pytest.raises(UsageError, match="no experts"):
            t.experts("l_out-0")
        with pytest.raises(UsageError, match="1 to 40 rows, not 41"):
            t.forward([*IDS, 1])
        t.edit("l_out-0", lambda x: x[:1])
        with pytest.raises(
            UsageError, match=r"the edit of l_out-0 gave float32 \[1, 256\], must give float32 \[40, 256\]"
        ):
            t.forward(IDS)
        assert t.context.n_past(0) == 0
    with llama.trace("l_out-0") as t, pytest.raises(ContextFullError):
        t.feed(IDS * 20)


def test_an_encoder_has_no_logits(tmp_path):
    with recorded("bert", tmp_path) as model, model.trace("result_norm" if "result_norm" in model.taps() else "*") as t:
        t.feed(models.IDS)
        with pytest.raises(UnsupportedError, match="no logits"):
            t.unembed(np.zeros((1, 8), np.float32))


BLOCKS = re.findall(r"```python\n(.*?)```", INSIDE, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS[1:], ids=["statistics", "lens", "steering"])
def test_examples(llama, block, capsys):
    llama.__dict__["tokenizer"] = SimpleNamespace(decode=str)
    exec(compile(block, "docs/inside.md", "exec"), {"np": np, "model": llama, "tokens": IDS[:12]})
    assert capsys.readouterr().out
    assert len([line for line in block.splitlines() if line.strip()]) <= 12


@pytest.mark.real
def test_examples_on_a_real_model(capsys, monkeypatch):
    folder = Path("~/.cache/localllm-test-models").expanduser()
    if not (folder / "smollm2-135m-instruct-q4_1.gguf").exists():
        pytest.skip("needs the real models of ~/.cache/localllm-test-models")
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, "docs/inside.md", "exec"), names)
    out = capsys.readouterr().out
    assert "l_out-29 ' Rome'" in out
    model = names["model"]
    assert isinstance(model, localllm.Model)
    model.close()
