"""The profile of a pass: every operation is in it once, and its shares add up."""

import pytest

from localllm.model.model import Model
from localllm.tools import profile
from tests import tiny_models


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
