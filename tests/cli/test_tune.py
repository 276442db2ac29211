"""`localllm tune`, and what a first start measures."""

import json

import pytest

from localllm.errors import FileError
from localllm.kernels import variants
from localllm.kernels.variants import Choice
from localllm.tools import variants as races
from tests import tiny_models

READS = ("matvec", "q8_0")


@pytest.fixture(autouse=True)
def _nothing_is_kept(monkeypatch, tmp_path):
    """Nor pinned."""
    monkeypatch.delenv(variants.PINNED)
    monkeypatch.setattr(variants, "_FILE", f"../{tmp_path.name}-choices")
    variants.choices.cache_clear()
    yield
    variants.forget()


@pytest.fixture
def model(tmp_path):
    return tiny_models.write(tmp_path / "m.gguf", "llama", "Q8_0")


@pytest.fixture
def asked(monkeypatch):
    """What was to be measured, and how."""
    calls = []

    def race(wanted, n_threads, say, seconds=None):
        calls.append((wanted, n_threads, seconds))
        return {pair: Choice("x", {"d": 10.0, "x": 11.0}) for pair in wanted[:1]}

    monkeypatch.setattr(races, "race", race)
    return calls


def test_tune_measures_the_formats_of_a_model(call, model, asked):
    result = call("tune", str(model), "-t", "1")
    assert asked == [(variants.of_formats(["q8_0"]), 1, None)]
    assert "| q8_0 | x | 1.10 | d: 10.0, x: 11.0" in result.out
    assert "Kept for this processor" in result.err
    rows = json.loads(call("tune", str(model), "-o", "json").out)
    assert rows[0] == {**rows[0], "format": "q8_0", "variant": "x", "gain": 1.1, "speeds": {"d": 10.0, "x": 11.0}}


def test_tune_measures_all_formats(call, asked):
    call("tune", "--all")
    assert {fmt for _, fmt in asked[0][0]} >= {"q4_k", "iq1_s", "f16"}


def test_tune_forgets(call):
    assert call("tune", "--forget").out == "nothing was kept\n"
    variants.keep({READS: Choice(2048)})
    assert call("tune", "--forget").out == "forgotten\n"
    assert variants.choices() == {}


@pytest.mark.parametrize("arguments", [("--all", "m.gguf"), ("--forget", "--all"), ("--forget", "m.gguf")])
def test_tune_refuses_what_does_not_go_together(call, arguments):
    result = call("tune", *arguments)
    assert result.status == 2
    assert result.err.startswith("localllm: --all takes no model, and --forget takes neither")


def test_tune_tells_where_variants_are_pinned(call, model, asked, monkeypatch):
    monkeypatch.setenv(variants.PINNED, "default")
    assert (
        call("tune", str(model)).err
        == "Kept for this processor; later starts use it, once LOCALLLM_VARIANTS is unset.\n"
    )


def test_a_first_start_measures_once(call, model, asked):
    call("bench", "-m", str(model), "-p", "4", "-n", "0", "-r", "1", "-t", "1")
    assert asked == [(variants.of_formats(["q8_0"]), 1, races.SECONDS)]
    variants.keep({pair: Choice(variants.of_format(*pair)[0]) for pair in variants.of_formats(["q8_0"])})
    call("bench", "-m", str(model), "-p", "4", "-n", "0", "-r", "1", "-t", "1")
    assert len(asked) == 1


@pytest.mark.parametrize("error", [FileError("kernels: compiled kernels cannot be kept"), MemoryError()])
def test_a_start_goes_on_where_nothing_can_be_measured(call, model, monkeypatch, error):
    """A cache that is read alone may hold all that the defaults need."""

    def race(*_):
        raise error

    monkeypatch.setattr(races, "race", race)
    result = call("bench", "-m", str(model), "-p", "4", "-n", "0", "-r", "1", "-t", "1")
    assert result.status == 0
    assert "pp4" in result.out
    assert result.err.startswith("variants of kernels were not measured: ")
    assert result.err.count("\n") == 1


def test_choices_that_cannot_be_removed_are_told(call, monkeypatch, tmp_path):
    monkeypatch.setattr(variants, "_FILE", str(tmp_path))
    result = call("tune", "--forget")
    assert result.status == 1
    assert result.err.startswith(f"localllm: {tmp_path}: cannot be removed")
    monkeypatch.setattr(variants, "_FILE", "no-such-file")
