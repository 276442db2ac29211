"""What the limits are, and the work that is held beside them."""

from localllm.generate.session import Model
from localllm.tools import bench, limits
from tests import tiny_models


def test_limits_of_this_machine(monkeypatch):
    monkeypatch.setattr(limits, "_MEGABYTES", 4)
    top = limits.measured(2)
    assert top["gb_s"] > 0
    assert top["gmac_s"] > 0


def test_work_of_a_tiny_model(tmp_path):
    """Every weight once a token, the output's for those whose logits are wanted; and the cells that are read."""
    path = tiny_models.write(tmp_path / "m.gguf", "llama", "Q8_0")
    shapes = {name: s for name, s in tiny_models.shapes("llama").items() if len(s) == 2}
    output = shapes.pop("output.weight")
    del shapes["token_embd.weight"]
    products = sum(a * b for a, b in shapes.values()), output[0] * output[1]
    d = tiny_models.dimensions("llama")
    with Model.load(path, n_ctx=64) as model:
        generated = limits.work(model, bench.Test(0, 5, 100, 512, None))
        prompt = limits.work(model, bench.Test(20, 0, 0, 8, None))
    seen = sum(range(101, 106))
    cell = d["n_layer"] * d["n_head_kv"] * 2 * d["head"] * 2
    assert generated[0] == 5 * sum(products) // 32 * 34 + seen * cell
    heads = d["n_layer"] * d["n_head"] * 2 * d["head"]
    assert generated[1] == 5 * sum(products) + seen * heads
    assert prompt[1] == 20 * products[0] + 3 * products[1] + sum(range(1, 21)) * heads
