"""`localllm perplexity` on a tiny model."""

from __future__ import annotations

import json

import pytest

from tests.generate.test_chat_states import VOCABULARY
from tests.recorded import models
from tests.tools.test_perplexity import N_CTX, TEXT


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return models.write(tmp_path_factory.mktemp("ppl") / "m.gguf", models.cases()["lfm2"], **VOCABULARY)


def test_the_command(call, path, tmp_path):
    text, base = tmp_path / "text.txt", tmp_path / "base.kld"
    text.write_text(TEXT)
    done = call("perplexity", path, "-f", text, "-c", N_CTX, "--kl-divergence-base", base)
    assert done.status == 0
    assert done.out.startswith("PPL = ")
    done = call("perplexity", path, "-f", text, "-c", N_CTX, "--chunks", 2, "-o", "json")
    assert json.loads(done.out)["n_tokens"] == 2 * (N_CTX // 2 - 1)
    done = call("perplexity", path, "--kl-divergence", "--kl-divergence-base", base)
    assert "KL divergence statistics" in done.out
    done = call("perplexity", path, "--kl-divergence", "--kl-divergence-base", base, "-o", "json")
    assert json.loads(done.out)["mean_kld"] < 1e-6


@pytest.mark.parametrize(
    ("arguments", "status", "what"),
    [
        ((), 2, "-f FILE"),
        (("-f", "missing.txt"), 1, "missing.txt"),
        (("--kl-divergence",), 2, "--kl-divergence-base"),
        (("--kl-divergence", "--kl-divergence-base", "x", "-c", "32"), 2, "have no use"),
        (("--kl-divergence", "--kl-divergence-base", "missing.kld"), 1, "missing.kld"),
        (("-f", "x", "--ppl-stride", "8", "--kl-divergence-base", "x"), 2, "--ppl-stride"),
    ],
)
def test_wrong_usage(call, path, arguments, status, what):
    done = call("perplexity", path, *arguments)
    assert done.status == status
    assert what in done.err
    assert done.err.count("\n") == 1
