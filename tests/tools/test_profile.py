"""The profile of a pass: every operation is in it once, and its shares add up."""

import pytest

from localllm.generate.session import Model
from localllm.tools import profile
from tests import tiny_models
from tests.recorded import models


@pytest.mark.parametrize(("n_rows", "n_depth"), [(1, 0), (12, 0), (1, 600), (17, 40)])
def test_profile_of_a_tiny_model(tmp_path, n_rows, n_depth):
    path = tiny_models.write(tmp_path / "m.gguf", "llama", "Q8_0")
    with Model.load(path, n_threads=2) as model:
        rows = profile.profile(model, n_rows, 3, n_depth)
    assert sum(row.share for row in rows) == pytest.approx(1)
    assert all(row.seconds > 0 for row in rows)
    shapes = {name: s for name, s in tiny_models.shapes("llama").items() if len(s) == 2}
    del shapes["token_embd.weight"]
    tokens = {name: 1 if name == "output.weight" else n_rows for name in shapes}
    d = tiny_models.dimensions("llama")
    seen = sum(range(n_depth + 1, n_depth + n_rows + 1))
    macs = sum(tokens[name] * a * b for name, (a, b) in shapes.items())
    assert sum(row.n_macs for row in rows) == macs + d["n_layer"] * d["n_head"] * 2 * d["head"] * seen
    cells = d["n_layer"] * d["n_head_kv"] * 2 * d["head"] * 2 * (n_depth + n_rows)
    assert sum(row.n_bytes for row in rows) == sum(a * b // 32 * 34 for a, b in shapes.values()) + cells
    assert len(list(profile.markdown(rows))) == len(rows) + 2


@pytest.mark.parametrize(("name", "top_k"), [("deepseek2-wide", 1 << 20), ("deepseek32", 8)])
@pytest.mark.parametrize(("n_rows", "n_depth"), [(1, 300), (17, 40)])
def test_latents_and_matrices_of_heads(tmp_path, name, top_k, n_rows, n_depth):
    """Latents are read once, all or those that were chosen; each head has a matrix before the scores and one after."""
    case = models.cases()[name]
    path = models.write(tmp_path / "m.gguf", case)
    with Model.load(path, n_threads=2) as model:
        rows = {row.kind: row for row in profile.profile(model, n_rows, 1, n_depth)}
    kv, n_layer = case.kv, case.kv["block_count"]
    n_head, rank, n_rot = (
        kv[f"{key}"] for key in ("attention.head_count", "attention.kv_lora_rank", "rope.dimension_count")
    )
    seen = [min(position + 1, top_k) for position in range(n_depth, n_depth + n_rows)]
    (attention,) = (row for kind, row in rows.items() if kind.startswith("latent_attention-cells"))
    assert attention.n_macs == n_layer * n_head * sum(seen) * (2 * rank + n_rot)
    assert attention.n_bytes == n_layer * 2 * (rank + n_rot) * min(n_depth + n_rows, seen[0] + n_rows - 1)
    products = [row for kind, row in rows.items() if kind.startswith("heads-") and row.n_macs]
    shapes = [case.tensors[f"blk.0.attn_{matrix}.weight"] for matrix in ("k_b", "v_b")]
    assert sum(row.n_macs for row in products) == n_rows * n_layer * sum(a * b * n for a, b, n in shapes)
