from __future__ import annotations

import io
import math

import click
import pytest
from click.testing import CliRunner

from localllm.cli import common
from localllm.cli.common import (
    GENERATION,
    OPTIONS,
    SIZE,
    SIZE_OR_NONE,
    Generation,
    Progress,
    note,
    one_model,
)
from localllm.errors import UsageError
from localllm.generate.params import Sampling
from localllm.generate.stats import Stats
from localllm.kernels.cells import KV_TYPES
from localllm.model.group_sums import PRECISIONS
from tests.generate.fake import FakeModel

TEXT = "Compiling kernels for this processor (happens once)"


class Stream(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


def generation(*args):
    @click.command()
    @common.options(*GENERATION)
    def command(**given):
        return Generation.of(given)

    return command.main(args, standalone_mode=False)


class TestProgress:
    def test_a_terminal_sees_one_line_that_goes_away(self):
        stream = Stream(terminal=True)
        progress = Progress(stream)
        for done in range(12):
            progress(TEXT, done, 11)
        assert stream.getvalue().startswith(f"\r{TEXT}: 0/11\r{TEXT}: 1/11")
        assert "\n" not in stream.getvalue()
        assert stream.getvalue().endswith("\r" + " " * len(f"{TEXT}: 11/11^C") + "\r")

    def test_elsewhere_the_first_and_the_last_line(self):
        stream = Stream(terminal=False)
        progress = Progress(stream)
        for done in range(18):
            progress(TEXT, done, 17)
        assert stream.getvalue().splitlines() == [f"{TEXT}: 0/17", f"{TEXT}: 17/17"]

    def test_and_one_now_and_then(self):
        stream = Stream(terminal=False)
        progress = Progress(stream)
        progress.interval = 0.0
        for done in range(3):
            progress(TEXT, done, 17)
        assert len(stream.getvalue().splitlines()) == 3

    def test_time_left(self, monkeypatch):
        stream, seconds = Stream(terminal=False), [0.0]
        monkeypatch.setattr("time.monotonic", lambda: seconds[0])
        progress = Progress(stream)
        progress.interval = 0.0
        for done, now in ((0, 0), (1, 2), (2, 80), (4, 160), (5, 200), (1, 300), (2, 400)):
            seconds[0] = now
            progress(TEXT, done, 5)
        ends = ["0/5", "1/5", "2/5, 2:00 left", "4/5, 0:40 left", "5/5", "1/5", "2/5, 5:00 left"]
        assert stream.getvalue().splitlines() == [f"{TEXT}: {end}" for end in ends]


class TestStatistics:
    def test_line(self):
        stats = Stats(41, 0, 41 / 310.2, 128, 127 / 45.1, 127, "stop")
        assert str(stats) == "[ prompt 41 tokens, 310.2 t/s | answer 128 tokens, 45.1 t/s ]"

    def test_what_was_kept_and_why_it_ended(self):
        stats = Stats(41, 20, 0.1, 2, 0.1, 1, "length")
        assert str(stats) == "[ prompt 41 tokens (20 kept), 210.0 t/s | answer 2 tokens, 10.0 t/s | ended by -n ]"

    def test_nothing_to_measure(self):
        assert (
            str(Stats(prompt_tokens=5, answer_tokens=1, stop_reason="cancelled"))
            == "[ prompt 5 tokens | answer 1 tokens | stopped ]"
        )


def test_defaults_are_the_samplers():
    settings = generation()
    assert settings == Generation({"seed": None}, None, None, None, 512, False, "f16")
    assert settings.sampling(FakeModel()) == Sampling()


def test_llama_cpps_flags():
    got = generation(
        *("-n", "5", "-c", "64", "-t", "3", "-b", "32", "--temp", "0.5", "--top-k", "7", "--top-p", "0.5"),
        *("--min-p", "0.1", "--repeat-penalty", "1.1", "--repeat-last-n", "-1", "--seed", "42", "--swa-full"),
        *("--kv-type", "q8_0"),
    )
    sampling = Sampling(0.5, 7, 0.5, 0.1, 1.1, -1, 42)
    assert got == Generation(got.given, 5, 64, 3, 32, True, "q8_0")
    assert got.sampling(FakeModel()) == sampling


def test_types_of_the_cache_are_those_that_kernels_have():
    assert tuple(common.OPTIONS["kv_type"][2]["type"].choices) == KV_TYPES


def test_precisions_are_those_of_models():
    assert tuple(common.OPTIONS["precision"][2]["type"].choices) == PRECISIONS


def test_the_rest_of_the_sampler():
    got = generation(
        *("--frequency-penalty", "0.1", "--presence-penalty", "0.2", "--top-nsigma", "1.5", "--typical", "0.9"),
        *("--xtc-probability", "0.3", "--xtc-threshold", "0.2", "--dynatemp-range", "0.4", "--dynatemp-exp", "2"),
        *("--dry-multiplier", "0.8", "--dry-base", "2", "--dry-allowed-length", "3", "--dry-penalty-last-n", "-1"),
        *("--dry-sequence-breaker", "none", "--dry-sequence-breaker", r"\n", "--dry-sequence-breaker", "a\\b"),
        *("--mirostat", "2", "--mirostat-lr", "0.2", "--mirostat-ent", "4", "--adaptive-target", "0.5"),
        *("--adaptive-decay", "0.7", "-l", "5+1.5", "--logit-bias", "7-inf", "--logit-bias", "5-1"),
        *("--samplers", "dry;top-k;temp"),
    )
    assert got.sampling(FakeModel()) == Sampling(
        frequency_penalty=0.1, presence_penalty=0.2, top_n_sigma=1.5, typical_p=0.9, xtc_probability=0.3,
        xtc_threshold=0.2, dynatemp_range=0.4, dynatemp_exponent=2.0, dry_multiplier=0.8, dry_base=2.0,
        dry_allowed_length=3, dry_penalty_last_n=-1, dry_sequence_breakers=("\n", "a\\b"), mirostat=2,
        mirostat_eta=0.2, mirostat_tau=4.0, adaptive_target=0.5, adaptive_decay=0.7,
        logit_bias={5: 0.5, 7: -math.inf}, samplers=("dry", "top_k", "temperature"),
    )  # fmt: skip


@pytest.mark.parametrize("text", ["5", "5=1", "a+1", "5+x", "5+nan", "+1", "5+-1e", "-5+1"])
def test_what_is_no_bias(text):
    with pytest.raises(UsageError, match="write 15043"):
        generation("--logit-bias", text)


def test_what_was_given_comes_before_what_the_file_says():
    model = FakeModel()
    model.default_sampling = Sampling(temperature=0.1, top_k=3, min_p=0.3)
    got = generation("--top-k", "40", "--temp", "0.8").sampling(model)
    assert got == Sampling(temperature=0.8, top_k=40, min_p=0.3)


def test_what_is_out_of_range_is_refused_before_a_model_is_loaded():
    with pytest.raises(UsageError, match="dynatemp_range is -1"):
        generation("--dynatemp-range", "-1")
    with pytest.raises(UsageError, match="samplers names 'beam'"):
        generation("--samplers", "beam")


def test_help_has_a_section_for_the_sampler():
    from localllm.cli.run import command

    text = CliRunner().invoke(command, ["--help"]).output
    options, sampling, more = (text.index(title) for title in ("\nOptions:", "\nSampling", "\nMore sampling:"))
    assert options < text.index("--ctx-size") < sampling < text.index("  --temp") < more < text.index("--mirostat")


@pytest.mark.parametrize(
    "name", [name for name, (_, env, _) in OPTIONS.items() if env and name in {*GENERATION} - {"memory_check"}]
)
def test_every_option_has_a_variable(monkeypatch, name):
    value = {"batch_size": "9", "kv_type": "f32", "logit_bias": "1+1 2-1", "samplers": "dry", "xtc_threshold": "0.2",
             "adaptive_decay": "0.5", "cache_size": "1M", "precision": "high"}.get(name, "1")  # fmt: skip
    defaults = generation()
    monkeypatch.setenv(f"LOCALLLM_{name.upper()}", value)
    assert generation() != defaults


def test_where_prompts_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("LOCALLLM_CACHE", str(tmp_path))
    options = generation().cache()
    assert (options.folder, options.disk_bytes, options.memory_bytes) == (tmp_path / "prompts", 2 * 10**9, 0)
    given = generation("--cache-dir", str(tmp_path / "mine"), "--cache-size", "300M")
    assert (given.cache().folder, given.cache().disk_bytes) == (tmp_path / "mine", 3 * 10**8)
    assert generation("--no-cache", "--cache-dir", "x").cache() is None
    given.cache().on_note("full")
    assert given.notes == ["full"]


def test_one_model():
    assert one_model("a", None) == one_model(None, "a") == "a"
    assert one_model(None, None) is None
    with pytest.raises(UsageError, match="twice"):
        one_model("a", "b")


@pytest.mark.parametrize(
    ("terminal", "no_color", "term", "dim"),
    [
        (True, None, "xterm", True), (True, "1", "xterm", False), (False, None, "xterm", False),
        (True, "", "xterm", True), (True, None, "dumb", False),
    ],
)  # fmt: skip
def test_colours(monkeypatch, terminal, no_color, term, dim):
    stream = Stream(terminal)
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", term)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    note("hi")
    assert ("\x1b[2m" in stream.getvalue()) == dim


def test_notes_cannot_control_the_terminal(capsys):
    note("a name with \x1b[2J in it")
    assert capsys.readouterr().err.endswith("␛[2J in it\n")


@pytest.mark.parametrize(("text", "n_bytes"), [("4G", 4 * 10**9), ("1.5 gb", 1_500_000_000), ("900m", 900_000_000)])
def test_sizes(text, n_bytes):
    assert SIZE.convert(text, None, None) == n_bytes


def test_a_size_that_may_be_none():
    assert (SIZE_OR_NONE.convert("0", None, None), SIZE_OR_NONE.convert("2G", None, None)) == (0, 2 * 10**9)
    with pytest.raises(click.BadParameter, match="write 900M"):
        SIZE_OR_NONE.convert("0.0", None, None)


@pytest.mark.parametrize("text", ["4T", "0M", "-1G", "7", "", "9" * 400 + "G", "nanG"])
def test_what_is_no_size(text):
    with pytest.raises(click.BadParameter, match="is no size: write 900M or 1"):
        SIZE.convert(text, None, None)
